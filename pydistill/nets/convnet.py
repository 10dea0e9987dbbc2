"""The field's ConvNet: equal blocks of 3×3 convolution, normalisation, activation and pooling.

[0] S. Gidaris, N. Komodakis: Dynamic Few-Shot Visual Learning without Forgetting. CVPR 2018,
    arXiv:1804.09458.
[1] B. Zhao, K. R. Mopuri, H. Bilen: Dataset Condensation with Gradient Matching. ICLR 2021,
    arXiv:2006.05929. Section 4.2 searches the 720 networks that these options span.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.layers import GROUPS, Activation, Block, Norm, Pooling
from pydistill.nets.spec import Shape, Spec, register


@register
@dataclass(frozen=True)
class ConvNetSpec(Spec):
    """Options of the ConvNet; the defaults are the field's standard network.

    Every convolution is padded by 1. The code of [1] pads grey images by 3 in the first, since it takes
    28×28 images for 32×32; here an image keeps its size whatever its channels.

    Attributes:
        width: Channels of every block.
        depth: Blocks; None: what suits the images, see :meth:`blocks`.
        norm: Normalisation; ``layer`` has an affine parameter a pixel, ``group`` four groups.
        activation: Non-linearity; the leaky ReLU has slope 0.01.
        pooling: 2×2 pooling after each block; an odd last row or column is dropped.
    """

    width: int = 128
    depth: int | None = None
    norm: Norm = "instance"
    activation: Activation = "relu"
    pooling: Pooling = "avg"

    name: ClassVar[str] = "convnet"
    summary: ClassVar[str] = "the field's ConvNet (arXiv:1804.09458, arXiv:2006.05929)"

    @property
    def smallest(self) -> int:
        if self.pooling != "none":
            return 1 << (self.depth or 1)
        return 2 if self.norm == "instance" else 1

    def blocks(self, shape: Shape) -> int:
        """Blocks of a network for images of this shape (C, H, W).

        Where they were left open: the field's three for 28×28 and 32×32 pixels, four for 64×64, five for
        128×128, so that the last map is about 4×4; two for less, where three would leave 8×8 pixels one.
        """
        if self.depth is not None:
            return self.depth
        if self.pooling == "none":
            return 3
        halvings = math.log2(min(shape[1:]))
        return min(int(halvings), max(2, round(halvings) - 2))

    def make(self, shape: Shape, outputs: int) -> "ConvNet":
        if self.norm == "group" and self.width % GROUPS:
            raise ValueError(f"{self}: group normalisation needs a width divisible by {GROUPS}")
        return ConvNet(self, shape, outputs)


class ConvNet(Network):
    """Blocks, then a linear classifier on the flattened last map."""

    def __init__(self, spec: ConvNetSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        channels, *size = shape
        halve = 1 if spec.pooling == "none" else 2
        self.body = nn.ModuleList()
        for _ in range(spec.blocks(shape)):
            block = Block(
                channels,
                spec.width,
                (size[0], size[1]),
                norm=spec.norm,
                activation=spec.activation,
                pooling=spec.pooling,
            )
            self.body.append(block)
            channels, size = spec.width, [side // halve for side in size]
        self.classifier = nn.Linear(channels * size[0] * size[1], outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"block{index + 1}" for index in range(len(self.body)))

    def blocks(self, images: Tensor) -> list[Tensor]:
        outputs = []
        for block in self.body:
            images = block(images)
            outputs.append(images)
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits
