"""Objects as points: boxes to heat maps of their centres and back, and what a network is trained on.

[0] X. Zhou, D. Wang, P. Krähenbühl: Objects as Points. arXiv:1904.07850.
[1] Its code, github.com/xingyizhou/CenterNet: ``src/lib/utils/image.py``, ``src/lib/models/losses.py``.
[2] H. Law, J. Deng: CornerNet. ECCV 2018, arXiv:1808.01244: the radius of a centre's Gaussian.

A network's output is (N, K + 4, h, w) on a grid of cells of 4×4 pixels: K logits of "an object of this
class has its centre in this cell", then width and height in cells, then how far right and below the cell's
upper left corner the centre lies, in cells. Sizes and offsets are shared by the classes. A cell tells one
object a class: where two objects of one class have their centres in the same cell, the heat map has one
peak for both, both pull at its size and offset, and decoding finds one box.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDE = 4
"""Pixels a cell."""

REGRESSED = 4
"""Outputs of a cell beside the classes: width, height and offset (x, y)."""

PADDING = -1
"""Class of a row of targets that holds no object."""

_OVERLAP = 0.7
"""Overlap from which the radius of a Gaussian follows, as in [1]."""
_SIZE_WEIGHT = 0.1
_OFFSET_WEIGHT = 1.0
_MOST = 100
"""Boxes decoded an image."""


@dataclass(frozen=True)
class Centers:
    """What a network should answer to N images with at most B objects each.

    Attributes:
        heat: (N, K, h, w), 1 at the cells of centres, falling off as a Gaussian around them.
        present: (N, B) bool: which rows of the targets are objects.
        cells: (N, B) int64: row times w plus column of the cell that holds the centre; 0 of padding.
        regressed: (N, 4, B): width, height, offset to the right, offset below, in cells.
    """

    heat: Tensor
    present: Tensor
    cells: Tensor
    regressed: Tensor


@dataclass(frozen=True)
class Detections:
    """M boxes found in each of N images, in falling order of their scores.

    Attributes:
        classes: (N, M) int64.
        scores: (N, M) within [0, 1]; 0 where an image has fewer than M.
        boxes: (N, M, 4) x, y of the upper left corner, width, height in pixels; not clipped to the image.
    """

    classes: Tensor
    scores: Tensor
    boxes: Tensor


def grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells of an image; one that is not whole is a cell nevertheless."""
    return -(-height // STRIDE), -(-width // STRIDE)


def encode(targets: Tensor, classes: int, rows: int, columns: int) -> Centers:
    """Heat maps, cells and sizes of boxes.

    The Gaussian of an object of w×h cells has the standard deviation (2⌊r⌋ + 1) / 6 with
    r = sqrt(o²(w + h)² + 4 o (1 - o) w h) - o (w + h), o = 0.7: what [1] computes of the three cases of
    [2], the least of which is always the third. Where Gaussians of a class overlap the larger value holds
    ([0], section 3). Those of [1] are cut off beyond ⌊r⌋ cells, where they are below 0.02.

    Args:
        targets: (N, B, 5) class, x, y, width, height in pixels; class -1 is padding.
        classes: K.
        rows: h, of cells.
        columns: w, of cells.
    """
    present = targets[..., 0] >= 0
    boxes = torch.where(present[..., None], targets[..., 1:], 0.0)
    size = boxes[..., 2:] / STRIDE
    center = boxes[..., :2] / STRIDE + size / 2
    column = center[..., 0].floor().clamp(0, columns - 1)
    row = center[..., 1].floor().clamp(0, rows - 1)
    total, area = size.sum(-1), size.prod(-1)
    radius = (_OVERLAP**2 * total**2 + 4 * _OVERLAP * (1 - _OVERLAP) * area).sqrt() - _OVERLAP * total
    spread = (2 * radius.floor() + 1) / 6
    across = _bell(torch.arange(columns, device=targets.device) - column[..., None], spread)
    down = _bell(torch.arange(rows, device=targets.device) - row[..., None], spread) * present[..., None]
    bells = down[..., :, None] * across[..., None, :]
    places = targets[..., 0].clamp_min(0).long()[..., None, None].expand_as(bells)
    heat = bells.new_zeros(len(targets), classes, rows, columns).scatter_reduce(1, places, bells, "amax")
    offset = center - torch.stack([column, row], -1)
    cells = (row * columns + column).long()
    return Centers(heat, present, cells, torch.cat([size, offset], -1).transpose(-1, -2))


def _bell(distance: Tensor, spread: Tensor) -> Tensor:
    return (-(distance**2) / (2 * spread[..., None] ** 2)).exp()


def losses(outputs: Tensor, targets: Tensor, classes: int) -> Tensor:
    """(N,) training loss of each image: focal loss of the heat maps, L1 of sizes and offsets.

    [0], equations 1 to 4: the focal loss with penalties reduced near centres, exponents 2 and 4; weights 1
    (heat maps), 0.1 (sizes, in cells, width and height added up), 1 (offsets). An image is divided by its
    own number of objects, at least 1, and not a batch by that of all its objects, so that an image's loss
    does not depend on which others are in its batch.

    Args:
        outputs: (N, K + 4, h, w).
        targets: (N, B, 5).
        classes: K.
    """
    outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
    wanted = encode(targets, classes, *outputs.shape[-2:])
    logits, heat = outputs[:, :classes], wanted.heat.to(outputs.dtype)
    hit = -F.logsigmoid(logits) * torch.sigmoid(-logits) ** 2
    missed = -F.logsigmoid(-logits) * torch.sigmoid(logits) ** 2 * (1 - heat) ** 4
    focal = torch.where(heat == 1, hit, missed).sum((1, 2, 3))
    places = wanted.cells[:, None].expand(-1, REGRESSED, -1)
    found = outputs[:, classes:].flatten(2).gather(2, places)
    distance = (found - wanted.regressed).abs() * wanted.present[:, None]
    size, offset = distance[:, :2].sum((1, 2)), distance[:, 2:].sum((1, 2))
    objects = wanted.present.sum(1).clamp_min(1)
    return (focal + _SIZE_WEIGHT * size + _OFFSET_WEIGHT * offset) / objects


def decode(outputs: Tensor, classes: int, most: int = _MOST) -> Detections:
    """The boxes of the highest peaks: cells not below any of their eight neighbours ([0], section 4).

    Args:
        outputs: (N, K + 4, h, w).
        classes: K.
        most: M, boxes an image; fewer where the heat maps have fewer cells.
    """
    outputs = outputs.float()
    rows, columns = outputs.shape[-2:]
    logits = outputs[:, :classes]
    peak = F.max_pool2d(logits, 3, stride=1, padding=1) == logits
    held = torch.where(peak, logits, -torch.inf).flatten(1)
    best, at = held.topk(min(most, held.shape[1]))
    cells = at % (rows * columns)
    regressed = outputs[:, classes:].flatten(2)
    found = regressed.gather(2, cells[:, None].expand(-1, REGRESSED, -1))
    size, offset = found[:, :2].clamp_min(0), found[:, 2:]
    center = torch.stack([cells % columns, cells // columns], 1) + offset
    boxes = torch.cat([center - size / 2, size], 1).transpose(1, 2) * STRIDE
    return Detections(at // (rows * columns), torch.sigmoid(best), boxes)
