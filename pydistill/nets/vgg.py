"""VGG-11 for small images, with instance or batch normalisation.

[0] K. Simonyan, A. Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition.
    ICLR 2015, arXiv:1409.1556, configuration A; one linear layer in place of its three.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.layers import Convolution, normalisation
from pydistill.nets.spec import Shape, Spec, register

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions of each stage; 2x2 max pooling ends a stage."""


@register
@dataclass(frozen=True)
class Vgg11Spec(Spec):
    """Options of VGG-11.

    Attributes:
        norm: Normalisation after every convolution.
    """

    norm: Literal["instance", "batch"] = "instance"

    name: ClassVar[str] = "vgg11"
    summary: ClassVar[str] = "VGG-11 with one linear layer (arXiv:1409.1556)"

    @property
    def smallest(self) -> int:
        return 2

    def make(self, shape: Shape, outputs: int) -> "Vgg11":
        return Vgg11(self, shape, outputs)


class Vgg11(Network):
    """Eight 3×3 convolutions in five stages, then a linear classifier on the flattened last map.

    On small images a stage but the last pools only where that leaves maps of at least 2×2: a smaller one
    would be normalised to nothing.
    """

    def __init__(self, spec: Vgg11Spec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        channels, *size = shape
        self.stages = nn.ModuleList()
        self.pools: list[bool] = []
        for index, widths in enumerate(_STAGES):
            layers = nn.ModuleList()
            for width in widths:
                layers.append(
                    nn.Sequential(
                        Convolution(channels, width, 3, padding=1),
                        normalisation(spec.norm, width),
                        nn.ReLU(),
                    )
                )
                channels = width
            self.stages.append(layers)
            self.pools.append(index == len(_STAGES) - 1 or min(size) >= 4)
            size = [side // 2 for side in size] if self.pools[-1] else size
        self.classifier = nn.Linear(channels * size[0] * size[1], outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"stage{index + 1}" for index in range(len(_STAGES)))

    def blocks(self, images: Tensor) -> list[Tensor]:
        outputs, maps = [], images
        for stage, pool in zip(self.stages, self.pools, strict=True):
            assert isinstance(stage, nn.ModuleList)
            for layer in stage:
                maps = layer(maps)
            maps = F.max_pool2d(maps, 2) if pool else maps
            outputs.append(maps)
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits
