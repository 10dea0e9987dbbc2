"""ResNet-18 for small images: a 3×3 stem without pooling, instance or batch normalisation.

[0] K. He, X. Zhang, S. Ren, J. Sun: Deep Residual Learning for Image Recognition. CVPR 2016,
    arXiv:1512.03385.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pydistill.nets.base import Network
from pydistill.nets.layers import Convolution, normalisation
from pydistill.nets.spec import Shape, Spec, register

_WIDTHS = (64, 128, 256, 512)


@register
@dataclass(frozen=True)
class ResNet18Spec(Spec):
    """Options of ResNet-18.

    Attributes:
        norm: Normalisation after every convolution.
    """

    norm: Literal["instance", "batch"] = "instance"

    name: ClassVar[str] = "resnet18"
    summary: ClassVar[str] = "ResNet-18 with a 3x3 stem (arXiv:1512.03385)"

    @property
    def smallest(self) -> int:
        return 2

    def make(self, shape: Shape, outputs: int) -> "ResNet18":
        return ResNet18(self, shape, outputs)


class Residual(nn.Module):
    """Two 3×3 convolutions beside a shortcut, projected by a 1×1 convolution where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int, norm: Literal["instance", "batch"]) -> None:
        super().__init__()
        self.first = Convolution(channels, width, 3, stride, padding=1, bias=False)
        self.first_norm = normalisation(norm, width)
        self.second = Convolution(width, width, 3, padding=1, bias=False)
        self.second_norm = normalisation(norm, width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), normalisation(norm, width)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H', W') with H' = ceil(H / stride)."""
        inner = F.relu(self.first_norm(self.first(maps)))
        return F.relu(self.second_norm(self.second(inner)) + self.shortcut(maps))


class ResNet18(Network):
    """Stem, four stages of two residual units, the mean over the last map, a linear classifier.

    The last three stages halve the map, on small images only where that leaves at least 2×2: a map of
    one pixel would be normalised to nothing.
    """

    def __init__(self, spec: ResNet18Spec, shape: Shape, outputs: int) -> None:
        super().__init__(spec, shape, outputs)
        channels, smaller_side = _WIDTHS[0], min(shape[1:])
        self.stem = Convolution(shape[0], channels, 3, padding=1, bias=False)
        self.stem_norm = normalisation(spec.norm, channels)
        self.stages = nn.ModuleList()
        for index, width in enumerate(_WIDTHS):
            stride = 2 if index and smaller_side >= 3 else 1
            self.stages.append(
                nn.Sequential(
                    Residual(channels, width, stride, spec.norm), Residual(width, width, 1, spec.norm)
                )
            )
            channels, smaller_side = width, (smaller_side + stride - 1) // stride
        self.classifier = nn.Linear(channels, outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return ("stem", "stage1", "stage2", "stage3", "stage4", "mean")

    def blocks(self, images: Tensor) -> list[Tensor]:
        maps = F.relu(self.stem_norm(self.stem(images)))
        outputs = [maps]
        for stage in self.stages:
            maps = stage(maps)
            outputs.append(maps)
        outputs.append(maps.mean((2, 3)))
        return outputs

    def head(self, blocks: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.embed(blocks))
        return logits
