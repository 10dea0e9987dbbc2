"""Selection by difficulty: the hardest images of each class by a score, the easiest, or a window between.

The hardest images are where wrong labels are, and few of them alone are no training set: hence ``keep`` and
``start_at``, and :mod:`pydistill.selection.strata`. Formulas: :mod:`pydistill.scores.dynamics`.

[0] M. Paul, S. Ganguli, G. K. Dziugaite: Deep Learning on a Data Diet. NeurIPS 2021, arXiv:2107.07075.
[1] M. Toneva et al.: An Empirical Study of Example Forgetting. ICLR 2019, arXiv:1812.05159.
[2] G. Pleiss et al.: Identifying Mislabeled Data using the Area Under the Margin Ranking. NeurIPS 2020,
    arXiv:2001.10528.
[3] C. Coleman et al.: Selection via Proxy. ICLR 2020, arXiv:1906.11829.
[4] Y. Cho et al.: Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction
    Uncertainty. ICML 2025, arXiv:2502.06905.
[5] The authors' code of [4], https://github.com/behaapyy/dual-pruning (``exp_cifar/data_subset.py``).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, ScoredSelector

KEEPS = ("hardest", "easiest", "window")
_CONCENTRATION = 15.0
_ANCHORS = 10
"""Of [5]: the sum of both parameters of the beta density less 1, and the images that place it."""
_EDGE = 2.0**-12
"""Probabilities are kept this far from 0 and 1: half of a float16's step below 1."""


@dataclass(frozen=True, kw_only=True)
class ByDifficulty(ScoredSelector):
    """Images of one end of a ranking by a score, group by group; ties in the order of the images.

    A window leaves out the share ``start_at`` of hardest images of a group and goes on from there towards
    the easy ones. Where it has reached the easiest, those left out follow, the easiest of them first.

    Class attributes:
        score: Its name in :meth:`pydistill.scores.Scores.value`.

    Raises:
        ValueError: ``start_at`` is given where no window is kept.
    """

    nested: ClassVar[bool] = True
    score: ClassVar[str]

    keep: str = option("hardest", "which end of the ranking, or a window in it", choices=KEEPS)
    start_at: float = option(
        0.0, "where a window begins: the share of harder images that is left out", low=0, below=1
    )

    def __post_init__(self) -> None:
        if self.start_at and self.keep != "window":
            raise ValueError(
                f"{self.name}: start_at says where a window begins, expected keep='window' with it, "
                f"found keep={self.keep!r}, start_at={self.start_at!r}"
            )

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        difficulty = candidates.difficulty(self.score)
        order = torch.argsort(difficulty, descending=self.keep != "easiest", stable=True)
        first = round(self.start_at * len(order))
        return Chosen(torch.cat([order[first:], order[:first].flip(0)])[:count])


@register
@dataclass(frozen=True, kw_only=True)
class El2n(ByDifficulty):
    """By the length of the error p - y early in training ([0], definition 2.2)."""

    name: ClassVar[str] = "el2n"
    score: ClassVar[str] = "el2n"
    citation: ClassVar[str] = "Paul et al., Deep Learning on a Data Diet, NeurIPS 2021, arXiv:2107.07075"
    summary: ClassVar[str] = "the images whose answers are furthest from their labels early in training"


@register
@dataclass(frozen=True, kw_only=True)
class Grand(ByDifficulty):
    """By the length of the loss's gradient early in training ([0], definition 2.1).

    Of the last layer's weights and biases alone, where [0] takes the whole network's.
    """

    name: ClassVar[str] = "grand"
    score: ClassVar[str] = "grand"
    citation: ClassVar[str] = "Paul et al., Deep Learning on a Data Diet, NeurIPS 2021, arXiv:2107.07075"
    summary: ClassVar[str] = "the images whose gradients are longest early in training"


@register
@dataclass(frozen=True, kw_only=True)
class Forgetting(ByDifficulty):
    """By how often a right answer is followed by a wrong one ([1], section 3); never right: hardest."""

    name: ClassVar[str] = "forgetting"
    score: ClassVar[str] = "forgetting"
    citation: ClassVar[str] = "Toneva et al., Example Forgetting, ICLR 2019, arXiv:1812.05159"
    summary: ClassVar[str] = "the images that are forgotten most often while they are learned"


