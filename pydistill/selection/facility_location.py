"""Facility location: every image should have a chosen one that is like it.

[0] G. Cornuejols, M. Fisher, G. Nemhauser: Location of bank accounts to optimize float. Management Science
23
    (1977); within 1 - 1/e of the best: G. Nemhauser et al., Mathematical Programming 14 (1978).
[1] M. Minoux: Accelerated greedy algorithms for maximizing submodular set functions. Optimization
Techniques
    (1978).
[2] K. Wei, R. Iyer, J. Bilmes: Submodularity in Data Subset Selection and Active Learning. ICML 2015.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.lazy_greedy import cover
from pydistill.selection.similarity import SIMILARITIES, Similarity


@register
@dataclass(frozen=True, kw_only=True)
class FacilityLocation(EmbeddingSelector):
    """Greedily the greatest sum over all i of the greatest similarity s_ij to a chosen j ([0], [1], [2]).

    Similarities are of features less their mean: (1 + cos) / 2; exp(-d^2 / 2 w^2); or c - d, d the
    Euclidean distance and c one that none exceeds, under which this is a greedy k-medoids. Memory for n
    images of D
    features: a copy of the features; 512 MiB for all similarities where they fit, up to n = 11,585, else
    none; 64 MiB and 100 bytes an image.
    """

    name: ClassVar[str] = "facility_location"
    citation: ClassVar[str] = (
        "Wei, Iyer and Bilmes, Submodularity in Data Subset Selection and Active Learning, ICML 2015"
    )
    summary: ClassVar[str] = "images such that each image is similar to one of them"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    similarity: str = option("cosine", "of two images", choices=SIMILARITIES)
    bandwidth: float = option(1.0, "of rbf: w, in units of the median distance", above=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        made = Similarity.of(candidates.features(), self.similarity, self.bandwidth)
        totals = made.totals() if made.kind == "cosine" else None
        return Chosen(cover(made.block, len(made), count, totals).positions)
