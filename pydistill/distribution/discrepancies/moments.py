"""Discrepancies of group means: of features, of layer statistics, of attention maps.

[0] B. Zhao, H. Bilen: Dataset Condensation with Distribution Matching. WACV 2023, arXiv:2110.04181.
[1] K. Wang et al.: CAFE, Learning to Condense Dataset by Aligning Features. CVPR 2022, arXiv:2203.01531.
[2] A. Sajedi et al.: DataDAM, Efficient Dataset Distillation with Attention Matching. ICCV 2023,
    arXiv:2310.00093.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.distribution.discrepancies.base import Discrepancy, State


@dataclass(frozen=True)
class MeanEmbedding(Discrepancy):
    """Squared distance between class means ([0], equation 6): the MMD under a linear kernel."""

    additive: ClassVar[bool] = True

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        return (synthetic - real).square().sum()


@dataclass(frozen=True)
class ChannelVariance(Discrepancy):
    """Squared distance between the variances of channels, over a class's images and over space.

    What batch normalisation would keep of a layer beside its mean; an addition to [1]. The variance is that
    within images plus that of their means, of which the latter alone is a difference of large numbers: it
    is kept in float64.
    """

    additive: ClassVar[bool] = True

    def represent(self, features: Tensor) -> Tensor:
        wide = features if features.dtype == torch.float64 else features.float()
        channels = wide.flatten(2) if wide.ndim == 4 else wide[:, :, None]
        mean, within = channels.mean(2, dtype=torch.float64), channels.var(2, correction=0).double()
        return torch.cat([mean, mean.square() + within], 1)

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        return (_variances(synthetic) - _variances(real)).square().sum()


@dataclass(frozen=True)
class SpatialAttention(Discrepancy):
    """Squared distance between class means of normalised spatial attention maps ([2], equations 1 and 2).

    An image's attention map is the sum over channels of ``|feature| ** power``, flattened and divided by
    its Euclidean norm.

    Attributes:
        power: The exponent.
    """

    power: float = 4.0

    additive: ClassVar[bool] = True

    def represent(self, features: Tensor) -> Tensor:
        if features.ndim != 4:
            raise ValueError(f"attention needs maps (M, C, h, w), found {tuple(features.shape)}")
        # the largest feature is taken out first: a fourth power leaves bfloat16's and float32's range early
        peak = features.detach().abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
        energy = (features / peak).abs().pow(self.power).sum(1)
        return F.normalize(energy.flatten(1), dim=1)

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        return (synthetic - real).square().sum()


def _variances(moments: Tensor) -> Tensor:
    """From means and mean squares (G, 2C) to variances (G, C)."""
    mean, square = moments.chunk(2, 1)
    return square - mean.square()
