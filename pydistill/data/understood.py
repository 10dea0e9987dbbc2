"""What was understood of a source, in sentences: splits, classes, images, and what is odd about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.base import Raw
from pydistill.data.sources.boxes import tell_boxes
from pydistill.data.sources.labels import some
from pydistill.data.sources.mask_classes import tell_masks

_TELLERS: Mapping[str, Callable[[Tensor, Sequence[str]], tuple[str, ...]]] = {
    "segmentation": tell_masks,
    "detection": tell_boxes,
}
"""What tells the training targets of a task whose images are not of one class each, by its name."""
_LOOKED_AT = 64
"""Test images looked for among the training images."""
_NARROW = 0.07
"""Share of the pixels' range below which images are called dark."""


def overview(raw: Raw, origins: Mapping[str, str]) -> tuple[str, ...]:
    """Splits with where each comes from, classes, and size of the images.

    Args:
        raw: With every split there is to be.
        origins: Where each split comes from.
    """
    parts = []
    for split, found in raw.splits().items():
        origin = origins.get(split)
        parts.append(f"{split} {len(found):,}" + ("" if origin is None else f" ({origin})"))
    channels, height, width = raw.train.images.shape[1:]
    kind = "grey" if channels == 1 else "colour" if channels == 3 else f"{channels} channels"
    depth = "8 bits a channel" if raw.train.images.dtype == torch.uint8 else "floats in [0, 1]"
    return (
        f"images: {', '.join(parts)}",
        *_classes(raw),
        f"images are {height} x {width}, {kind}, {depth}",
    )


def _classes(raw: Raw) -> tuple[str, ...]:
    """Classes and how much of the training data is of each."""
    names, targets = raw.task.class_names, raw.train.targets
    if raw.task.name in _TELLERS:
        return (f"{len(names)} classes {some(names)}", *_TELLERS[raw.task.name](targets, names))
    sizes = [len(member) for member in raw.task.groups(targets).members]
    each = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    return (f"{len(names)} classes {some(names)}, {each} training images each",)


def oddities(raw: Raw, std: Tensor) -> tuple[str, ...]:
    """What a reader of results should know of splits that can be used: gaps, repetitions, dark images.

    Args:
        raw: With every split there is to be.
        std: (C,) standard deviation of the training pixels.
    """
    return (*_without_images(raw), *_repeated(raw), *_dark(raw.train.images, std))


def _without_images(raw: Raw) -> list[str]:
    notes = []
    for split in ("validation", "test"):
        found = raw.splits().get(split)
        if found is None:
            continue
        groups = raw.task.groups(found.targets)
        lacking = [
            name for name, member in zip(groups.names, groups.members, strict=True) if not len(member)
        ]
        if lacking:
            notes.append(
                f"{len(lacking)} of {len(groups)} classes have no {split} image, being too small or absent "
                f"there: {some(lacking)}"
            )
    return notes


def _repeated(raw: Raw) -> list[str]:
    """Whether the test images, as far as some of them tell, are training images too."""
    if raw.test is None:
        return []
    step = max(len(raw.test) // _LOOKED_AT, 1)
    looked_at = _rows(raw.test.images[::step])
    known = set(_rows(raw.train.images))
    met = sum(row in known for row in looked_at)
    if met * 2 < len(looked_at) or met == 0:
        return []
    return [
        f"{met} of {len(looked_at)} test images looked at are training images too: figures on them say "
        "little"
    ]


def _rows(images: Tensor) -> list[int]:
    return [hash(image.numpy().tobytes()) for image in images]


def _dark(images: Tensor, std: Tensor) -> list[str]:
    top = 255 if images.dtype == torch.uint8 else 1
    high = float(images.max())
    notes = []
    if 0 < high <= top * _NARROW:
        notes.append(f"the brightest training pixel is {high:g} of {top}: were the images scaled twice?")
    flat = (std <= 1e-3).nonzero().flatten().tolist()
    if flat:
        notes.append(f"nearly constant channels, which standardising leaves so: {some(flat)}")
    return notes


def in_one_colour(raw: Raw) -> Raw:
    """``raw`` with grey splits as colour where others are colour, and a note that says so."""
    splits = raw.splits()
    channels = {split.images.shape[1] for split in splits.values() if len(split)}
    grey = [name for name, split in splits.items() if len(split) and split.images.shape[1] == 1]
    if channels != {1, 3}:
        return raw
    made = {
        name: Split(split.images.expand(-1, 3, -1, -1).contiguous(), split.targets)
        if name in grey
        else split
        for name, split in splits.items()
    }
    note = f"all images of {', '.join(grey)} are grey: read as colour, as the others are"
    return _with(raw, made, note)


def _with(raw: Raw, splits: Mapping[str, Split], note: str) -> Raw:
    return replace(
        raw,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        notes=(*raw.notes, note),
    )


def from_two_values(raw: Raw) -> Raw:
    """``raw`` with integer pixels of 0 and 1 alone made black and white, and a note that says so."""
    splits = raw.splits()
    counted = any(
        split.images.dtype != torch.uint8
        or (len(split) and split.images.numel() and int(split.images.max()) > 1)
        for split in splits.values()
    )
    if counted or not len(raw.train) or not raw.train.images.numel() or int(raw.train.images.max()) == 0:
        return raw
    made = {name: Split(split.images * 255, split.targets) for name, split in splits.items()}
    note = "pixels are 0 and 1 alone: read as black and white (0 and 255)"
    return _with(raw, made, note)
