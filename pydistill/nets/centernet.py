"""CenterNet for small images: an encoder and a decoder with skip connections, to cells of 4×4 pixels.

[0] X. Zhou, D. Wang, P. Krähenbühl: Objects as Points. arXiv:1904.07850.
[1] T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár: Focal Loss for Dense Object Detection. ICCV 2017,
    arXiv:1708.02002. Section 4.1: the prior of the class outputs.

What differs from [0]: the body is a small one, with group normalisation, since a set of a few images gives
no batch statistics worth having, and average pooling, so that only the activation may have kinks.
Everything has second derivatives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.layers import GROUPS, Convolution, normalisation
from pydistill.nets.spec import Shape, Spec, register

_ACTIVATIONS = {"relu": F.relu, "silu": F.silu}
_PRIOR = 0.1
"""Probability of a centre that every cell begins with, about: [0]'s code (``-2.19``)."""
_REGRESSED = 4
"""Outputs beside the classes: width, height and offset."""


@register
@dataclass(frozen=True)
class CenterNetSpec(Spec):
    """Options of CenterNet.

    Attributes:
        width: Channels of the decoder, a multiple of 8; the encoder has half of that at full and half size,
            then as many, twice and four times as many.
        depth: Convolutions a stage.
        activation: Non-linearity; ``silu`` is smooth.
    """

    width: int = 32
    depth: int = 2
    activation: Literal["relu", "silu"] = "relu"

    name: ClassVar[str] = "centernet"
    summary: ClassVar[str] = "a small CenterNet, which finds objects by their centres (arXiv:1904.07850)"
    tasks: ClassVar[tuple[str, ...]] = ("detection",)

    @property
    def smallest(self) -> int:
        return 8

    def make(self, shape: Shape, outputs: int) -> "CenterNet":
        if self.width % (2 * GROUPS):
            raise ValueError(f"{self}: group normalisation needs a width divisible by {2 * GROUPS}")
        if outputs <= _REGRESSED:
            raise ValueError(
                f"{self}: expected at least {_REGRESSED + 1} outputs, one a class and {_REGRESSED} of "
                f"boxes, found {outputs}; give it as many as Detection.outputs says"
            )
        return CenterNet(self, shape, outputs)


class Stage(nn.Module):
    """``depth`` times a 3×3 convolution, group normalisation and the activation, at one size."""

    def __init__(self, channels: int, width: int, spec: CenterNetSpec, depth: int, stride: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            Convolution(width if index else channels, width, 3, 1 if index else stride, padding=1)
            for index in range(depth)
        )
        self.norms = nn.ModuleList(normalisation("group", width) for _ in range(depth))
        self._activation = _ACTIVATIONS[spec.activation]

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H, W)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            maps = self._activation(norm(convolution(maps)))
        return maps


class CenterNet(Network):
    """Five stages from full size down to a sixteenth, two up to a quarter, then one 1×1 convolution.

    A side that is not even is halved to the larger half, the last cell being the mean of what there is of
    it: cell (i, j) of a quarter covers the pixels from (4 i, 4 j), and there are ceil(H / 4) times
    ceil(W / 4). Going up every cell is repeated 2×2 times and what lies beyond the larger map is dropped.
    """

    def __init__(self, spec: CenterNetSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        half, width, depth = spec.width // 2, spec.width, spec.depth
        widths = (half, width, 2 * width, 4 * width)
        self.encoder = nn.ModuleList()
        channels = shape[0]
        for index, each in enumerate(widths):
            self.encoder.append(Stage(channels, each, spec, depth, 1 if index else 2))
            channels = each
        self.decoder = nn.ModuleList(
            [Stage(4 * width + 2 * width, 2 * width, spec, 1), Stage(2 * width + width, width, spec, depth)]
        )
        self.classifier = nn.Conv2d(width, outputs, 1)

    @property
    def names(self) -> tuple[str, ...]:
        return ("down2", "down4", "down8", "down16", "up8", "up4")

    def blocks(self, images: Tensor) -> list[Tensor]:
        """Every stage's maps, at full size, a half, ..., a sixteenth, then an eighth and a quarter."""
        outputs: list[Tensor] = []
        for stage in self.encoder:
            images = stage(F.avg_pool2d(images, 2, ceil_mode=True) if outputs else images)
            outputs.append(images)
        for stage, skip in zip(self.decoder, (outputs[2], outputs[1]), strict=True):
            larger = F.interpolate(outputs[-1], scale_factor=2)[..., : skip.shape[2], : skip.shape[3]]
            outputs.append(stage(torch.cat([larger, skip], 1)))
        return outputs

    def embed(self, blocks: Sequence[Tensor]) -> Tensor:
        """(N, 4 width): the coarsest maps, averaged over space; the last block has a number a cell."""
        return blocks[len(self.encoder) - 1].mean((2, 3))

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        """(N, K + 4, ceil(H / 4), ceil(W / 4)): K logits of centres, width, height, offset x, offset y.

        The logits begin about that of the prior ([1]): a constant is added, which does as much as a first
        bias would.
        """
        outputs: Tensor = self.classifier(blocks[-1])
        prior = math.log(_PRIOR / (1 - _PRIOR))
        return torch.cat([outputs[:, :-_REGRESSED] + prior, outputs[:, -_REGRESSED:]], 1)
