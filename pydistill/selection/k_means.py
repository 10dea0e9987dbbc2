"""k-means: the images nearest to the centres of as many clusters as images are wanted.

[0] S. Lloyd: Least squares quantization in PCM. IEEE Transactions on Information Theory 28 (1982).
    D. Arthur, S. Vassilvitskii: k-means++, the advantages of careful seeding. SODA 2007.
[1] Y. Liu et al.: DREAM, Efficient Dataset Distillation by Representative Matching. ICCV 2023,
    arXiv:2302.14416.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.similarity import centred, half_squared_distances, half_squares, spans


def nearest_to_centres(features: Tensor, count: int, rounds: int, generator: torch.Generator) -> Tensor:
    """Of each of ``count`` clusters the row nearest to its centre.

    Where a cluster is left empty, as of rows that are all equal, the first rows that are not chosen yet
    fill up.

    Args:
        features: (n, D) float32.
        count: How many clusters and rows, at most n.
        rounds: Most rounds of [0].
        generator: Draws the first centres.

    Returns:
        (count,) int64 positions, ascending, all different.
    """
    if count == len(features):
        return torch.arange(count)
    rows = centred(features)
    halves = half_squares(rows)
    centres = rows[_spread(rows, halves, count, generator)]
    labels, apart = _assign(rows, halves, centres)
    for _ in range(rounds):
        before = labels
        centres = _means(rows, labels, apart, count)
        labels, apart = _assign(rows, halves, centres)
        if torch.equal(labels, before):
            break
    order = torch.argsort(apart, stable=True)
    order = order[torch.argsort(labels[order], stable=True)]
    firsts = torch.cat([torch.ones(1, dtype=torch.bool), labels[order].diff() > 0])
    free = torch.ones(len(rows), dtype=torch.bool)
    free[order[firsts]] = False
    picked = torch.cat([order[firsts], torch.nonzero(free).flatten()[: count - int(firsts.sum())]])
    return picked.sort().values


def _spread(rows: Tensor, halves: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Positions of first centres, each drawn in proportion to the squared distance to those before."""
    at = int(torch.randint(len(rows), (), generator=generator))
    apart, positions = torch.full_like(halves, torch.inf), [at]
    draws = torch.rand(count, generator=generator, dtype=torch.float64)
    for draw in draws[1:]:
        newest = slice(at, at + 1)
        new = half_squared_distances(rows, halves, rows[newest], halves[newest])[:, 0]
        apart = torch.minimum(apart, new)
        apart[at] = 0
        up_to = apart.cumsum(0, dtype=torch.float64)
        at = int(torch.searchsorted(up_to, draw * up_to[-1], right=True).clamp(max=len(rows) - 1))
        positions.append(at)
    return torch.tensor(positions)


def _assign(rows: Tensor, halves: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) the nearest centre of each row, the first of equal ones, and (n,) half the squared distance."""
    theirs = half_squares(centres)
    labels, apart = torch.empty(len(rows), dtype=torch.int64), torch.empty(len(rows))
    for part in spans(len(rows), max(1, (1 << 22) // len(centres))):
        apart[part], labels[part] = half_squared_distances(rows[part], halves[part], centres, theirs).min(1)
    return labels, apart


def _means(rows: Tensor, labels: Tensor, apart: Tensor, count: int) -> Tensor:
    """(count, D) means of clusters; of empty ones the rows that are furthest from their own centres."""
    sums = torch.zeros(count, rows.shape[1]).index_add_(0, labels, rows)
    sizes = torch.bincount(labels, minlength=count)
    means = sums / sizes.clamp(min=1)[:, None]
    empty = torch.nonzero(sizes == 0).flatten()
    if len(empty):
        means[empty] = rows[torch.argsort(apart, descending=True, stable=True)[: len(empty)]]
    return means


@register
@dataclass(frozen=True, kw_only=True)
class KMeans(EmbeddingSelector):
    """The images nearest to the centres of clusters by k-means ([0]), as [1] draws batches.

    Memory for n images: a copy of the features, that of centres twice, 48 MiB and 100 bytes an image.
    """

    name: ClassVar[str] = "k_means"
    citation: ClassVar[str] = "Lloyd, 1982; as in Liu et al., DREAM, ICCV 2023, arXiv:2302.14416"
    summary: ClassVar[str] = "the images nearest to the centres of as many clusters"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")

    rounds: int = option(20, "most rounds of assigning images and moving centres", low=1)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        return Chosen(nearest_to_centres(candidates.features(), count, self.rounds, generator))
