"""Greedy selection by a weighted sum of criteria.

[0] G. Nemhauser, L. Wolsey, M. Fisher: An analysis of approximations for maximizing submodular set
    functions. Mathematical Programming 14, 1978.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.combination import USUAL, Criteria, parse_criteria

_NOTHING = 1e-9
"""A gain below this is rounding."""
_EQUAL = 1e-6
"""Sums nearer to each other than this are equal: rounding decides nothing."""


@register
@dataclass(frozen=True, kw_only=True)
class Greedy(EmbeddingSelector):
    """Group by group, image by image the one of which the weighted sum of relative gains is greatest.

    Gains of all criteria lie in [0, 1], but fall at different rates as more is chosen: facility location's
    by the square of the number, a rank not at all. So in every step those of each criterion are divided by
    the greatest among the candidates that are left: the best candidate of every criterion counts 1, times
    the weight. Under one criterion alone that changes nothing, and is the greedy algorithm of [0], within
    1 - 1/e of the best selection where the criterion is monotone and submodular; a sum of several has no
    such bound. Of equal candidates the one is taken that is first in an order drawn from the seed.
    """

    name: ClassVar[str] = "greedy"
    citation: ClassVar[str] = "Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978"
    summary: ClassVar[str] = "greedily by a weighted sum of criteria: representative, diverse, balanced"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    criteria: str = option(
        USUAL[False], "weighted sum of criteria, such as representativeness+0.5*diversity-0.2*difficulty"
    )

    def __post_init__(self) -> None:
        if isinstance(self.criteria, str):
            parse_criteria(self.criteria)

    @property
    def scored(self) -> bool:
        return self.embedding == "trained" or self._criteria.scored

    @property
    def _criteria(self) -> Criteria:
        return parse_criteria(self.criteria)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        tallies = [(weight, each.tally(candidates)) for weight, each in self._criteria.terms]
        order = torch.randperm(len(candidates), generator=generator)
        left = torch.ones(len(candidates), dtype=torch.bool)
        chosen: list[int] = []
        for _ in range(count):
            sums = sum(
                (weight * relative(tally.gains, left) for weight, tally in tallies),
                torch.zeros(len(candidates), dtype=torch.float64),
            )
            best = first_best(sums, left, order)
            left[best] = False
            chosen.append(best)
            for _, tally in tallies:
                tally.add(best)
        return Chosen(torch.tensor(chosen))


def relative(gains: Tensor, left: Tensor) -> Tensor:
    """(n,) gains as shares of the greatest among those that are left; 0 where none gains anything."""
    greatest = float(gains[left].max())
    return gains / greatest if greatest > _NOTHING else torch.zeros_like(gains)


def first_best(sums: Tensor, left: Tensor, order: Tensor) -> int:
    """The position of the greatest of those sums that are left, of equal ones the first in an order.

    Args:
        sums: (n,) of the size of 1.
        left: (n,) bool.
        order: (n,) every position once.
    """
    rest = torch.where(left, sums, -torch.inf)
    return int(order[rest[order] >= rest.max() - _EQUAL][0])
