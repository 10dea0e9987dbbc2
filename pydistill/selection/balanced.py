"""Selection of images that hold what is rare: greedy over pixels or objects of each class.

[0] K. Wei, R. Iyer, J. Bilmes: Submodularity in Data Subset Selection and Active Learning. ICML 2015:
    concave functions of what a set holds of each class ("feature based").
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, Selector
from pydistill.selection.criterion import held
from pydistill.selection.greedy import first_best


@register
@dataclass(frozen=True, kw_only=True)
class Balanced(Selector):
    """Image by image the one that adds most of the classes that are rare and little chosen yet.

    With n_c the pixels or objects of class c in what is chosen and a_ic those in image i, the image of the
    greatest sum_c w_c (sqrt(n_c + a_ic) - sqrt(n_c)), w_c being the class's frequency in the training
    images to the power of ``-power``: a monotone submodular function, which greedy selection brings within
    1 - 1/e of its greatest value. Of equal images the one is taken that is first in an order drawn from the
    seed. For tasks in which an image may hold several classes: elsewhere the budget is by class already.
    """

    name: ClassVar[str] = "balanced"
    citation: ClassVar[str] = "Wei, Iyer and Bilmes, ICML 2015, on pixels and objects"
    summary: ClassVar[str] = "images that hold rare classes, by their pixels or objects"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation", "detection")
    nested: ClassVar[bool] = True

    power: float = option(
        1.0, "how much rare classes count: 1 by the inverse frequency, 0 all alike", low=0
    )

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        amounts = torch.cat([part for _, part in held(candidates.known, candidates.indices)])
        there = amounts.sum(0)
        shares = there / there.sum().clamp_min(1)
        weights = torch.where(there > 0, shares.clamp_min(1e-12) ** -self.power, 0.0)
        order = torch.randperm(len(candidates), generator=generator)
        left = torch.ones(len(candidates), dtype=torch.bool)
        has, chosen = torch.zeros_like(there), []
        for _ in range(count):
            gains = ((has + amounts).sqrt() - has.sqrt()) @ weights
            best = first_best(gains / gains.max().clamp_min(1e-12), left, order)
            left[best] = False
            has = has + amounts[best]
            chosen.append(best)
        return Chosen(torch.tensor(chosen))
