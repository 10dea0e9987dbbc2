"""The parts that networks share: normalisation, activation, pooling by name, and the block made of them."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.ops import norm_relu_pool
from pydistill.ops._layout import wrapped
from pydistill.ops.conv3x3 import conv3x3, fits

Norm: TypeAlias = Literal["none", "batch", "layer", "instance", "group"]
Activation: TypeAlias = Literal["sigmoid", "relu", "leakyrelu"]
Pooling: TypeAlias = Literal["none", "max", "avg"]
Layer: TypeAlias = Callable[[Tensor], Tensor]

GROUPS = 4
"""Groups of the field's group normalisation."""


class GroupNorm(nn.Module):
    """Group normalisation (arXiv:1803.08494); with a group a channel it is instance normalisation.

    Computes what ``nn.GroupNorm`` does, through the operator beneath it: ``F.group_norm`` cannot be
    mapped by ``torch.func.vmap`` over channels_last images.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape; a dense tensor, as convolutions give."""
        count, channels, height, width = maps.shape
        if maps.device.type != "cpu":  # that kernel knows no channels_last; F.group_norm copies as well
            maps = maps.contiguous()
        normal: Tensor = torch.native_group_norm(
            maps, self.weight, self.bias, count, channels, height * width, self.groups, self.eps
        )[0]
        return normal


class Convolution(nn.Conv2d):
    """``nn.Conv2d``; 3x3 filters at stride 1 run on :func:`pydistill.ops.conv3x3` where that is faster.

    Under autocast, and for tensors of ``torch.func``, it is torch's own.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        return conv3x3(images, self.weight, self.bias) if self._faster(images) else super().forward(images)

    def _faster(self, images: Tensor) -> bool:
        plain = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups) == _PLAIN
        if not plain or images.device.type != "cpu" or torch.is_autocast_enabled("cpu") or wrapped(images):
            return False
        return self.faster(images, self.weight)

    @staticmethod
    def faster(images: Tensor, weight: Tensor) -> bool:
        """Whether the operator is faster for such images and 3x3 filters at stride 1 on a CPU.

        It is where there is work enough for its fixed cost: on processors of level AVX2 as of AVX-512
        (``benchmarks.kernels.conv3x3 --small``).
        """
        return images[:, :1].numel() * weight.numel() >= _LEAST_WORK and fits(images, weight)


_PLAIN = ((3, 3), (1, 1), (1, 1), (1, 1), 1)
_LEAST_WORK = 10_000_000
"""Multiply-adds below which a convolution is over before the operator's fixed cost is."""


_NORMS: Mapping[Norm, Callable[[int, int, int], nn.Module]] = {
    "none": lambda channels, height, width: nn.Identity(),
    "batch": lambda channels, height, width: nn.BatchNorm2d(channels),
    "layer": lambda channels, height, width: nn.LayerNorm([channels, height, width]),
    "instance": lambda channels, height, width: GroupNorm(channels, channels),
    "group": lambda channels, height, width: GroupNorm(GROUPS, channels),
}

_ACTIVATIONS: Mapping[Activation, Layer] = {
    "sigmoid": F.sigmoid,
    "relu": F.relu,
    "leakyrelu": F.leaky_relu,
}

_POOLINGS: Mapping[Pooling, Layer] = {
    "none": lambda maps: maps,
    "max": lambda maps: F.max_pool2d(maps, 2),
    "avg": lambda maps: F.avg_pool2d(maps, 2),
}


def normalisation(norm: Norm, channels: int, height: int = 0, width: int = 0) -> nn.Module:
    """A normalisation with affine parameters; only ``layer`` depends on the map's height and width.

    ``instance`` normalises each channel of each image over its pixels. It is a group normalisation with a
    group a channel, as in the field's code, and has no running statistics. A map of one pixel becomes
    zero before the affine part: what the block learned is lost, so networks keep maps larger than that.
    """
    return _NORMS[norm](channels, height, width)


class Block(nn.Module):
    """3×3 convolution, normalisation, activation, pooling: (N, C, H, W) to (N, width, H', W').

    H' is ``H // 2`` under pooling, else H. Instance normalisation, ReLU and average pooling together run
    as one fused op.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        size: tuple[int, int],
        *,
        norm: Norm,
        activation: Activation,
        pooling: Pooling,
    ) -> None:
        super().__init__()
        self.convolution = Convolution(channels, width, 3, padding=1)
        self.normalisation = normalisation(norm, width, *size)
        self._activation = _ACTIVATIONS[activation]
        self._pooling = _POOLINGS[pooling]
        self._fused = (norm, activation, pooling) == ("instance", "relu", "avg")

    def forward(self, images: Tensor) -> Tensor:
        """One block's output."""
        maps = self.convolution(images)
        norm = self.normalisation
        if self._fused and isinstance(norm, GroupNorm):
            return norm_relu_pool(maps, norm.weight, norm.bias, norm.eps)
        return self._pooling(self._activation(norm(maps)))
