"""LeNet-5 with ReLU and max pooling, as dataset distillation uses it.

[0] Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition.
    Proceedings of the IEEE, 1998.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.spec import Shape, Spec, register


@register
@dataclass(frozen=True)
class LeNetSpec(Spec):
    """LeNet has no options."""

    name: ClassVar[str] = "lenet"
    summary: ClassVar[str] = "LeNet-5 with ReLU and max pooling"

    @property
    def smallest(self) -> int:
        return 4

    def make(self, shape: Shape, outputs: int) -> "LeNet":
        return LeNet(self, shape, outputs)


class LeNet(Network):
    """Two 5×5 convolutions with max pooling, two hidden layers of 120 and 84 units, a classifier.

    The first convolution is padded by 2 below 32×32, which gives 28×28 images the maps of 32×32 ones;
    the second is padded by 2 where its map has a side below 6, so that 8×8 images leave 2×2 maps.
    """

    def __init__(self, spec: LeNetSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        channels, *size = shape
        first = 2 if min(size) < 32 else 0
        size = [(side + 2 * first - 4) // 2 for side in size]
        second = 2 if min(size) < 6 else 0
        size = [(side + 2 * second - 4) // 2 for side in size]
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, 6, 5, padding=first), nn.Conv2d(6, 16, 5, padding=second)]
        )
        self.hidden = nn.ModuleList([nn.Linear(16 * size[0] * size[1], 120), nn.Linear(120, 84)])
        self.classifier = nn.Linear(84, outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return ("block1", "block2", "hidden1", "hidden2")

    def blocks(self, images: Tensor) -> list[Tensor]:
        outputs, maps = [], images
        for convolution in self.convolutions:
            maps = F.max_pool2d(F.relu(convolution(maps)), 2)
            outputs.append(maps)
        units = maps.flatten(1)
        for layer in self.hidden:
            units = F.relu(layer(units))
            outputs.append(units)
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits
