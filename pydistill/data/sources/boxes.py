"""Boxes of objects, as sources have them, to one numbering of classes and one tensor a split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pydistill.data.sources.base import Options
from pydistill.data.sources.labels import plain, shortened, some, understand
from pydistill.data.sources.letterbox import Letterbox, Size
from pydistill.errors import DataError
from pydistill.limits import require_bytes
from pydistill.tasks import Detection
from pydistill.tasks.detection import TOLERANCE

_TOLD = 1e-3
"""Pixels of it from which that is told: less is the rounding of float32."""
_NORMALISED = 8
"""Pixels of an image's shorter side above which boxes within [0, 1] are shares of it, not pixels."""


@dataclass(frozen=True)
class Objects:
    """The objects of one image.

    Attributes:
        title: What the image is called in a message.
        boxes: Of each object x, y of the upper left corner, width and height in pixels.
        labels: The class of each object: a number or a text.
        crowd: Whether each box is of a crowd rather than an object; empty: none is.
    """

    title: str
    boxes: Sequence[Any]
    labels: Sequence[Any]
    crowd: Sequence[Any] = ()


@dataclass(frozen=True)
class Boxes:
    """Boxes that every split agrees on.

    Attributes:
        targets: (N, B, 5) float32 of every split: class, x, y, width, height in pixels; class -1 fills up.
        task: The classes.
        named: Whether the class names are the source's own.
        notes: What was left out, cut or mapped, a sentence each.
    """

    targets: dict[str, Tensor]
    task: Detection
    named: bool
    notes: tuple[str, ...]


class _Count:
    """What was done to boxes, and to which first."""

    def __init__(self) -> None:
        self.flat: list[str] = []
        self.crowds = self.cut = 0

    def notes(self) -> list[str]:
        told = []
        if self.flat:
            what = "box has no area and is" if len(self.flat) == 1 else "boxes have no area and are"
            told.append(f"{len(self.flat):,} {what} left out, the first {self.flat[0]}")
        if self.crowds:
            told.append(f"{self.crowds:,} boxes of crowds (iscrowd) are left out")
        if self.cut:
            told.append(f"{self.cut:,} boxes leave their images by a pixel or less: they are cut")
        return told


def understand_boxes(
    splits: Mapping[str, Sequence[Objects]],
    shapes: Mapping[str, Sequence[Size]],
    options: Options,
    own: Mapping[str, tuple[str, ...] | None] | None = None,
) -> Boxes:
    """One numbering of classes for the objects of all splits, and their boxes as pixels are scaled.

    Boxes without area and crowds are left out; everything else that is wrong is refused. A split other than
    the training split without any object is left out: it has no labels.

    Args:
        splits: Objects of every image.
        shapes: (height, width) of every image before scaling.
        options: ``class_names`` and ``size`` that the caller gave.
        own: What each split calls the classes that its numbers stand for.

    Raises:
        DataError: A box is not finite, has a negative side or leaves its image, or a category is unknown:
            the message names split, image and box. Or the training split has no object.
    """
    count, notes = _Count(), []
    boxes: dict[str, list[npt.NDArray[np.float64]]] = {}
    labels: dict[str, list[Any]] = {}
    for split, images in splits.items():
        names = None if own is None else own.get(split)
        _refuse_shares(images, shapes[split])
        found = [
            _image(each, shape, names, options, count)
            for each, shape in zip(images, shapes[split], strict=True)
        ]
        if not any(len(each) for each, _ in found):
            if split == "train":
                raise DataError(
                    f"{images[0].title if images else 'train'} and all others of the train split are "
                    "without objects: give the boxes of the training images"
                )
            notes.append(f"the {split} split of the source has no objects: it is left out")
            continue
        boxes[split] = [each for each, _ in found]
        labels[split] = [label for _, each in found for label in each]
    _require_numbered(labels, splits, own, options)
    learned = understand(labels, options.class_names, own)
    names = learned.task.class_names
    if not learned.named and options.class_names is None:
        names = tuple(f"class {name}" for name in names)
    most = max(1, *(len(each) for found in boxes.values() for each in found))
    require_bytes(sum(map(len, boxes.values())) * most * 20, "boxes")
    targets = {
        split: _filled(found, learned.targets[split], shapes[split], most, options.size)
        for split, found in boxes.items()
    }
    return Boxes(targets, Detection(names), learned.named, (*notes, *count.notes(), *learned.notes))


def _image(
    found: Objects, shape: Size, names: tuple[str, ...] | None, options: Options, count: _Count
) -> tuple[npt.NDArray[np.float64], list[Any]]:
    """Boxes (B, 4) of one image that have an area, and their labels."""
    if len(found.boxes) != len(found.labels):
        raise DataError(
            f"{found.title}: {len(found.boxes)} boxes but {len(found.labels)} categories: give one a box"
        )
    kept: list[list[float]] = []
    labels: list[Any] = []
    for at, (box, label) in enumerate(zip(found.boxes, found.labels, strict=True)):
        title = f"{found.title}, box {at}"
        if at < len(found.crowd) and found.crowd[at]:
            count.crowds += 1
            continue
        numbers = _numbers(box, title)
        _check_label(label, names, options.class_names, title)
        cut = numbers if min(numbers[2:]) == 0 else _inside(numbers, title, shape, count)
        if min(cut[2:]) <= 0:
            count.flat.append(title)
            continue
        kept.append(cut)
        labels.append(label)
    return np.asarray(kept, np.float64).reshape(-1, 4), labels