@register
@dataclass(frozen=True, kw_only=True)
class Aum(ByDifficulty):
    """By the mean over epochs of z_y - max_{k != y} z_k, low is hard ([2], eq. 1).

    [2] finds mislabelled images at the hard end: a window or :class:`~pydistill.selection.strata.Ccs`
    leaves them out.
    """

    name: ClassVar[str] = "aum"
    score: ClassVar[str] = "aum"
    citation: ClassVar[str] = "Pleiss et al., Area Under the Margin, NeurIPS 2020, arXiv:2001.10528"
    summary: ClassVar[str] = "the images of the smallest margin over all of training"


@register
@dataclass(frozen=True, kw_only=True)
class Entropy(ByDifficulty):
    """By the entropy of the answer after training, -sum_k p_k log p_k ([3])."""

    name: ClassVar[str] = "entropy"
    score: ClassVar[str] = "entropy"
    citation: ClassVar[str] = "Coleman et al., Selection via Proxy, ICLR 2020, arXiv:1906.11829"
    summary: ClassVar[str] = "the images whose answers are least sure after training"


@register
@dataclass(frozen=True, kw_only=True)
class Dual(ByDifficulty):
    """By difficulty times uncertainty, (1 - mean) * deviation of p_y over windows of epochs ([4])."""

    name: ClassVar[str] = "dual"
    score: ClassVar[str] = "dual"
    citation: ClassVar[str] = "Cho et al., DUAL pruning, ICML 2025, arXiv:2502.06905"
    summary: ClassVar[str] = "the images that are hard and whose answers vary while they are learned"


@register
@dataclass(frozen=True, kw_only=True)
class Loss(ByDifficulty):
    """By the training loss, the mean over epochs: what is recorded of images of every task."""

    name: ClassVar[str] = "loss"
    score: ClassVar[str] = "loss"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    citation: ClassVar[str] = "the loss recorded as for Toneva et al., ICLR 2019, arXiv:1812.05159"
    summary: ClassVar[str] = "the images of the largest mean training loss"


@register
@dataclass(frozen=True, kw_only=True)
class DualBeta(ScoredSelector):
    """Drawn in proportion to the DUAL score times a beta density of the images' easiness ([4]).

    Of a class of n images m are drawn without replacement, image i with weight DUAL_i * Beta(q_i; a, b),
    where q is the mean of p_y over epochs. With r = 1 - m / n, the share that is pruned, and c the mean of
    q over the ten images of the largest score: b = 15 (1 - c) (1 - r^complexity), a = 16 - b. Where little
    is pruned the density is high at those ten, where much is, at easy images. The parameters are those
    of [5], which draws from all classes together; here each is drawn from by itself, as budgets are. Images
    of score 0 come last, in their order.
    """

    name: ClassVar[str] = "dual_beta"
    citation: ClassVar[str] = "Cho et al., DUAL pruning, ICML 2025, arXiv:2502.06905"
    summary: ClassVar[str] = "drawn by the DUAL score, the easier the fewer are kept"

    complexity: float = option(
        4.0, "how late easy images are turned to as fewer are kept: more for easier data", above=0
    )

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        score, mean = candidates.score("dual").double(), candidates.score("mean").double()
        alpha, beta = self.density(score, mean, count)
        inside = mean.clamp(_EDGE, 1 - _EDGE)
        weight = score.log() + (alpha - 1) * inside.log() + (beta - 1) * (1 - inside).log()
        uniform = torch.rand(len(score), generator=generator, dtype=torch.float64)
        race = weight - (-uniform.clamp(min=1e-300).log()).clamp(min=1e-300).log()
        return Chosen(torch.argsort(race, descending=True, stable=True)[:count])

    def density(self, score: Tensor, mean: Tensor, count: int) -> tuple[float, float]:
        """Both parameters of the beta density.

        Args:
            score: (n,) DUAL scores.
            mean: (n,) mean probabilities of the images' class.
            count: How many are kept.
        """
        hardest = torch.argsort(score, descending=True, stable=True)[:_ANCHORS]
        pruned = 1 - count / len(score)
        beta = _CONCENTRATION * (1 - float(mean[hardest].mean())) * (1 - pruned**self.complexity)
        return _CONCENTRATION + 1 - beta, beta
