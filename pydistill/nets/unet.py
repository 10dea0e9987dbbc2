"""A U-Net: an encoder that halves the map, a decoder that enlarges it again, joined at every size.

[0] O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation.
    MICCAI 2015, arXiv:1505.04597.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.layers import GROUPS, Convolution, normalisation
from pydistill.nets.spec import Shape, Spec, register

Smoothness: TypeAlias = Literal["relu", "silu"]
_ACTIVATIONS: Mapping[Smoothness, Callable[[Tensor], Tensor]] = {"relu": F.relu, "silu": F.silu}


@register
@dataclass(frozen=True)
class UNetSpec(Spec):
    """Options of the U-Net.

    As in [0] a level is two 3×3 convolutions, twice as wide a level down. Different from [0]: convolutions
    are padded, so that outputs have the images' size; group normalisation follows each; pooling is by the
    mean; the map is enlarged bilinearly, after a 1×1 convolution has halved its channels. All of it has
    second derivatives, with ``silu`` continuous ones.

    Attributes:
        width: Channels of the first level, a multiple of 4, the number of groups that are normalised.
        depth: How often the map is halved; None: what suits the images, see :meth:`halvings`.
        activation: Non-linearity; ``silu`` is smooth.
    """

    width: int = 16
    depth: int | None = None
    activation: Smoothness = "relu"

    name: ClassVar[str] = "unet"
    summary: ClassVar[str] = "U-Net with group normalisation, a class for each pixel (arXiv:1505.04597)"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)

    @property
    def smallest(self) -> int:
        return 1 << (self.depth or 1)

    def halvings(self, shape: Shape) -> int:
        """How often the map of images of this shape (C, H, W) is halved.

        Where it was left open: as often as leaves the last map about 6 to 12 pixels a side, at least once
        and at most four times: 4 for 128×96, 3 for 64×64, 2 for 32×32.
        """
        if self.depth is not None:
            return self.depth
        return min(4, max(1, round(math.log2(min(shape[1:]))) - 3))

    def make(self, shape: Shape, outputs: int) -> "UNet":
        if self.width % GROUPS:
            raise ValueError(f"{self}: group normalisation needs a width divisible by {GROUPS}")
        return UNet(self, shape, outputs)


class Level(nn.Module):
    """Twice 3×3 convolution, group normalisation, activation: (N, channels, H, W) to (N, width, H, W)."""

    def __init__(self, channels: int, width: int, activation: Smoothness) -> None:
        super().__init__()
        self.first = Convolution(channels, width, 3, padding=1, bias=False)
        self.first_norm = normalisation("group", width)
        self.second = Convolution(width, width, 3, padding=1, bias=False)
        self.second_norm = normalisation("group", width)
        self._activation = _ACTIVATIONS[activation]

    def forward(self, maps: Tensor) -> Tensor:
        """One level's output."""
        inner = self._activation(self.first_norm(self.first(maps)))
        return self._activation(self.second_norm(self.second(inner)))


class UNet(Network):
    """Encoder levels, the bottleneck, decoder levels of the encoder's sizes, a 1×1 convolution as the head.

    Blocks are maps (N, D, h, w): the encoder's before they are pooled, the bottleneck, then the decoder's,
    the last of the images' size. The embedding is the mean of the bottleneck over its pixels.

    Sides need not be powers of two. Pooling makes ``ceil(side / 2)`` of a side, where the last window of an
    odd side is the mean of what there is of it; a map is enlarged by exactly 2 and cut to the size of the
    encoder's map that it joins, so that pixels stay in their places.

    On CUDA the gradient of bilinear enlargement adds up in no fixed order: training there repeats itself to
    the bit under ``torch.use_deterministic_algorithms(True)`` only.
    """

    def __init__(self, spec: UNetSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        widths = [spec.width << level for level in range(spec.halvings(shape) + 1)]
        self.encoder = nn.ModuleList(
            Level(channels, width, spec.activation)
            for channels, width in zip([shape[0], *widths], widths, strict=False)
        )
        self.narrow = nn.ModuleList(Convolution(2 * width, width, 1) for width in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(
            Level(2 * width, width, spec.activation) for width in reversed(widths[:-1])
        )
        self.classifier = Convolution(spec.width, outputs, 1)

    @property
    def names(self) -> tuple[str, ...]:
        levels = range(1, len(self.decoder) + 1)
        return (
            *(f"encoder{level}" for level in levels),
            "bottleneck",
            *(f"decoder{level}" for level in reversed(levels)),
        )

    def blocks(self, images: Tensor) -> list[Tensor]:
        outputs = [self.encoder[0](images)]
        for level in list(self.encoder)[1:]:
            outputs.append(level(F.avg_pool2d(outputs[-1], 2, ceil_mode=True)))
        for skip, narrow, level in zip(reversed(outputs[:-1]), self.narrow, self.decoder, strict=True):
            outputs.append(level(torch.cat([skip, _enlarged(narrow(outputs[-1]), skip)], 1)))
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        """(N, K, H, W) from the last block."""
        maps: Tensor = self.classifier(blocks[-1])
        return maps

    def embed(self, blocks: Sequence[Tensor]) -> Tensor:
        """(N, D): the mean of the bottleneck over its pixels."""
        return blocks[len(self.decoder)].mean((2, 3))


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps (N, C, h, w) twice as large, cut to the height and width of ``like``."""
    height, width = like.shape[2:]
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)[:, :, :height, :width]
