"""Any map-style ``torch.utils.data.Dataset`` of (image, label) items, or its splits."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pydistill.data.real import Split
from pydistill.data.sources.base import TASKS, Options, Raw, Source, surroundings
from pydistill.data.sources.dense import Dense
from pydistill.data.sources.dense_arrays import Whole, read_dense
from pydistill.data.sources.labels import as_array, understand
from pydistill.data.sources.letterbox import Size
from pydistill.data.sources.masks import read_mask
from pydistill.data.sources.names import assign
from pydistill.data.sources.picture import Picture, Seen, read_picture
from pydistill.data.sources.pixels import fit, from_array, letterboxed
from pydistill.errors import DataError

_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "input", "inputs", "picture")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class", "fine_label", "class_id")
_COLUMNS = 5
"""Numbers of a box: class, x, y, width, height."""
_READ_TWICE = 16
"""Items read a second time: random transforms give other pixels then."""


class TorchDataset(Source):
    """Images may be pictures, (C, H, W) tensors or (H, W[, C]) arrays, before any normalisation.

    A label is a class, a mask (a picture, or (H, W) whole numbers) or boxes, (B, 5) class, x, y, width and
    height.

    Every image is read once, in order, and some a second time: what changes from read to read is refused.
    An item is a pair or a mapping (``{"image": ..., "label": ...}``). ``classes`` of the data set, where it
    has them, are the names. Splits are a pair (train, test), three (train, validation, test), or a mapping.
    """

    understands: ClassVar[str] = (
        "a map-style torch.utils.data.Dataset of (image, label), or a (train, test) pair"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "layout", "void"})
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        if isinstance(source, tuple | list):
            return len(source) in (2, 3) and all(isinstance(part, Dataset) for part in source)
        if isinstance(source, Mapping):
            return bool(source) and all(isinstance(part, Dataset) for part in source.values())
        return isinstance(source, Dataset)

    def read(self, source: object, options: Options) -> Raw:
        sets, notes = _splits(source)
        images: dict[str, Whole] = {}
        labels: dict[str, list[Any]] = {}
        seen = Seen()
        kind = _kind(sets["train"], options)
        for split, found in sets.items():
            images[split], labels[split] = _collect(found, split, options, seen, kind)
        names = {split: _class_names(found) for split, found in sets.items()}
        if kind == "classification":
            learned = understand(labels, options.class_names, names)
            splits = {split: Split(images[split][0], each) for split, each in learned.targets.items()}
            made = Dense(learned.task, splits, learned.named, (*seen.notes(), *learned.notes))
        else:
            known = (
                options if options.class_names is not None else replace(options, class_names=names["train"])
            )
            targets = {
                split: None if all(label is None for label in each) else each
                for split, each in labels.items()
            }
            title = type(sets["train"]).__name__
            made = read_dense(title, images, targets, kind, known)
            made = replace(made, notes=(*seen.notes(), *made.notes))
        channels = max(split.images.shape[1] for split in made.splits.values())
        splits = {
            split: Split(_coloured(found.images, channels), found.targets)
            for split, found in made.splits.items()
        }
        kinds = list(_chain(sets["train"]))
        roots = [
            root for each in kinds if isinstance(root := getattr(each, "root", None), str | os.PathLike)
        ]
        return Raw.of(
            type(sets["train"]).__name__,
            made.task,
            splits,
            (*notes, *made.notes),
            named=made.named,
            origins={split: f"data set {type(sets[split]).__name__}" for split in splits},
            hints=tuple(type(each).__name__ for each in kinds),
            folders=tuple(part for root in roots for part in surroundings(Path(root))),
        )


def _splits(source: object) -> tuple[dict[str, Any], list[str]]:
    if isinstance(source, Mapping):
        chosen = assign(map(str, source), "the mapping of data sets")
        if "train" not in chosen:
            raise DataError(f"expected a data set named train, found {', '.join(map(str, source))}")
        spare = sorted(set(map(str, source)) - set(chosen.values()))
        notes = (
            [f"data sets that are no split are left out: {', '.join(map(repr, spare))}"] if spare else []
        )
        return {split: source[name] for split, name in chosen.items()}, notes
    parts: list[Any] = list(source) if isinstance(source, tuple | list) else [source]
    order = ("train", "validation", "test") if len(parts) == 3 else ("train", "test")
    return dict(zip(order, parts, strict=False)), []


def _chain(found: Any) -> Iterator[Any]:
    """A data set and those it is made of, outermost first."""
    yield found
    within = getattr(found, "dataset", None)
    for part in [within] if isinstance(within, Dataset) else getattr(found, "datasets", []):
        if isinstance(part, Dataset):
            yield from _chain(part)


def _class_names(found: Any) -> tuple[str, ...] | None:
    """``classes`` of a data set or of the one it is made of, where they are a sequence of names."""
    for each in _chain(found):
        names = getattr(each, "classes", None)
        if isinstance(names, Sequence | np.ndarray) and not isinstance(names, str | bytes) and len(names):
            return tuple(map(str, names))
    return None


def _kind(found: Any, options: Options) -> str:
    """What the first item has for a label: a class, a mask or boxes; ``options.task`` decides before it.

    Raises:
        DataError: It is not what is asked for.
    """
    if isinstance(found, IterableDataset) or not hasattr(found, "__len__") or not len(found):
        return "classification"
    image, label = _pair(found[0], "train: item 0")
    shape = tuple(label.shape) if isinstance(label, Tensor | np.ndarray) else ()
    kind = "classification"
    if isinstance(label, Image.Image) or (len(shape) > 1 and shape[-2:] == _size_of(image, options)):
        kind = "segmentation"
    elif len(shape) == 2 and shape[1] == _COLUMNS:
        kind = "detection"
    if options.task not in (None, kind):
        raise DataError(
            f"train: item 0 has a label of {type(label).__name__} {shape or ''}: it is for {kind}, but "
            f"task={options.task!r} was asked for"
        )
    return kind


def _size_of(image: Any, options: Options) -> tuple[int, ...]:
    """Height and width of an item's image."""
    if isinstance(image, Image.Image):
        return image.height, image.width
    return tuple(_image(image, "train: item 0", options, None).shape[2:])


