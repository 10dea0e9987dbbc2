"""The six transforms of differentiable siamese augmentation: how the parameters of each are drawn.

What they do to an image is :func:`pydistill.ops.siamese_augment`'s.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

Columns = dict[str, Tensor]
"""Parameters by column name, (G,) each."""


class Transform(ABC):
    """One transform of images.

    Class attributes:
        name: What it is called in an augmentation's text.
        columns: The parameters it draws.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @abstractmethod
    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        """Random parameters for ``rows`` rows, on the generator's device."""


class Color(Transform):
    """Brightness, then saturation, then contrast, each about a mean of the image itself."""

    name = "color"
    columns = ("brightness", "saturation", "contrast")

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


class Crop(Transform):
    """A shift by whole pixels, at most an eighth of the side; zeros enter."""

    name = "crop"
    columns = ("shift_y", "shift_x")

    RATIO = 0.125

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        most = [int(side * self.RATIO + 0.5) for side in size]
        return {
            name: _whole(-reach, reach, rows, generator)
            for name, reach in zip(self.columns, most, strict=True)
        }


class Cutout(Transform):
    """A window of half the height and width set to zero; its centre lies anywhere in the image."""

    name = "cutout"
    columns = ("cut_top", "cut_left", "cut_bottom", "cut_right")

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


class Flip(Transform):
    """A mirror image, left to right, for half of the rows."""

    name = "flip"
    columns = ("flip",)

    PROBABILITY = 0.5

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        return {"flip": (_uniform(rows, generator) < self.PROBABILITY).float()}


class Scale(Transform):
    """Height and width scaled apart about the centre."""

    name = "scale"
    columns = ("scale_y", "scale_x")

    RATIO = 1.2
    """Factors are uniform in 1 / RATIO to RATIO."""

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        low = 1 / self.RATIO
        return {name: _uniform(rows, generator) * (self.RATIO - low) + low for name in self.columns}


class Rotate(Transform):
    """A rotation about the centre, in pixels: no shear where the image is not square."""

    name = "rotate"
    columns = ("angle",)

    DEGREES = 15.0
    """The angle is uniform in ±DEGREES."""

    def draw(self, rows: int, generator: torch.Generator, size: tuple[int, int]) -> Columns:
        return {"angle": (_uniform(rows, generator) * 2 - 1) * math.radians(self.DEGREES)}


TRANSFORMS: Mapping[str, Transform] = {
    made.name: made for made in (Color(), Crop(), Cutout(), Flip(), Scale(), Rotate())
}
"""By name, in the order in which they are composed."""


def _uniform(rows: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, generator=generator, device=generator.device)


def _whole(low: int, high: int, rows: int, generator: torch.Generator) -> Tensor:
    """Whole numbers from ``low`` to ``high``, both included, as float32."""
    return torch.randint(low, high + 1, (rows,), generator=generator, device=generator.device).float()
