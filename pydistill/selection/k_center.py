"""k-center: whatever is furthest from all that is chosen, so that no image is far from a chosen one.

[0] T. Gonzalez: Clustering to minimize the maximum intercluster distance. Theoretical Computer Science 38
    (1985).
[1] O. Sener, S. Savarese: Active Learning for Convolutional Neural Networks: A Core-Set Approach. ICLR
2018,
    arXiv:1708.00489.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.falling import choose_falling
from pydistill.selection.similarity import Index, centred, half_squared_distances, half_squares, spans

STARTS = ("mean", "draw")


def farthest_first(features: Tensor, count: int, first: int | None = None) -> Tensor:
    """The start, then each time the row furthest from all chosen: argmax over i of min over S |x_i - x_j|.

    The greatest distance of any row to the nearest chosen one is at most twice the least possible with as
    many ([0]). Memory: a copy of the features, 48 MiB and 100 bytes a row.

    Args:
        features: (n, D) float32.
        count: How many rows.
        first: The start; None: the row nearest to the mean.

    Returns:
        (count,) int64 positions in the order in which they were chosen, the start among them.
    """
    rows = centred(features)
    halves = half_squares(rows)

    def after(values: Tensor, which: Index, chosen: Tensor) -> Tensor:
        near, own = rows[which], halves[which]
        centres, theirs = rows[chosen], halves[chosen]
        least = [
            half_squared_distances(near[part], own[part], centres, theirs).amin(1)
            for part in spans(len(near), max(1, (1 << 22) // len(chosen)))
        ]
        return torch.minimum(values, torch.cat(least))

    start = int(halves.argmin()) if first is None else first
    return choose_falling(torch.full_like(halves, torch.inf), count, after, start)


@register
@dataclass(frozen=True, kw_only=True)
class KCenter(EmbeddingSelector):
    """Farthest first ([0], [1]); distances are Euclidean, the start is chosen too."""

    name: ClassVar[str] = "k_center"
    citation: ClassVar[str] = "Sener and Savarese, Active Learning: A Core-Set Approach, arXiv:1708.00489"
    summary: ClassVar[str] = "images each of which is furthest from those chosen before"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    start_with: str = option("mean", "the image nearest to the mean, or one drawn", choices=STARTS)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        first = None
        if self.start_with == "draw":
            first = int(torch.randint(len(candidates), (), generator=generator))
        return Chosen(farthest_first(candidates.features(), count, first))