def _numbers(box: Any, title: str) -> list[float]:
    try:
        numbers = [float("nan") if value is None else float(value) for value in box]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 4:
        raise DataError(f"{title}: expected x, y, width and height in pixels, found {_short(box)}")
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"{title} is not finite: x, y, width and height are {_listed(numbers)}")
    if min(numbers[2:]) < 0:
        raise DataError(
            f"{title} has a negative side: x, y, width and height are {_listed(numbers)} (corners are not "
            "taken)"
        )
    return numbers


def _check_label(
    label: Any, own: tuple[str, ...] | None, given: tuple[str, ...] | None, title: str
) -> None:
    """Refuse a category that cannot be one of the classes, whatever the others are."""
    whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
    if whole and label >= 0 and (own is None or label < len(own)):
        return
    if isinstance(label, str) and label and (given is None or plain(label) in map(plain, given)):
        return
    known = own or given
    raise DataError(
        f"{title} is of an unknown category {label!r}: expected "
        + ("a number from 0 on or a text" if known is None else f"one of {some(known)}")
    )


def _require_numbered(
    labels: Mapping[str, list[Any]],
    splits: Mapping[str, Sequence[Objects]],
    own: Mapping[str, tuple[str, ...] | None] | None,
    options: Options,
) -> None:
    """Refuse a number that none of the caller's names is for: 0 to K - 1, or 1 to K where none is 0."""
    given = options.class_names
    if given is None or any((own or {}).values()):
        return
    whole = [label for each in labels.values() for label in each if not isinstance(label, str)]
    if not whole:
        return
    first, last = (0, len(given) - 1) if min(whole) == 0 or max(whole) < len(given) else (1, len(given))
    if min(whole) >= first and max(whole) <= last:
        return
    for images in (splits[split] for split in labels):
        for image in images:
            for at, label in enumerate(image.labels):
                if not isinstance(label, str) and not first <= label <= last:
                    raise DataError(
                        f"{image.title}, box {at} is of an unknown category {label!r}: the {len(given)} "
                        f"class names are of numbers {first} to {last}"
                    )


def _refuse_shares(images: Sequence[Objects], shapes: Sequence[Size]) -> None:
    """Refuse boxes that are shares of their image's sides: as pixels none would be larger than one."""
    large = 0.0
    for image in images:
        for at, box in enumerate(image.boxes):
            large = max(large, *map(abs, _numbers(box, f"{image.title}, box {at}")))
            if large > 1:
                return
    if large > 0 and min(map(min, shapes)) > _NORMALISED:
        raise DataError(
            f"{images[0].title}, box 0 and all others lie within [0, 1], as shares of their images' sides: "
            "expected x, y, width and height in pixels"
        )


def _inside(numbers: list[float], title: str, shape: Size, count: _Count) -> list[float]:
    """A box cut to its image, where it leaves it by no more than rounding."""
    x, y, wide, high = numbers
    outside = max(-x, -y, x + wide - shape[1], y + high - shape[0])
    if outside > TOLERANCE:
        raise DataError(
            f"{title} leaves its image of {shape[1]} x {shape[0]} pixels (width x height): x, y, width and "
            f"height are {_listed(numbers)}"
        )
    if outside <= 0:
        return numbers
    count.cut += outside > _TOLD
    left, top = max(x, 0.0), max(y, 0.0)
    return [left, top, min(x + wide, shape[1]) - left, min(y + high, shape[0]) - top]


def _filled(
    boxes: Sequence[npt.NDArray[np.float64]],
    classes: Tensor,
    shapes: Sequence[Size],
    most: int,
    size: Size | None,
) -> Tensor:
    """(N, B, 5) float32, boxes moved as pixels are."""
    made = torch.zeros(len(boxes), most, 5)
    made[..., 0] = -1
    start = 0
    for at, (each, shape) in enumerate(zip(boxes, shapes, strict=True)):
        moved = each if size is None or size == shape else Letterbox(shape, size).boxes(each)
        made[at, : len(each), 0] = classes[start : start + len(each)].float()
        made[at, : len(each), 1:] = torch.from_numpy(moved).float()
        start += len(each)
    return made


def tell_boxes(targets: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Objects of every class, images that hold them, and objects an image.

    Args:
        targets: (N, B, 5) training boxes.
        names: A name a class.
    """
    classes = targets[..., 0].long()
    each = torch.stack([torch.bincount(row[row >= 0], minlength=len(names)) for row in classes])
    objects, images, here = each.sum(0), (each > 0).sum(0), each.sum(1)
    counts = [f"{name!r} {int(objects[at]):,} ({int(images[at]):,})" for at, name in enumerate(names)]
    counts = shortened(counts)
    none = int((here == 0).sum())
    lacking = [name for at, name in enumerate(names) if not objects[at]]
    notes = [
        f"training objects (training images that hold them): {', '.join(counts)}",
        f"{int(here.min())} to {int(here.max())} objects a training image, {here.float().mean():.1f} on "
        f"average{f'; {none:,} training images hold none' if none else ''}",
    ]
    if lacking:
        notes.append(
            f"{len(lacking)} of {len(names)} classes have no object in the training images, and cannot be "
            f"learned: {some(lacking)}"
        )
    return tuple(notes)


def _listed(numbers: Any) -> str:
    return ", ".join(f"{float(value):g}" for value in numbers)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
