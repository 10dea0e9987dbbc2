"""Which arrays of a mapping are images and labels of which split, by the names they go by."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pydistill.data.sources.names import assign, split_words
from pydistill.errors import DataError

_IMAGES = frozenset(
    (
        "x",
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "pixels",
        "data",
        "input",
        "inputs",
        "features",
    )
)
_LABELS = frozenset(("y", "label", "labels", "target", "targets", "class", "classes", "lbl", "lbls"))
_DENSE = frozenset(
    (
        "mask",
        "masks",
        "annotation",
        "annotations",
        "segmentation",
        "segmentations",
        "box",
        "boxes",
        "bboxes",
    )
)
"""Words for targets where no key holds one of :data:`_LABELS`."""
_NEITHER = frozenset(
    (
        "name",
        "names",
        "id",
        "ids",
        "index",
        "indices",
        "idx",
        "map",
        "mapping",
        "dict",
        "shape",
        "mean",
        "std",
    )
)
"""Words of keys such as ``class_names``, which are neither images nor labels."""

SHOWN = "x_train, y_train, x_test, y_test; train_images, train_labels, ...; images, labels; x, y"
"""Names as a message shows them."""


def pairs(name: str, arrays: Mapping[Any, Any]) -> dict[str, tuple[Any, Any | None]]:
    """Keys of images and labels of every split; None for the labels of a split that has images alone.

    A key says by one of its words whether it is images or labels, and by another which split; without one
    it is the training split. Other keys are left out.

    Raises:
        DataError: Two keys are for the same, a split has labels alone, or there is no training split.
    """
    found: dict[str, dict[str, Any]] = {"images": {}, "labels": {}}
    rests = [split_words(str(key))[1] for key in arrays]
    named = any(rest & _LABELS and not rest & _NEITHER for rest in rests)
    targets = _LABELS if named else _DENSE
    for key in arrays:
        text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        words, rest = split_words(text)
        role = "labels" if rest & targets else "images" if rest & _IMAGES else None
        if role is None or rest & _NEITHER or len(words) > 1:
            continue
        shown = next(iter(words), "train")
        if shown in found[role]:
            raise DataError(
                f"{name}: arrays {found[role][shown]!r} and {key!r} stand for the same: keep one"
            )
        found[role][shown] = key
    chosen: dict[str, tuple[Any, Any | None]] = {}
    known = assign({*found["images"], *found["labels"]}, name)
    for split, word in known.items():
        images, labels = found["images"].get(word), found["labels"].get(word)
        if split == "train" and (images is None or labels is None):
            break
        if images is None:
            raise DataError(f"{name}: array {labels!r} has no images beside it for the {split} split")
        chosen[split] = images, labels
    if "train" not in chosen:
        raise DataError(f"{name}: expected arrays named {SHOWN}; found {sorted(map(str, arrays))}")
    return chosen


def flattened(arrays: Mapping[Any, Any]) -> dict[Any, Any]:
    """A mapping of splits to (images, labels) or to mappings as one mapping of arrays."""
    flat: dict[Any, Any] = {}
    for key, value in arrays.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{part}": array for part, array in value.items()}
        elif isinstance(value, tuple | list) and len(value) == 2 and _are_arrays(value):
            flat |= {f"{key}_x": value[0], f"{key}_y": value[1]}
        else:
            flat[key] = value
    return flat


def _are_arrays(values: tuple[Any, ...] | list[Any]) -> bool:
    return all(isinstance(value, Tensor | list) or hasattr(value, "__array__") for value in values)
