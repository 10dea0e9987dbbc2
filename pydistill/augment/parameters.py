"""The parameters of an augmentation: a row of numbers a group of images, real and synthetic alike."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.ops._siamese_plain import COLUMNS, IDENTITY


@dataclass(frozen=True)
class Parameters:
    """What to do to every image; images that share a row are augmented alike ("siamese").

    Attributes:
        values: (G, 13) float32 on the CPU, a row a group. The columns, each at its identity where the
            transform is inactive, are :attr:`COLUMNS`:

            - ``brightness``: added to every value; identity 0.
            - ``saturation``: factor on a pixel's distance from its mean over channels; identity 1.
            - ``contrast``: factor on a value's distance from the image's mean; identity 1.
            - ``shift_y, shift_x``: whole pixels; output (i, j) is input (i + y, j + x), zero outside.
            - ``cut_top, cut_left, cut_bottom, cut_right``: the window set to zero, in pixels, upper ends
              excluded; what lies outside the image is ignored; identity 0, 0, 0, 0.
            - ``flip``: 1 where the image is mirrored left to right, else 0.
            - ``scale_y, scale_x``: output at an offset p from the centre is input at scale times p, so
              above 1 shrinks; identity 1.
            - ``angle``: anticlockwise rotation in radians; identity 0.
        size: (H, W) of the images they were drawn for.
    """

    values: Tensor
    size: tuple[int, int]

    COLUMNS: ClassVar[tuple[str, ...]] = COLUMNS
    IDENTITY: ClassVar[tuple[float, ...]] = IDENTITY

    def __post_init__(self) -> None:
        """Check shape, dtype and device.

        Raises:
            TypeError: ``values`` is not a float32 tensor on the CPU.
            ValueError: ``values`` is not (G, 13), or ``size`` is not two positive integers.
        """
        values = self.values
        if values.dtype != torch.float32 or values.device.type != "cpu":
            raise TypeError(f"values must be float32 on the CPU, found {values.dtype} on {values.device}")
        if values.ndim != 2 or values.shape[1] != len(self.COLUMNS):
            raise ValueError(f"values must be (G, {len(self.COLUMNS)}), found {tuple(values.shape)}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size must be (H, W), each at least 1, found {self.size}")

    @classmethod
    def identity(cls, rows: int, size: tuple[int, int]) -> "Parameters":
        """``rows`` rows that leave an image as it is."""
        return cls(torch.tensor([cls.IDENTITY], dtype=torch.float32).repeat(rows, 1), size)

    def __len__(self) -> int:
        return len(self.values)

    def column(self, name: str) -> Tensor:
        """(G,) one parameter of every row; a view, so writing to it changes the parameters."""
        return self.values[:, self.COLUMNS.index(name)]

    def rows(self, index: Tensor | slice) -> "Parameters":
        """Rows selected or repeated: ``rows(class_of_each_image)`` gives an image its class's row.

        Args:
            index: (N,) integer indices on any device, or a slice.
        """
        return Parameters(self.values[index.cpu() if isinstance(index, Tensor) else index], self.size)
