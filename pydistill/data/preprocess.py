"""Pixels to network input and back. Stored with every distilled set, for whoever trains on it.

What an evaluator lacks most often in sets released by others is the whitening or normalisation they
were learned in; here it travels with the images.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocess(ABC):
    """An invertible map from pixels to network input, fitted on training images."""

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, images: Tensor) -> "Preprocess":
        """From training images (N, C, H, W), uint8 or float32 in [0, 1]."""

    @abstractmethod
    def apply(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 or float in [0, 1] to float32 network input, on the device of ``images``."""

    @abstractmethod
    def invert(self, inputs: Tensor) -> Tensor:
        """Network input to float32 pixels; [0, 1] where it came from real images, else unbounded."""

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """What :meth:`restore` needs."""

    @classmethod
    @abstractmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> "Preprocess":
        """The inverse of :meth:`tensors`."""


def as_unit(images: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [0, 1]; floats unchanged but for the dtype."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


@dataclass(frozen=True)
class Standardise(Preprocess):
    """Subtract the training mean of each channel and divide by its standard deviation.

    Attributes:
        mean: (C,) float32, of pixels in [0, 1].
        std: (C,) float32, at least 1e-3 (a constant channel stays constant).
    """

    mean: Tensor
    std: Tensor

    name: ClassVar[str] = "standardise"

    @classmethod
    def fit(cls, images: Tensor) -> "Standardise":
        count, channels = 0, images.shape[1]
        total, square = (
            torch.zeros(channels, dtype=torch.float64),
            torch.zeros(channels, dtype=torch.float64),
        )
        for part in images.split(2048):
            unit = as_unit(part).double()
            count += unit.numel() // channels
            total += unit.sum((0, 2, 3))
            square += unit.square().sum((0, 2, 3))
        mean = total / count
        variance = (square / count - mean.square()).clamp_min(0)
        return cls(mean.float(), variance.sqrt().clamp_min(1e-3).float())

    def apply(self, images: Tensor) -> Tensor:
        mean, std = (value.to(images.device).view(-1, 1, 1) for value in (self.mean, self.std))
        return as_unit(images).sub(mean).div_(std)

    def invert(self, inputs: Tensor) -> Tensor:
        mean, std = (value.to(inputs.device).view(-1, 1, 1) for value in (self.mean, self.std))
        return inputs.float() * std + mean

    def tensors(self) -> Mapping[str, Tensor]:
        return {"mean": self.mean, "std": self.std}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> "Standardise":
        return cls(tensors["mean"], tensors["std"])
