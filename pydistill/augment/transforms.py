"""The six transforms of differentiable siamese augmentation, each with its draw and its map of images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.augment import linear
from pydistill.augment.parameters import Parameters

Columns = dict[str, Tensor]
"""Parameters by column name, (G,) each."""


class Transform(ABC):
    """One transform of a list of images.

    Class attributes:
        name: What it is called in an augmentation's text.
        columns: The parameters it reads.
        blends: Whether it computes with pixel values; else it moves or clears them, exact in any dtype.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    blends: ClassVar[bool]

    @abstractmethod
    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        """Random parameters for ``rows`` rows, on the generator's device."""

    @abstractmethod
    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        """Transform (N, C, H, W) images.

        Args:
            images: floating point; float32 or float64 where the transform blends.
            values: N rows, or one row for all images.
        """


class Color(Transform):
    """Brightness, then saturation, then contrast, each about a mean of the image itself.

    All three at once are one affine map. With m the mean over channels and M the mean over the image:
    y = c s x + c (1 - s) m + (1 - c) M + b.
    """

    name = "color"
    columns = ("brightness", "saturation", "contrast")
    blends = True

    BRIGHTNESS = 1.0
    """b is uniform in ±BRIGHTNESS / 2."""
    SATURATION = 2.0
    """s is uniform in 0 to SATURATION."""
    CONTRAST = 0.5
    """c is uniform in CONTRAST to CONTRAST + 1."""

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        return {
            "brightness": (_uniform(rows, generator) - 0.5) * self.BRIGHTNESS,
            "saturation": _uniform(rows, generator) * self.SATURATION,
            "contrast": _uniform(rows, generator) + self.CONTRAST,
        }

    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        b, s, c = (
            values.column(name).to(images.device, images.dtype).view(-1, 1, 1, 1) for name in self.columns
        )
        grey = linear.grey(images)
        offset = (1 - c) * grey.mean((2, 3), keepdim=True) + b
        if images.shape[1] == 1:
            return torch.addcmul(offset, images, c)
        return torch.addcmul(torch.addcmul(offset, grey, c * (1 - s)), images, c * s)


class Crop(Transform):
    """A shift by whole pixels, at most an eighth of the side; zeros enter."""

    name = "crop"
    columns = ("shift_y", "shift_x")
    blends = False

    RATIO = 0.125

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        most = [int(side * self.RATIO + 0.5) for side in size]
        return {
            name: _whole(-reach, reach, rows, generator)
            for name, reach in zip(self.columns, most, strict=True)
        }

    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        offsets = torch.stack([values.column(name) for name in self.columns], 1).long()
        if len(offsets) > 1:
            return linear.shift(images, offsets.to(images.device))
        y, x = (int(offset) for offset in offsets[0])
        if abs(y) >= images.shape[2] or abs(x) >= images.shape[3]:
            return images * 0
        return F.pad(images, (-x, x, -y, y))


class Cutout(Transform):
    """A window of half the height and width set to zero; its centre lies anywhere in the image."""

    name = "cutout"
    columns = ("cut_top", "cut_left", "cut_bottom", "cut_right")
    blends = False

    RATIO = 0.5

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        drawn: Columns = {}
        for side, first, last in zip(
            size, ("cut_top", "cut_left"), ("cut_bottom", "cut_right"), strict=True
        ):
            window = int(side * self.RATIO + 0.5)
            start = _whole(0, side - window % 2, rows, generator) - window // 2
            drawn |= {first: start, last: start + window}
        return drawn

    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        top, left, bottom, right = (values.column(name).to(images.device)[:, None] for name in self.columns)
        row = torch.arange(images.shape[2], device=images.device)
        column = torch.arange(images.shape[3], device=images.device)
        inside = ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[
            :, None
        ]
        return images * inside.logical_not()[:, None].to(images.dtype)


class Flip(Transform):
    """A mirror image, left to right, for half of the rows."""

    name = "flip"
    columns = ("flip",)
    blends = False

    PROBABILITY = 0.5

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        return {"flip": (_uniform(rows, generator) < self.PROBABILITY).float()}

    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        if values.column("flip").all():
            return images.flip(3)
        mirrored = values.column("flip").to(images.device).bool().view(-1, 1, 1, 1)
        return torch.where(mirrored, images.flip(3), images)


class Scale(Transform):
    """Height and width scaled apart about the centre."""

    name = "scale"
    columns = ("scale_y", "scale_x")
    blends = True

    RATIO = 1.2
    """Factors are uniform in 1 / RATIO to RATIO."""

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        low = 1 / self.RATIO
        return {name: _uniform(rows, generator) * (self.RATIO - low) + low for name in self.columns}

    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        y, x = (values.column(name).to(images.device, images.dtype) for name in self.columns)
        return linear.resample(images, torch.diag_embed(torch.stack([x, y], 1)))


class Rotate(Transform):
    """A rotation about the centre, in pixels: no shear where the image is not square."""

    name = "rotate"
    columns = ("angle",)
    blends = True

    DEGREES = 15.0
    """The angle is uniform in ±DEGREES."""

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        return {"angle": (_uniform(rows, generator) * 2 - 1) * math.radians(self.DEGREES)}

    def apply(self, images: Tensor, values: Parameters) -> Tensor:
        angle = values.column("angle").to(images.device, images.dtype)
        cos, sin = angle.cos(), angle.sin()
        return linear.resample(images, torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2))


TRANSFORMS: Mapping[str, Transform] = {
    made.name: made for made in (Color(), Crop(), Cutout(), Flip(), Scale(), Rotate())
}
"""By name, in the order in which they are composed."""


def _uniform(rows: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, generator=generator, device=generator.device)


def _whole(low: int, high: int, rows: int, generator: torch.Generator) -> Tensor:
    """Whole numbers from ``low`` to ``high``, both included, as float32."""
    return torch.randint(low, high + 1, (rows,), generator=generator, device=generator.device).float()
