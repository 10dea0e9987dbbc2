"""The augmentation in plain torch, transform by transform: what ``siamese_augment`` must equal."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.ops import _siamese_linear as linear

COLUMNS = (
    "brightness",
    "saturation",
    "contrast",
    "shift_y",
    "shift_x",
    "cut_top",
    "cut_left",
    "cut_bottom",
    "cut_right",
    "flip",
    "scale_y",
    "scale_x",
    "angle",
)
"""What a row of parameters holds; ``pydistill.augment.Parameters`` says what each means."""

IDENTITY = (0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0)
"""The row that leaves an image as it is."""

Columns = Mapping[str, Tensor]
"""Parameters by name, (N,) each, or (1,) for all images; on the CPU."""


@dataclass(frozen=True)
class _Transform:
    """One transform of images (N, C, H, W).

    Attributes:
        columns: The parameters it reads.
        blends: Whether it computes with pixel values; else it moves or clears them, exact in any dtype.
        apply: What it makes of images, float32 or float64 where it blends.
    """

    columns: tuple[str, ...]
    blends: bool
    apply: Callable[[Tensor, Columns], Tensor]


def _color(images: Tensor, values: Columns) -> Tensor:
    """All three at once, with m the mean over channels and M the mean over the image.

    y = c s x + c (1 - s) m + (1 - c) M + b.
    """
    b, s, c = (
        values[name].to(images.device, images.dtype).view(-1, 1, 1, 1)
        for name in ("brightness", "saturation", "contrast")
    )
    grey = linear.grey(images)
    # Means that a row does not ask for are left out, not multiplied by 0: they may be no numbers.
    offset = torch.where(c == 1, 0, (1 - c) * grey.mean((2, 3), keepdim=True)) + b
    if images.shape[1] == 1:
        return torch.addcmul(offset, images, c)
    shares = c * (1 - s)
    offset = torch.addcmul(offset, torch.where(shares == 0, 0, grey), shares)
    return torch.addcmul(offset, images, c * s)


def _crop(images: Tensor, values: Columns) -> Tensor:
    offsets = torch.stack([values["shift_y"], values["shift_x"]], 1).long()
    if len(offsets) > 1:
        return linear.shift(images, offsets.to(images.device))
    y, x = (int(offset) for offset in offsets[0])
    if abs(y) >= images.shape[2] or abs(x) >= images.shape[3]:
        return images.masked_fill(torch.ones((), dtype=torch.bool, device=images.device), 0)
    return F.pad(images, (-x, x, -y, y))


def _cutout(images: Tensor, values: Columns) -> Tensor:
    top, left, bottom, right = (
        values[name].to(images.device)[:, None]
        for name in ("cut_top", "cut_left", "cut_bottom", "cut_right")
    )
    row = torch.arange(images.shape[2], device=images.device)
    column = torch.arange(images.shape[3], device=images.device)
    inside = ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[:, None]
    return images.masked_fill(inside[:, None], 0)


def _flip(images: Tensor, values: Columns) -> Tensor:
    if values["flip"].all():
        return images.flip(3)
    mirrored = values["flip"].to(images.device).bool().view(-1, 1, 1, 1)
    return torch.where(mirrored, images.flip(3), images)


def _scale(images: Tensor, values: Columns) -> Tensor:
    y, x = (values[name].to(images.device, images.dtype) for name in ("scale_y", "scale_x"))
    return linear.resample(images, torch.diag_embed(torch.stack([x, y], 1)))


def _rotate(images: Tensor, values: Columns) -> Tensor:
    angle = values["angle"].to(images.device, images.dtype)
    cos, sin = angle.cos(), angle.sin()
    return linear.resample(images, torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2))


_TRANSFORMS = (
    _Transform(("brightness", "saturation", "contrast"), True, _color),
    _Transform(("shift_y", "shift_x"), False, _crop),
    _Transform(("cut_top", "cut_left", "cut_bottom", "cut_right"), False, _cutout),
    _Transform(("flip",), False, _flip),
    _Transform(("scale_y", "scale_x"), True, _scale),
    _Transform(("angle",), True, _rotate),
)
"""In the order in which they are composed."""

_MOST_RUNS = 64
_SHORTEST_RUN = 8
"""A batch is worked on in runs of neighbouring images with equal parameters, where these are few and, on
average, long; else in runs with the same transforms; else it is sorted by transform. It is a matter of
time, not of results: a run costs some tens of microseconds, sorting two copies."""

_UNCHANGED = torch.tensor(IDENTITY)

_READS = torch.tensor([[float(column in made.columns) for made in _TRANSFORMS] for column in COLUMNS])
"""(13, 6) which transform reads a column."""

_BITS = 2 ** torch.arange(len(_TRANSFORMS))
"""The sum of the active transforms' bits tells what happens to an image."""

_BLENDS = torch.tensor([made.blends for made in _TRANSFORMS])


def apply(images: Tensor, values: Tensor) -> Tensor:
    """Transform each image by its row.

    Args:
        images: (N, C, H, W), floating point. Half precision is blended in float32.
        values: (N, 13) float32 on the CPU, a row of :data:`COLUMNS` an image.
    """
    if not len(images):
        return images
    runs = _runs(values)
    if len(runs) <= max(1, min(len(values) // _SHORTEST_RUN, _MOST_RUNS)):
        return _apply_to_runs(images, values, runs, alike=True)
    active = (values != _UNCHANGED).float() @ _READS > 0
    blending = active & _BLENDS
    if (blending == blending[:1]).all():
        # one run suffices: transforms that do not blend leave a row that is inactive as it is
        return _apply_to_runs(images, values, [(0, len(values))])
    kinds = (active * _BITS).sum(1)
    runs = _runs(kinds[:, None])
    if len(runs) <= _MOST_RUNS:
        return _apply_to_runs(images, values, runs)
    kinds, order = kinds.sort(stable=True)
    gathered = linear.take(images, order.to(images.device))
    done = _apply_to_runs(gathered, values[order], _runs(kinds[:, None]))
    return linear.take(done, order.argsort().to(images.device))


def _apply_to_runs(
    images: Tensor, values: Tensor, runs: Sequence[tuple[int, int]], alike: bool = False
) -> Tensor:
    """Transform each run by whatever is active in any of its rows; ``alike``: a run's rows are equal."""
    parts = torch.split(images, [stop - start for start, stop in runs])
    done = [
        _apply_to_run(part, values[start : start + 1 if alike else stop])
        for part, (start, stop) in zip(parts, runs, strict=True)
    ]
    if len(done) == 1:
        return images if done[0] is parts[0] else done[0]
    return torch.cat(done)


def _apply_to_run(images: Tensor, values: Tensor) -> Tensor:
    differs = (values != _UNCHANGED).any(0).tolist()
    active = {column for column, here in zip(COLUMNS, differs, strict=True) if here}
    chain = [transform for transform in _TRANSFORMS if active.intersection(transform.columns)]
    if not chain:
        return images
    narrow = images.dtype in (torch.bfloat16, torch.float16) and any(made.blends for made in chain)
    done = images.float() if narrow else images
    columns = dict(zip(COLUMNS, values.unbind(1), strict=True))
    for transform in chain:
        done = transform.apply(done, columns)
    done = done.to(images.dtype)
    if linear.channels_inside(images):
        return done.contiguous(memory_format=torch.channels_last)
    return done


def _runs(values: Tensor) -> list[tuple[int, int]]:
    """The longest ranges of equal rows, as (start, stop)."""
    edges = (values[1:] != values[:-1]).any(1).nonzero().flatten() + 1
    return list(itertools.pairwise([0, *edges.tolist(), len(values)]))
