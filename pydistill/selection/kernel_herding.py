"""Kernel herding: images whose maximum mean discrepancy to all is least, one after the other.

[0] Y. Chen, M. Welling, A. Smola: Super-Samples from Kernel Herding. UAI 2010, arXiv:1203.3472.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.similarity import Similarity


def kernel_herd(similarity: Similarity, count: int) -> Tensor:
    """Each time the v of the greatest mean_i k(i, v) - sum over S of k(v, j) / (|S| + 1), none twice ([0]).

    As k(v, v) = 1, that is the one after which MMD^2 of what is chosen to all is least.

    Args:
        similarity: Of kind ``rbf``.
        count: How many.

    Returns:
        (count,) int64 positions in the order in which they were chosen, the first of equal ones.
    """
    score = similarity.totals() / len(similarity)
    sums = torch.zeros_like(score)
    positions: list[int] = []
    for chosen in range(1, count + 1):
        at = int((score - sums / chosen).argmax())
        positions.append(at)
        sums += similarity.column(at)
        score[at] = -torch.inf
    return torch.tensor(positions)


@register
@dataclass(frozen=True, kw_only=True)
class KernelHerding(EmbeddingSelector):
    """Greedily the least maximum mean discrepancy under an RBF kernel ([0]).

    Features less their mean; w is the median distance between images. Memory: a copy of the features, 12
    MiB and 100 bytes an image.
    """

    name: ClassVar[str] = "kernel_herding"
    citation: ClassVar[str] = (
        "Chen, Welling and Smola, Super-Samples from Kernel Herding, UAI 2010, arXiv:1203.3472"
    )
    summary: ClassVar[str] = "images whose kernel mean (MMD) is nearest to that of all"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    bandwidth: float = option(1.0, "of the kernel, in units of the median distance", above=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        return Chosen(kernel_herd(Similarity.of(candidates.features(), "rbf", self.bandwidth), count))
