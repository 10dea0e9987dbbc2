"""Where an augmentation moves pixels: what masks and boxes follow, drawn once with the images.

The transforms that move are the crop, the flip, the scale and the rotation, in that order; colour and
cutout move nothing. Masks are sampled at the nearest pixel of where an output pixel comes from; boxes go
the other way, corner by corner. Coordinates are pixels: column j covers j to j + 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill.augment.parameters import Parameters


@dataclass(frozen=True)
class ParameterMovement:
    """The movement that rows of parameters describe, an image a row; a :class:`pydistill.tasks.Movement`.

    Attributes:
        parameters: N rows.
    """

    parameters: Parameters

    @property
    def still(self) -> bool:
        """Whether no row moves anything."""
        columns = [self.parameters.COLUMNS.index(name) for name in _MOVING]
        identity = torch.tensor([self.parameters.IDENTITY[at] for at in columns])
        return bool((self.parameters.values[:, columns] == identity).all())

    def sample(self, maps: Tensor, fill: float) -> Tensor:
        """Maps (N, H, W) or (N, K, H, W), of the images' size or coarser, moved by nearest neighbour.

        Raises:
            ValueError: There is not one map a row.
        """
        self._require(maps)
        if self.still or not len(maps):
            return maps
        rows, columns, inside = self._sources(maps.shape[-2], maps.shape[-1], maps.device)
        image = torch.arange(len(maps), device=maps.device)[:, None, None]
        if maps.ndim == 3:
            return torch.where(inside, maps[image, rows, columns], torch.full_like(maps, fill))
        moved = maps.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)
        return torch.where(inside[:, None], moved, torch.full_like(maps, fill))

    def boxes(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, B, 4) float x, y, w, h in pixels: moved and clipped, and the share of each left inside.

        A rotated box becomes the upright box around its corners. What a transform moves out of the image is
        lost to those after it, as are its pixels.

        Raises:
            ValueError: There is not one row of boxes an image.
        """
        self._require(boxes)
        height, width = self.parameters.size
        left, top = boxes[..., 0], boxes[..., 1]
        edges = torch.stack([left, top, left + boxes[..., 2], top + boxes[..., 3]], -1)
        share = torch.ones_like(left)
        limits = edges.new_tensor([width, height, width, height])
        centre = edges.new_tensor([width, height]) / 2
        value = {name: self._column(name, edges) for name in _MOVING}
        for step in (self._shifted, self._flipped, self._scaled, self._rotated):
            moved = step(edges, value, centre)
            clipped = torch.minimum(moved.clamp(min=0), limits)
            whole, kept = _area(moved), _area(clipped)
            share = share * torch.where(whole > 0, kept / whole.clamp(min=1e-12), 0.0)
            edges = clipped
        corner, far = edges[..., :2], edges[..., 2:]
        return torch.cat([corner, far - corner], -1), share

    @staticmethod
    def _shifted(edges: Tensor, value: dict[str, Tensor], centre: Tensor) -> Tensor:
        return edges - torch.stack([value["shift_x"], value["shift_y"]] * 2, -1)

    @staticmethod
    def _flipped(edges: Tensor, value: dict[str, Tensor], centre: Tensor) -> Tensor:
        mirrored = edges[..., [2, 1, 0, 3]]
        mirrored = torch.cat(
            [
                2 * centre[0] - mirrored[..., :1],
                mirrored[..., 1:2],
                2 * centre[0] - mirrored[..., 2:3],
                mirrored[..., 3:],
            ],
            -1,
        )
        return torch.where(value["flip"][..., None] > 0, mirrored, edges)

    @staticmethod
    def _scaled(edges: Tensor, value: dict[str, Tensor], centre: Tensor) -> Tensor:
        scale = torch.stack([value["scale_x"], value["scale_y"]] * 2, -1)
        around = centre.repeat(2)
        return torch.where(scale == 1, edges, (edges - around) / scale + around)

    @staticmethod
    def _rotated(edges: Tensor, value: dict[str, Tensor], centre: Tensor) -> Tensor:
        x = edges[..., [0, 2, 0, 2]] - centre[0]
        y = edges[..., [1, 1, 3, 3]] - centre[1]
        cos, sin = value["angle"].cos()[..., None], value["angle"].sin()[..., None]
        # output p is input at (cos -sin; sin cos) p, so input q goes to the transposed matrix times q
        across, down = cos * x + sin * y + centre[0], cos * y - sin * x + centre[1]
        around = torch.stack([across.amin(-1), down.amin(-1), across.amax(-1), down.amax(-1)], -1)
        return torch.where(value["angle"][..., None] == 0, edges, around)

    def _sources(self, tall: int, wide: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """(N, h, w) row and column that each place of a map comes from; whether that is in the image."""
        height, width = self.parameters.size
        y = (torch.arange(tall, device=device) + 0.5) * (height / tall) - height / 2
        x = (torch.arange(wide, device=device) + 0.5) * (width / wide) - width / 2
        like = torch.empty(len(self.parameters), 1, 1, device=device)
        value = {name: self._column(name, like)[..., None] for name in _MOVING}
        down, across = y[None, :, None].expand(len(like), tall, wide), x.expand(len(like), tall, wide)
        cos, sin = value["angle"].cos(), value["angle"].sin()
        across, down = cos * across - sin * down, sin * across + cos * down
        inside = _within(across, width) & _within(down, height)
        across, down = across * value["scale_x"], down * value["scale_y"]
        inside &= _within(across, width) & _within(down, height)
        across = torch.where(value["flip"] > 0, -across, across)
        across, down = across + value["shift_x"], down + value["shift_y"]
        inside &= _within(across, width) & _within(down, height)
        rows = ((down + height / 2) * (tall / height)).floor().long().clamp(0, tall - 1)
        columns = ((across + width / 2) * (wide / width)).floor().long().clamp(0, wide - 1)
        return rows, columns, inside

    def _column(self, name: str, like: Tensor) -> Tensor:
        """(N, 1) one parameter of every row."""
        return self.parameters.column(name).to(like.device, like.dtype)[:, None]

    def _require(self, targets: Tensor) -> None:
        if len(targets) != len(self.parameters):
            raise ValueError(
                f"expected targets of {len(self.parameters)} images, a row of parameters each, found "
                f"{tuple(targets.shape)}"
            )


_MOVING = ("shift_y", "shift_x", "flip", "scale_y", "scale_x", "angle")
_EDGE = 1e-4
"""Pixels by which rounding may put a place outside of the image that lies on its edge."""


def _within(offset: Tensor, side: int) -> Tensor:
    return offset.abs() <= side / 2 + _EDGE


def _area(edges: Tensor) -> Tensor:
    return (edges[..., 2] - edges[..., 0]).clamp(min=0) * (edges[..., 3] - edges[..., 1]).clamp(min=0)