def _collect(found: Any, split: str, options: Options, seen: Seen, kind: str) -> tuple[Whole, list[Any]]:
    if isinstance(found, IterableDataset) or not hasattr(found, "__len__"):
        raise DataError(
            f"{split}: {type(found).__name__} has no length or order: expected a map-style data set; "
            "read its items into a list or arrays first"
        )
    images: list[Tensor] = []
    shapes: list[Size] = []
    labels: list[Any] = []
    dense = kind != "classification"
    scale, mend = (letterboxed, "letter-box") if dense else (fit, "scale and crop")
    total = len(found)
    again = set(range(0, total, max(total // _READ_TWICE, 1)))
    for at in range(total):
        where = f"{split}: item {at}"
        value, target = _pair(found[at], where)
        image, label = _image(value, where, options, seen), (_place if dense else _label)(target, where)
        if at in again and not torch.equal(image, _image(_pair(found[at], where)[0], where, options, None)):
            raise DataError(
                f"{split}: item {at} differs when it is read again: its transforms are random, and one "
                "draw would be kept for good; give the data set without them (augmentation is applied here)"
            )
        shapes.append((image.shape[2], image.shape[3]))
        image = image if options.size is None else scale(image, options.size)
        if images and image.shape[2:] != images[0].shape[2:]:
            raise DataError(
                f"{split}: item {at} has shape {tuple(image.shape[1:])}, but item 0 "
                f"{tuple(images[0].shape[1:])}: give size=(height, width) to {mend} them"
            )
        images.append(image)
        labels.append(label)
    if not images:
        return (torch.empty(0, 1, 1, 1, dtype=torch.uint8), []), []
    channels = max(image.shape[1] for image in images)
    return (torch.cat([_coloured(image, channels) for image in images]), shapes), labels


def _coloured(images: Tensor, channels: int) -> Tensor:
    """Grey images as colour, where others have colour."""
    return images.expand(-1, channels, -1, -1) if images.shape[1] == 1 and channels == 3 else images


def _pair(item: Any, where: str) -> tuple[Any, Any]:
    """Image and label of an item, as it has them."""
    if isinstance(item, Mapping):
        keys = [next((key for key in known if key in item), None) for known in (_IMAGE_KEYS, _LABEL_KEYS)]
        if None in keys:
            raise DataError(
                f"{where} is a mapping of {', '.join(map(repr, item))}: expected an image under one of "
                f"{', '.join(_IMAGE_KEYS)} and a label under one of {', '.join(_LABEL_KEYS)}"
            )
        item = item[keys[0]], item[keys[1]]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{where} is a {type(item).__name__}, expected a pair (image, label)")
    return item[0], item[1]


def _place(value: Any, where: str) -> Any:
    """A mask or boxes as an array; None where an item has none."""
    if isinstance(value, Image.Image):
        try:
            return read_mask(value)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
    return value if value is None else as_array(value)


def _label(value: Any, where: str) -> Any:
    """One number or text; None where an item has no label."""
    if isinstance(value, Tensor | np.ndarray | list | tuple):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.size != 1:
            raise DataError(
                f"{where} has a label of shape {array.shape}: expected one integer or text, as "
                "label.argmax() gives it of a one-hot label; several labels an image are not for this: "
                "classification only"
            )
        return array.reshape(()).item()
    return value.item() if isinstance(value, np.generic) else value


def _image(value: Any, where: str, options: Options, seen: Seen | None) -> Tensor:
    if isinstance(value, Image.Image):
        picture = _picture(value, where)
        if seen is not None:
            seen.add(where, picture)
        return from_array(picture.pixels[None], "NHWC", where)
    if not isinstance(value, Tensor | np.ndarray) or value.ndim not in (2, 3):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else ""
        raise DataError(
            f"{where}: expected a picture, a (C, H, W) tensor or an (H, W, C) array, found "
            f"{type(value).__name__}{shape}"
        )
    return from_array(value[None], options.layout or _layout(value, where), where)


def _layout(value: Tensor | np.ndarray, where: str) -> str:
    """Where one image has its channels: the axis of 1 or 3, else as its type usually has them."""
    if value.ndim == 2:
        return "NCHW"
    first, last = value.shape[0] in (1, 3), value.shape[2] in (1, 3)
    if first != last:
        return "NCHW" if first else "NHWC"
    both, same = first and last, len(set(value.shape)) == 1
    if isinstance(value, np.ndarray) and (
        (both and not same) or (not both and value.shape[0] <= value.shape[2])
    ):
        raise DataError(
            f"{where}: in shape {value.shape} it cannot be told which axis holds the channels: give "
            'layout="NCHW" or layout="NHWC"'
        )
    return "NCHW" if isinstance(value, Tensor) else "NHWC"


def _picture(value: Image.Image, where: str) -> Picture:
    try:
        return read_picture(value)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
