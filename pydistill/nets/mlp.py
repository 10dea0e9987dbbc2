"""A multi-layer perceptron on the image's pixels."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.spec import Shape, Spec, register


@register
@dataclass(frozen=True)
class MlpSpec(Spec):
    """Options of the perceptron; two hidden layers of 128 are what arXiv:2006.05929 uses.

    Attributes:
        width: Units of every hidden layer.
        depth: Hidden layers.
    """

    width: int = 128
    depth: int = 2

    name: ClassVar[str] = "mlp"
    summary: ClassVar[str] = "multi-layer perceptron with ReLU"

    @property
    def smallest(self) -> int:
        return 1

    def make(self, shape: Shape, outputs: int) -> "Mlp":
        return Mlp(self, shape, outputs)


class Mlp(Network):
    """``depth`` hidden layers with ReLU, then a linear classifier."""

    def __init__(self, spec: MlpSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        inputs = shape[0] * shape[1] * shape[2]
        sizes = [inputs, *[spec.width] * spec.depth]
        self.body = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(sizes))
        self.classifier = nn.Linear(spec.width, outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"hidden{index + 1}" for index in range(len(self.body)))

    def blocks(self, images: Tensor) -> list[Tensor]:
        units, outputs = images.flatten(1), []
        for layer in self.body:
            units = F.relu(layer(units))
            outputs.append(units)
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits
