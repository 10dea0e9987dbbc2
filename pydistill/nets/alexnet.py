"""AlexNet cut down to small images, as dataset distillation uses it.

[0] A. Krizhevsky, I. Sutskever, G. Hinton: ImageNet Classification with Deep Convolutional Neural
    Networks. NIPS 2012.
[1] B. Zhao, K. R. Mopuri, H. Bilen: Dataset Condensation with Gradient Matching. ICLR 2021,
    arXiv:2006.05929: this small form, with one linear layer after five convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.spec import Shape, Spec, register

_LAYERS = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))
"""Channels, kernel side and whether 2x2 max pooling follows, for each convolution."""


@register
@dataclass(frozen=True)
class AlexNetSpec(Spec):
    """AlexNet has no options."""

    name: ClassVar[str] = "alexnet"
    summary: ClassVar[str] = "small AlexNet: five convolutions, one linear layer (arXiv:2006.05929)"

    @property
    def smallest(self) -> int:
        return 8

    def make(self, shape: Shape, outputs: int) -> "AlexNet":
        return AlexNet(self, shape, outputs)


class AlexNet(Network):
    """Five convolutions that keep their map's size, with three max poolings, then a linear classifier."""

    def __init__(self, spec: AlexNetSpec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        channels = [shape[0], *(width for width, _, _ in _LAYERS)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, width, kernel, padding=kernel // 2)
            for before, (width, kernel, _) in zip(channels, _LAYERS, strict=False)
        )
        self.classifier = nn.Linear(channels[-1] * (shape[1] // 8) * (shape[2] // 8), outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"block{index + 1}" for index in range(len(_LAYERS)))

    def blocks(self, images: Tensor) -> list[Tensor]:
        outputs, maps = [], images
        for convolution, (_, _, pool) in zip(self.convolutions, _LAYERS, strict=True):
            maps = F.relu(convolution(maps))
            maps = F.max_pool2d(maps, 2) if pool else maps
            outputs.append(maps)
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits
