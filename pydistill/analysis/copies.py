"""Images that are the same: to the bit, or but for a shift by a pixel or two and the noise of a codec."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.analysis.neighbours import descriptors, grey, nearest

_SIDE, _SHIFT = 32, 2
_ROWS, _PAIRS = 2048, 1024
_CANDIDATES = 3
_FLOOR = 1e-3
"""Added to distances: differences below it are rounding."""
_SURE, _MOST = 0.02, 0.35
"""Distances up to which images are copies whatever others do, and beyond which they are not."""
_FLAT = 1e-8
"""Sum of squares about the mean below which there is no structure."""
_TELLING = 12
"""Pixels of an image's shorter side below which two images alike are not taken for copies of each other."""
_HANDFUL, _DEVIATIONS, _NORMAL = 10, 4.0, 1.4826
_FEW = 40
"""Images below which there is no telling what is usual among them."""


@dataclass(frozen=True)
class Copies:
    """Edges between images of several splits, numbered through in the splits' order.

    Attributes:
        exact: (P, 2) int64, the first of a group and each other image with the same pixels.
        near: (Q, 2) int64, images that are nearly the same.
        alike: (Q,) float32, correlation of the fine structure of these at the best shift.
        threshold: What the statistic must stay below, found from the data.
    """

    exact: Tensor
    near: Tensor
    alike: Tensor
    threshold: float


def find_copies(
    splits: Mapping[str, Tensor], tell: Callable[[int, int], None] | None = None, *, tail: float = 0.002
) -> Copies:
    """Look for copies among all images.

    Candidates are the three nearest images by :func:`~pydistill.analysis.neighbours.descriptors`; each is
    compared by :func:`likeness`. With D1 <= D2 <= D3 the distances (1 less the likeness) of an image's
    candidates, an image is a copy of the first where log D1 - log(D2) / 2 is unusual: below what
    log D2 - log(D3) / 2, the same of candidates that are no copies, is for a share ``tail`` of all images.
    Likewise where D1 is nearly 0, which alone counts of images smaller than 12 pixels.

    Args:
        splits: Images (N, C, H, W) by the name of their split.
        tell: Told of images done and images in all.
        tail: Share of images.
    """
    exact = equal_pixels(splits)
    count = sum(map(len, splits.values()))
    alone = torch.ones(count, dtype=torch.bool)
    alone[exact[:, 1]] = False
    kept = torch.nonzero(alone).flatten()
    none = Copies(exact, torch.empty(0, 2, dtype=torch.int64), torch.empty(0), -math.inf)
    if len(kept) < 2:
        return none
    rows = descriptors(splits.values())[kept]
    found = kept[nearest(rows, _CANDIDATES, tell=tell)[1]]
    first, second = kept[:, None].expand_as(found).flatten(), found.flatten()
    pairs = torch.stack([torch.minimum(first, second), torch.maximum(first, second)], 1)
    pairs, back = torch.unique(pairs, dim=0, return_inverse=True)
    away = 1 - likeness(fine_structure(splits.values()), pairs)
    apart = away[back].view(found.shape)
    order = apart.argsort(1)
    threshold = usual(apart.gather(1, order), tail)
    ranked = apart.gather(1, order).add(_FLOOR).log()
    nearest_pair = back.view(found.shape).gather(1, order)
    chosen = away <= _SURE
    if ranked.shape[1] > 1 and min(next(iter(splits.values())).shape[2:]) >= _TELLING:
        unusual = ranked[:, 0] - ranked[:, 1] / 2 < threshold
        chosen[nearest_pair[unusual, 0]] = True
    chosen &= away <= _MOST
    return Copies(exact, pairs[chosen], 1 - away[chosen], threshold)


def usual(apart: Tensor, tail: float) -> float:
    """The threshold of :func:`find_copies`, of distances (N, 3) in ascending order.

    Where a share ``tail`` of the images is a handful, it is also four robust standard deviations below the
    median.
    """
    if apart.shape[1] < 3 or len(apart) < _FEW:
        return -math.inf
    logs = apart.add(_FLOOR).log()
    rest = (logs[:, 1] - logs[:, 2] / 2)[: 1 << 24]
    found = float(torch.quantile(rest, tail))
    if len(rest) * tail >= _HANDFUL:
        return found
    middle = rest.median()
    return min(found, float(middle - _DEVIATIONS * _NORMAL * (rest - middle).abs().median()))


def equal_pixels(splits: Mapping[str, Tensor]) -> Tensor:
    """(P, 2) pairs of the first image of a group with equal pixels and each other one, by a digest."""
    seen: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    at = 0
    for images in splits.values():
        for part in torch.split(images, _ROWS):
            for row in part.contiguous().flatten(1).view(torch.uint8).numpy():
                first = seen.setdefault(hashlib.blake2b(row.data, digest_size=16).digest(), at)
                if first != at:
                    pairs.append((first, at))
                at += 1
    return torch.tensor(pairs, dtype=torch.int64).view(-1, 2)


def fine_structure(splits: Iterable[Tensor]) -> Tensor:
    """(N, h, w) float16: grey images of at most 32 pixels a side, less their blurred selves.

    Shapes that many images share are blurred; what tells one image from another is fine.
    """
    bell = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (bell[:, None] * bell)[None, None]
    found = []
    for images in splits:
        for part in torch.split(images, _ROWS):
            pixels = grey(part, _SIDE)[:, None]
            blurred = F.conv2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), kernel)
            found.append((pixels - blurred)[:, 0].half())
    return torch.cat(found)


def likeness(fine: Tensor, pairs: Tensor) -> Tensor:
    """(P,) the largest correlation of two images' fine structure over shifts by up to two pixels.

    Args:
        fine: (N, h, w).
        pairs: (P, 2) int64.
    """
    height, width = fine.shape[1:]
    down, across = min(_SHIFT, (height - 1) // 4), min(_SHIFT, (width - 1) // 4)
    inner = (height - 2 * down, width - 2 * across)
    found = torch.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS):
        part = pairs[start : start + _PAIRS]
        one = fine[part[:, 0], down : height - down, across : width - across].float().flatten(1)
        one = F.normalize(one - one.mean(1, keepdim=True), dim=1)
        other = fine[part[:, 1]].float()
        sums, squares = (_window_sums(each, inner) for each in (other, other.square()))
        variance = (squares - sums.square() / math.prod(inner)).clamp_min(_FLAT)
        scale = torch.where(variance > _FLAT, variance.rsqrt(), 0)
        best = torch.zeros(len(part))
        for y in range(2 * down + 1):
            for x in range(2 * across + 1):
                moved = other[:, y : y + inner[0], x : x + inner[1]].flatten(1)
                best = torch.maximum(best, torch.linalg.vecdot(one, moved) * scale[:, y, x])
        found[start : start + len(part)] = best
    return found.clamp(-1, 1)


def _window_sums(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, H - h + 1, W - w + 1) sums of maps (N, H, W) in every window of ``size``."""
    total = F.pad(maps.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    high, wide = size
    low, right = total[:, high:], total[:, :-high]
    return (low[:, :, wide:] - low[:, :, :-wide] - right[:, :, wide:] + right[:, :, :-wide]).float()


def connected(count: int, pairs: Tensor) -> Tensor:
    """(count,) int64: the smallest member of the group that each of ``count`` images is in by ``pairs``."""
    parent = list(range(count))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for first, second in pairs.tolist():
        one, other = sorted((root(first), root(second)))
        parent[other] = one
    return torch.tensor([root(at) for at in range(count)], dtype=torch.int64)
