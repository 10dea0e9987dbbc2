"""One size brought to another without cropping: images, masks and boxes by the same map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Letterbox:
    """Scale an image of size ``source``, in proportion, until it just fits ``target``, and centre it there.

    What is left is black in images and void in masks.

    Attributes:
        source: Height and width before.
        target: Height and width after.
    """

    source: Size
    target: Size

    @property
    def inner(self) -> Size:
        """Height and width of the scaled image, at least 1."""
        scale = min(self.target[0] / self.source[0], self.target[1] / self.source[1])
        height, width = (
            min(max(round(side * scale), 1), limit)
            for side, limit in zip(self.source, self.target, strict=True)
        )
        return height, width

    @property
    def corner(self) -> Size:
        """Row and column of the scaled image's upper left corner."""
        height, width = self.inner
        return (self.target[0] - height) // 2, (self.target[1] - width) // 2

    def images(self, images: Tensor) -> Tensor:
        """Images (N, C, h, w), uint8 or float, to (N, C, H, W) by antialiased bilinear interpolation."""
        if self.source == self.target:
            return images
        inner = F.interpolate(
            images.float(), self.inner, mode="bilinear", antialias=True, align_corners=False
        )
        scaled = inner.round().clamp(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else inner
        made = scaled.new_zeros(*images.shape[:2], *self.target)
        (top, left), (height, width) = self.corner, self.inner
        made[..., top : top + height, left : left + width] = scaled
        return made

    def mask(self, mask: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
        """A mask (h, w) at the scaled image's size, without what stands beside it: the nearest values."""
        if self.inner == self.source:
            return mask
        rows, columns = (
            ((np.arange(inner) + 0.5) * (side / inner)).astype(np.int64)
            for inner, side in zip(self.inner, self.source, strict=True)
        )
        return mask[rows[:, None], columns]

    def boxes(self, boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Boxes (B, 4) as x, y, width, height in pixels, moved as the pixels are."""
        (top, left), (height, width) = self.corner, self.inner
        down, across = height / self.source[0], width / self.source[1]
        moved: npt.NDArray[np.float64] = boxes * [across, down, across, down] + [left, top, 0, 0]
        return moved
