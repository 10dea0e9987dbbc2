"""Any map-style ``torch.utils.data.Dataset`` of (image, label) items, or its splits."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, surroundings
from pydistill.data.sources.labels import understand
from pydistill.data.sources.names import assign
from pydistill.data.sources.picture import Picture, Seen, read_picture
from pydistill.data.sources.pixels import fit, from_array
from pydistill.errors import DataError

_IMAGE_KEYS = ("image", "images", "img", "pixel_values", "x", "input", "inputs", "picture")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class", "fine_label", "class_id")
_READ_TWICE = 16
"""Items read a second time: random transforms give other pixels then."""


class TorchDataset(Source):
    """Images may be pictures, (C, H, W) tensors or (H, W[, C]) arrays, before any normalisation.

    Every image is read once, in order, and some a second time: what changes from read to read is refused.
    An item is a pair or a mapping (``{"image": ..., "label": ...}``). ``classes`` of the data set, where it
    has them, are the names. Splits are a pair (train, test), three (train, validation, test), or a mapping.
    """

    understands: ClassVar[str] = (
        "a map-style torch.utils.data.Dataset of (image, label), or a (train, test) pair"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "layout"})

    def recognises(self, source: object) -> bool:
        if isinstance(source, tuple | list):
            return len(source) in (2, 3) and all(isinstance(part, Dataset) for part in source)
        if isinstance(source, Mapping):
            return bool(source) and all(isinstance(part, Dataset) for part in source.values())
        return isinstance(source, Dataset)

    def read(self, source: object, options: Options) -> Raw:
        sets, notes = _splits(source)
        images: dict[str, Tensor] = {}
        labels: dict[str, list[Any]] = {}
        seen = Seen()
        for split, found in sets.items():
            images[split], labels[split] = _collect(found, split, options, seen)
        names = {split: _class_names(found) for split, found in sets.items()}
        learned = understand(labels, options.class_names, names)
        channels = max(images[split].shape[1] for split in learned.targets)
        splits = {
            split: Split(_coloured(images[split], channels), targets)
            for split, targets in learned.targets.items()
        }
        kinds = list(_chain(sets["train"]))
        roots = [
            root for each in kinds if isinstance(root := getattr(each, "root", None), str | os.PathLike)
        ]
        return Raw.of(
            type(sets["train"]).__name__,
            learned.task,
            splits,
            (*notes, *seen.notes(), *learned.notes),
            named=learned.named,
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


def _collect(found: Any, split: str, options: Options, seen: Seen) -> tuple[Tensor, list[Any]]:
    if isinstance(found, IterableDataset) or not hasattr(found, "__len__"):
        raise DataError(
            f"{split}: {type(found).__name__} has no length or order: expected a map-style data set; "
            "read its items into a list or arrays first"
        )
    images: list[Tensor] = []
    labels: list[Any] = []
    total = len(found)
    again = set(range(0, total, max(total // _READ_TWICE, 1)))
    for at in range(total):
        image, label = _item(found[at], f"{split}: item {at}", options, seen)
        if at in again and not torch.equal(
            image, _item(found[at], f"{split}: item {at}", options, None)[0]
        ):
            raise DataError(
                f"{split}: item {at} differs when it is read again: its transforms are random, and one "
                "draw would be kept for good; give the data set without them (augmentation is applied here)"
            )
        image = image if options.size is None else fit(image, options.size)
        if images and image.shape[2:] != images[0].shape[2:]:
            raise DataError(
                f"{split}: item {at} has shape {tuple(image.shape[1:])}, but item 0 "
                f"{tuple(images[0].shape[1:])}: give size=(height, width) to scale and crop them"
            )
        images.append(image)
        labels.append(label)
    if not images:
        return torch.empty(0, 1, 1, 1, dtype=torch.uint8), []
    channels = max(image.shape[1] for image in images)
    return torch.cat([_coloured(image, channels) for image in images]), labels


def _coloured(images: Tensor, channels: int) -> Tensor:
    """Grey images as colour, where others have colour."""
    return images.expand(-1, channels, -1, -1) if images.shape[1] == 1 and channels == 3 else images


def _item(item: Any, where: str, options: Options, seen: Seen | None) -> tuple[Tensor, Any]:
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
    return _image(item[0], where, options, seen), _label(item[1], where)


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
