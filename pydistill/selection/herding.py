"""Herding: images whose mean stays as near as can be to the mean of all.

[0] M. Welling: Herding Dynamical Weights to Learn. ICML 2009. Y. Chen, M. Welling, A. Smola: Super-Samples
    from Kernel Herding. UAI 2010, arXiv:1203.3472.
[1] S.-A. Rebuffi et al.: iCaRL. CVPR 2017, arXiv:1611.07725, algorithm 4.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.similarity import centred, half_squares

FORMS = ("mean", "weights")


def herd(features: Tensor, count: int, form: str = "mean") -> Tensor:
    """Choose rows one after the other, none twice.

    ``mean`` ([1]): the x that takes the mean of what is chosen nearest to the mean m of all,

        argmin |m - (x + sum over S) / (|S| + 1)|.

    ``weights`` ([0]): the x of the greatest <w, x>, where w begins as m and each chosen x adds m - x to it.
    That is ``mean`` where all rows are of one length, and else prefers long rows.

    Args:
        features: (n, D) float32.
        count: How many rows.
        form: One of :data:`FORMS`.

    Returns:
        (count,) int64 positions in the order in which they were chosen, the first of equal ones.
    """
    if form == "mean":
        # With m = 0, what depends on x in |x + sum over S|^2 is 2 <x, sum> + |x|^2.
        rows, mean = centred(features), torch.zeros(features.shape[1], dtype=torch.float64)
        score = -half_squares(rows)
    else:
        rows, mean = features, features.mean(0, dtype=torch.float64)
        score = torch.zeros(len(rows))
    weight = mean.clone()
    taken = torch.zeros(len(rows))
    positions = []
    for _ in range(count):
        at = int((rows @ weight.float() + score + taken).argmax())
        positions.append(at)
        taken[at] = -torch.inf
        weight += mean - rows[at]
    return torch.tensor(positions)


@register
@dataclass(frozen=True, kw_only=True)
class Herding(EmbeddingSelector):
    """Greedily the mean of what is chosen near that of all ([1]), or by herded weights ([0]).

    Both from their definitions, over images not yet chosen. Memory: a copy of the features.
    """

    name: ClassVar[str] = "herding"
    citation: ClassVar[str] = (
        "Welling, Herding Dynamical Weights to Learn, ICML 2009; Rebuffi et al., iCaRL, arXiv:1611.07725"
    )
    summary: ClassVar[str] = "images whose mean is nearest to the mean of all"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    form: str = option("mean", "what is best next: the nearest mean, or along the weights", choices=FORMS)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        return Chosen(herd(candidates.features(), count, self.form))
