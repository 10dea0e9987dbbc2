"""Graph cut: images that are like all images and unlike each other.

[0] R. Iyer, J. Bilmes: Submodular Optimization with Submodular Cover and Submodular Knapsack Constraints.
    NeurIPS 2013, arXiv:1311.2106. R. Iyer et al.: Submodular Combinatorial Information Measures with
    Applications in Machine Learning. ALT 2021, arXiv:2006.15412.
[1] C. Guo, B. Zhao, Y. Bai: DeepCore. DEXA 2022, arXiv:2204.08499.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.falling import choose_falling
from pydistill.selection.similarity import SIMILARITIES, Index, Similarity, spans


def cut(similarity: Similarity, count: int, weight: float) -> Tensor:
    """Greedily maximise ``weight`` * sum of s_ij, i of all and j of S, less the sum of s_ij, both of S.

    A candidate v adds weight * sum_i s_iv - 2 * sum over S of s_vj - s_vv, which is kept for all of them
    and never grows, since s is not negative: exact whether or not the function grows with every image.

    Returns:
        (count,) int64 positions in the order in which they were chosen.
    """

    def after(values: Tensor, which: Index, chosen: Tensor) -> Tensor:
        parts = spans(len(values), max(1, (1 << 22) // len(chosen)))
        less = [
            similarity.block(part if isinstance(which, slice) else which[part], chosen).sum(1)
            for part in parts
        ]
        return values - 2 * torch.cat(less)

    return choose_falling(weight * similarity.totals() - similarity.diagonal(), count, after)


@register
@dataclass(frozen=True, kw_only=True)
class GraphCut(EmbeddingSelector):
    """Greedily the greatest weight * sum of s_ij, i of all, j chosen, less that among the chosen ([0]).

    Similarities as of ``facility_location``. From a weight of 2 on, the sum grows with every image; the
    less it is, the more images differ. Memory: a copy of the features, 48 MiB and 100 bytes an image.
    """

    name: ClassVar[str] = "graph_cut"
    citation: ClassVar[str] = (
        "Iyer and Bilmes, NeurIPS 2013, arXiv:1311.2106; Guo et al., DeepCore, arXiv:2204.08499"
    )
    summary: ClassVar[str] = "images similar to all images and not to each other"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    similarity: str = option("cosine", "of two images", choices=SIMILARITIES)
    bandwidth: float = option(1.0, "of rbf: w, in units of the median distance", above=0)
    weight: float = option(2.0, "of similarity to all images against that among the chosen", low=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        made = Similarity.of(candidates.features(), self.similarity, self.bandwidth)
        return Chosen(cut(made, count, self.weight))
