"""Selection by difficulty: the hardest images of each class by a score, the easiest, or a window between.

[0] M. Paul, S. Ganguli, G. K. Dziugaite: Deep Learning on a Data Diet. NeurIPS 2021, arXiv:2107.07075.
[1] M. Toneva et al.: An Empirical Study of Example Forgetting. ICLR 2019, arXiv:1812.05159.
[2] G. Pleiss et al.: Identifying Mislabeled Data using the Area Under the Margin Ranking. NeurIPS 2020,
    arXiv:2001.10528.
[3] C. Coleman et al.: Selection via Proxy. ICLR 2020, arXiv:1906.11829.
[4] Y. Cho et al.: Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction
    Uncertainty. ICML 2025, arXiv:2502.06905.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, ScoredSelector

KEEPS = ("hardest", "easiest", "window")


@dataclass(frozen=True, kw_only=True)
class ByDifficulty(ScoredSelector):
    """Images of one end of a ranking by a score, class by class; ties in the order of the images.

    Class attributes:
        score: Its name in :meth:`pydistill.scores.Scores.value`.
    """

    nested: ClassVar[bool] = True
    score: ClassVar[str]

    keep: str = option("hardest", "which end of the ranking, or a window in it", choices=KEEPS)
    start_at: float = option(
        0.0, "where a window begins: the share of harder images that is left out", low=0
    )

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        order = torch.argsort(candidates.difficulty(self.score), descending=True, stable=True)
        if self.keep == "easiest":
            order = order.flip(0)
        first = round(self.start_at * len(order)) if self.keep == "window" else 0
        return Chosen(torch.cat([order[first:], order[:first].flip(0)])[:count])


@register
@dataclass(frozen=True, kw_only=True)
class El2n(ByDifficulty):
    """By the length of the error p - y early in training ([0])."""

    name: ClassVar[str] = "el2n"
    score: ClassVar[str] = "el2n"
    citation: ClassVar[str] = "Paul et al., Deep Learning on a Data Diet, NeurIPS 2021, arXiv:2107.07075"
    summary: ClassVar[str] = "the images whose answers are furthest from their labels early in training"
