"""Faults planted in real data, so that what finds them can be held against the truth."""

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pydistill import seeds
from pydistill.data.real import RealData, Split, fingerprint

SIMILAR = {"fashion-mnist": {0: 6, 6: 0, 2: 4, 4: 2, 5: 7, 7: 9, 9: 7}}
"""Classes of a data set that people take for each other: T-shirt and shirt, pullover and coat, shoes."""


@dataclass(frozen=True, eq=False)
class Planted:
    """Data with faults, and where they are.

    Attributes:
        data: With the faults.
        flipped: (F,) training images whose label was changed.
        similar: (S,) those of them whose label was changed to a similar class.
        copies: (C, 2) training images that are near copies, each with its original.
        leaks: (L, 2) training images that are exact copies of test images, each with that.
        broken: (B,) training images that were made dark or blank.
        rare: The class of which one in 50 was kept; None: none.
    """

    data: RealData
    flipped: Tensor
    similar: Tensor
    copies: Tensor
    leaks: Tensor
    broken: Tensor
    rare: int | None


def flip_labels(
    targets: Tensor, share: float, classes: int, seed: int, similar: Mapping[int, int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(targets with a share changed, which, which of those to the similar class).

    Half are changed to another class uniformly, half to the similar one where ``similar`` names one.
    """
    generator = seeds.generator(seed, "flipped labels")
    order = torch.randperm(len(targets), generator=generator)
    flipped = order[: round(share * len(targets))].sort().values
    changed = targets.clone()
    shift = torch.randint(1, classes, (len(flipped),), generator=generator)
    changed[flipped] = (targets[flipped] + shift) % classes
    if not similar:
        return changed, flipped, flipped[:0]
    towards = torch.tensor([similar.get(at, -1) for at in range(classes)])[targets[flipped]]
    chosen = (torch.rand(len(flipped), generator=generator) < 0.5) & (towards >= 0)
    changed[flipped[chosen]] = towards[chosen]
    return changed, flipped, flipped[chosen]


def with_noise(data: RealData, share: float, seed: int = 0) -> RealData:
    """The same data with a share of the training labels changed to another class, uniformly."""
    targets, _, _ = flip_labels(data.train.targets, share, data.task.outputs, seed)
    return _changed(data, Split(data.train.images, targets), f"{data.name}, {share:.0%} labels changed")


def plant(
    data: RealData,
    *,
    seed: int = 0,
    labels: float = 0.1,
    near: float = 0.03,
    leaked: float = 0.01,
    broken: int = 20,
    rare: int | None = 8,
    similar: Mapping[int, int] | None = None,
) -> Planted:
    """Every fault at once, each in images of its own.

    Args:
        data: Of one class an image, uint8.
        seed: Where they go.
        labels: Share of training images whose label is changed.
        near: Share that are overwritten by a near copy of another: moved by a pixel, or JPEG at quality 75.
        leaked: Share of the test images that overwrite a training image, with their label.
        broken: Training images made dark (a tenth as bright) or blank.
        rare: A class of which one image in 50 is kept.
        similar: Which class is taken for which.
    """
    generator = seeds.generator(seed, "planted faults")
    images, targets = data.train.images.clone(), data.train.targets.clone()
    if rare is not None:
        members = torch.nonzero(targets == rare).flatten()
        gone = members[torch.randperm(len(members), generator=generator)[round(len(members) / 50) :]]
        kept = torch.ones(len(targets), dtype=torch.bool)
        kept[gone] = False
        images, targets = images[kept], targets[kept]
    order = torch.randperm(len(targets), generator=generator)
    if rare is not None:
        order = order[targets[order] != rare]
    counts = [round(near * len(targets)), round(leaked * len(data.test)), broken]
    copied, leaks, bad, rest = torch.split(order, [*counts, len(order) - sum(counts)])
    sources = rest[torch.randperm(len(rest), generator=generator)[: len(copied)]]
    for at, (to, source) in enumerate(zip(copied.tolist(), sources.tolist(), strict=True)):
        images[to] = _jpeg(images[source]) if at % 2 else _moved(images[source], at)
        targets[to] = targets[source]
    tests = torch.randperm(len(data.test), generator=generator)[: len(leaks)]
    images[leaks], targets[leaks] = data.test.images[tests], data.test.targets[tests]
    images[bad[::2]] = images[bad[::2]] // 10
    images[bad[1::2]] = 0
    clean = rest[~torch.isin(rest, sources)].sort().values
    share = labels * len(targets) / len(clean)
    changed, flipped, alike = flip_labels(targets[clean], share, data.task.outputs, seed, similar)
    targets[clean] = changed
    return Planted(
        _changed(data, Split(images, targets), f"{data.name} with planted faults"),
        clean[flipped],
        clean[alike],
        torch.stack([copied, sources], 1),
        torch.stack([leaks, tests], 1),
        bad,
        rare,
    )


def _changed(data: RealData, train: Split, name: str) -> RealData:
    return dataclasses.replace(
        data,
        name=name,
        train=train,
        fingerprint=fingerprint(train=train, validation=data.validation, test=data.test),
    )


def _moved(image: Tensor, at: int) -> Tensor:
    """By a pixel, in one of four ways, edges repeated."""
    axis, by = ((1, 1), (1, -1), (2, 1), (2, -1))[at // 2 % 4]
    found = image.roll(by, axis)
    edge = 0 if by > 0 else -1
    found.select(axis, edge).copy_(image.select(axis, edge))
    return found


def _jpeg(image: Tensor) -> Tensor:
    """Through JPEG at quality 75."""
    pixels = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=75)
    read = torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8)
    return read.view(*pixels.shape).permute(2, 0, 1)
