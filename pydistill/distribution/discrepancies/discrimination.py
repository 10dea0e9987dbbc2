"""CAFE's discrimination loss: synthetic class centres must classify the real images.

[0] K. Wang et al.: CAFE, Learning to Condense Dataset by Aligning Features. CVPR 2022, arXiv:2203.01531.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import checks
from pydistill.distribution.discrepancies.base import Discrepancy, State


@dataclass(frozen=True)
class Discrimination(Discrepancy):
    """Cross-entropy of real features under the synthetic class means as classifier ([0], equations 4, 5).

    An image's logits are the inner products of its feature with each synthetic class mean.

    Attributes:
        temperature: Divides the logits; 1 in [0].
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` where the temperature is not above 0."""
        checks.number("temperature", self.temperature, above=0)

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        logits = real @ synthetic.mean(1).T / self.temperature
        own = torch.arange(len(real), device=real.device)[:, None].expand(real.shape[:2])
        return F.cross_entropy(logits.flatten(0, 1), own.flatten())
