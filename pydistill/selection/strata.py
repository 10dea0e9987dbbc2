"""Selection over the whole range of a score, instead of one end of it.

[0] H. Zheng, R. Liu, F. Lai, A. Prakash: Coverage-centric Coreset Selection for High Pruning Rates. ICLR
    2023, arXiv:2210.15809.
[1] The authors' code, https://github.com/haizhongzheng/Coverage-centric-coreset-selection.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, ScoredSelector

SCORES = ("auto", "aum", "el2n", "grand", "forgetting", "entropy", "dual", "loss")


@register
@dataclass(frozen=True, kw_only=True)
class Ccs(ScoredSelector):
    """Coverage-centric selection: as many of every stratum, without the hardest images ([0], algorithm 1).

    Of a group of n images the floor(cut * n) hardest are left out, since wrong labels are among them. The
    rest is divided by ``strata`` equal ranges of the score. From the stratum of fewest images to that of
    most, each gives min(its size, floor(images still wanted / strata still to come)), drawn uniformly.

    Group by group, as budgets are, the cut included: one cut for all, as in [0], would take most images of
    a class that is hard as a whole and leave its budget to its easiest ones. Where the cut leaves fewer
    than are asked for, it shrinks to what can be spared.

    [0] searches for the cut, the larger the fewer images are kept; [1] has 0.3 where a tenth of CIFAR-10
    is kept.
    """

    name: ClassVar[str] = "ccs"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    citation: ClassVar[str] = "Zheng et al., Coverage-centric Coresets, ICLR 2023, arXiv:2210.15809"
    summary: ClassVar[str] = "as many images of every range of a score, without the hardest of all"

    score: str = option("auto", "what ranks images; auto: aum, where there is none loss", choices=SCORES)
    cut: float = option(0.1, "the share of hardest images that is left out", low=0, below=1)
    strata: int = option(50, "ranges of the score", low=1)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        name = self.score
        if name == "auto":
            name = "aum" if "aum" in candidates.known.required().names else "loss"
        difficulty = candidates.difficulty(name)
        order = torch.argsort(difficulty, stable=True)
        kept = order[: max(count, len(order) - int(self.cut * len(order)))]
        strata = stratum(difficulty[kept], self.strata)
        parts = []
        for at, wanted in enumerate(shares(torch.bincount(strata, minlength=self.strata).tolist(), count)):
            own = kept[strata == at]
            parts.append(own[torch.randperm(len(own), generator=generator)[:wanted]])
        return Chosen(torch.cat(parts))


def stratum(values: Tensor, number: int) -> Tensor:
    """(n,) int64: which of ``number`` equal ranges between the least and the greatest each value is in.

    The greatest belongs to the last range; equal values are all in the first.
    """
    values = values.double()
    low, high = values.min(), values.max()
    if low == high:
        return torch.zeros(len(values), dtype=torch.int64)
    return ((values - low) / (high - low) * number).long().clamp(max=number - 1)


def shares(sizes: list[int], count: int) -> list[int]:
    """How many images each stratum gives ([0], algorithm 1): the smallest first, ties in order.

    Args:
        sizes: Images of each stratum, at least ``count`` in all.
        count: Images that are wanted in all.
    """
    found = [0] * len(sizes)
    left = count
    for done, at in enumerate(sorted(range(len(sizes)), key=lambda each: sizes[each])):
        found[at] = min(sizes[at], left // (len(sizes) - done))
        left -= found[at]
    return found
