"""Pixels to network input and back. Stored with every distilled set, for whoever trains on it.

What an evaluator lacks most often in sets released by others is the whitening or normalisation they
were learned in; here it travels with the images.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.data.equality import ByContent


@dataclass(frozen=True, eq=False)
class Preprocess(ByContent, ABC):
    """An invertible map from pixels to network input, fitted on training images."""

    name: ClassVar[str]

    def __repr__(self) -> str:
        held = (f"{name} {tuple(value.shape)}" for name, value in self.tensors().items())
        return f"{type(self).__name__}({', '.join(held)})"

    @classmethod
    @abstractmethod
    def fit(cls, images: Tensor) -> Self:
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
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of :meth:`tensors`.

        Raises:
            ValueError: A tensor is missing, unknown, not finite or of the wrong type or shape.
        """

    @abstractmethod
    def fits(self, shape: tuple[int, int, int]) -> bool:
        """Whether images of this (C, H, W) can be given to :meth:`apply`."""

    def to(self, device: torch.device | str) -> Self:
        """The same map with its tensors on ``device``, so that no call has to move them there."""
        return type(self).restore({key: value.to(device) for key, value in self.tensors().items()})


def as_unit(images: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [0, 1]; floats unchanged but for the dtype."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def require(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``tensors`` are finite float32 under exactly these ``names``."""
    if set(tensors) != set(names):
        raise ValueError(f"expected tensors {sorted(names)}, found {sorted(tensors)}")
    for name, value in tensors.items():
        if value.dtype != torch.float32 or not bool(value.isfinite().all()):
            raise ValueError(
                f"expected {name} to be finite float32, found {value.dtype} or values not finite"
            )


@dataclass(frozen=True, eq=False, repr=False)
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
    def fit(cls, images: Tensor) -> Self:
        count, channels = 0, images.shape[1]
        total = torch.zeros(channels, dtype=torch.float64)
        square = torch.zeros(channels, dtype=torch.float64)
        for part in torch.split(images, 2048):
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
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        require(tensors, ("mean", "std"))
        mean, std = tensors["mean"], tensors["std"]
        if mean.ndim != 1 or mean.shape != std.shape or not bool((std > 0).all()):
            found = f"{tuple(mean.shape)}, {tuple(std.shape)}"
            raise ValueError(f"expected mean and positive std of shape (C,), found {found}")
        return cls(mean, std)

    def fits(self, shape: tuple[int, int, int]) -> bool:
        return len(self.mean) == shape[0]


@dataclass(frozen=True, eq=False, repr=False)
class Whiten(Preprocess):
    """ZCA whitening of standardised pixels: decorrelate them, changing each image as little as may be.

    With U S Uᵀ the eigendecomposition of the training covariance (per-pixel mean removed, divided by
    N - 1), images are multiplied by U (S + eps)^(-1/2) Uᵀ. The field uses eps = 0.1 on standardised
    pixels, which leaves directions of little variance small; eps near 0 makes the covariance the identity.
    The matrices are (C·H·W)²: 38 MB each at 3x32x32.

    Attributes:
        standardise: What is applied first.
        centre: (D,) float32, D = C·H·W: mean of each standardised pixel.
        matrix: (D, D) float32, symmetric.
        inverse: (D, D) float32, symmetric, of ``matrix``.

    References:
        [0] Bell and Sejnowski, The "independent components" of natural scenes are edge filters, 1997.
    """

    standardise: Standardise
    centre: Tensor
    matrix: Tensor
    inverse: Tensor

    name: ClassVar[str] = "zca"

    @classmethod
    def fit(cls, images: Tensor, eps: float = 0.1) -> Self:
        """From training images; covariance and eigenvectors in float64.

        Args:
            images: (N, C, H, W), uint8 or float32 in [0, 1].
            eps: Added to every eigenvalue, in units of a standardised pixel's variance.

        Raises:
            ValueError: ``eps`` is not above 0, or fewer than two images.
        """
        if not eps > 0:
            raise ValueError(f"expected eps above 0, got {eps}: the covariance may be singular")
        if len(images) < 2:
            raise ValueError(f"expected at least 2 images to whiten by, got {len(images)}")
        standardise = Standardise.fit(images)
        width = images[0].numel()
        total = torch.zeros(width, dtype=torch.float64, device=images.device)
        for part in torch.split(images, 2048):
            total += standardise.apply(part).flatten(1).double().sum(0)
        centre = total / len(images)
        scatter = torch.zeros(width, width, dtype=torch.float64, device=images.device)
        for part in torch.split(images, 2048):
            rows = standardise.apply(part).flatten(1).double().sub_(centre)
            scatter.addmm_(rows.T, rows)
        values, vectors = torch.linalg.eigh(scatter / (len(images) - 1))
        root = values.clamp_min(0).add(eps).sqrt()
        matrix, inverse = ((vectors * scale) @ vectors.T for scale in (root.reciprocal(), root))
        return cls(standardise, centre.float(), _symmetric(matrix), _symmetric(inverse))

    def apply(self, images: Tensor) -> Tensor:
        rows = self.standardise.apply(images).flatten(1) - self.centre.to(images.device)
        return (rows @ self.matrix.to(images.device)).view(images.shape)

    def invert(self, inputs: Tensor) -> Tensor:
        rows = inputs.float().flatten(1) @ self.inverse.to(inputs.device) + self.centre.to(inputs.device)
        return self.standardise.invert(rows.view(inputs.shape))

    def tensors(self) -> Mapping[str, Tensor]:
        """Both matrices in one: each is symmetric, so ``packed`` (D, D + 1) holds their upper triangles."""
        packed = F.pad(self.matrix.triu(), (1, 0)) + F.pad(self.inverse.tril(), (0, 1))
        return {**self.standardise.tensors(), "centre": self.centre, "packed": packed}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        require(tensors, ("mean", "std", "centre", "packed"))
        standardise = Standardise.restore({key: tensors[key] for key in ("mean", "std")})
        centre, packed = tensors["centre"], tensors["packed"]
        if centre.ndim != 1 or packed.shape != (len(centre), len(centre) + 1):
            found = f"{tuple(centre.shape)}, {tuple(packed.shape)}"
            raise ValueError(f"expected centre (D,) and packed (D, D + 1), found {found}")
        upper, lower = packed[:, 1:].triu(), packed[:, :-1].tril()
        return cls(standardise, centre, upper + upper.triu(1).T, lower + lower.tril(-1).T)

    def fits(self, shape: tuple[int, int, int]) -> bool:
        return self.standardise.fits(shape) and len(self.centre) == math.prod(shape)


def _symmetric(matrix: Tensor) -> Tensor:
    """Exactly symmetric float32, so that a triangle tells the whole."""
    upper = matrix.float().triu()
    return upper + upper.triu(1).T


PREPROCESSES: Mapping[str, type[Preprocess]] = MappingProxyType(
    {kind.name: kind for kind in (Standardise, Whiten)}
)
"""Every preprocessing by its name."""
