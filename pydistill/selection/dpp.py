"""Determinantal point process: images that span the greatest volume.

[0] L. Chen, G. Zhang, E. Zhou: Fast Greedy MAP Inference for Determinantal Point Process to Improve
    Recommendation Diversity. NeurIPS 2018, arXiv:1709.05135.
[1] A. Kulesza, B. Taskar: Determinantal Point Processes for Machine Learning. 2012, arXiv:1207.6083.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.falling import choose_falling
from pydistill.selection.similarity import Index, Similarity, centred, half_squares, spans

KERNELS = ("rbf", "linear")
MOST_BYTES = 1 << 30
"""Of the factor of an ``rbf`` kernel: 5,368 of 50,000 images."""
_ROWS = 1024


def spread_by_rbf(similarity: Similarity, count: int, ridge: float) -> Tensor:
    """Greedily the greatest log det of K_S + ridge I, K the similarities: algorithm 1 of [0].

    By rows c_i of the Cholesky factor: what i adds is log d_i^2, d_i^2 = 1 + ridge - |c_i|^2, and choosing
    j gives every c_i one more entry, (k_ij - <c_i, c_j>) / d_j. Of all images entries are made in blocks,
    for several choices at once.

    Args:
        similarity: Of kind ``rbf``.
        count: How many.
        ridge: Added to the diagonal, greater than 0.

    Returns:
        (count,) int64 positions in the order in which they were chosen.

    Raises:
        ValueError: The factor would take more than :data:`MOST_BYTES`.
    """
    most = MOST_BYTES // (4 * len(similarity))
    if count > most:
        raise ValueError(
            f"dpp with kernel=rbf holds at most {most:,} chosen of {len(similarity):,} images in "
            f"{MOST_BYTES >> 20:,} MiB, asked for {count:,}: choose fewer, or kernel=linear"
        )
    state = _Factor(similarity, count, ridge)
    return choose_falling(similarity.diagonal() + ridge, count, state.after)


class _Factor:
    """Rows of the Cholesky factor of all images, and of those that are watched."""

    def __init__(self, similarity: Similarity, count: int, ridge: float) -> None:
        self.similarity, self.ridge = similarity, ridge
        self.rows = torch.zeros(len(similarity), count)
        self.done = 0
        self.watched: Tensor | None = None
        self.near, self.places = torch.zeros(0, 0), 0

    def after(self, values: Tensor, which: Index, chosen: Tensor) -> Tensor:
        if isinstance(which, slice):
            return self._all(values, chosen)
        if which is not self.watched:
            self.watched, self.places = which, self.done
            self.near = self.rows[which]
        place = torch.searchsorted(which, chosen)
        known = self.near[:, : self.places]
        if bool((which[place.clamp(max=len(which) - 1)] == chosen).all()):
            own = known[place][0]
        else:  # the first choice of all may be of none that are watched
            own = self.rows[chosen[0], : self.places]
        depth = (1 + self.ridge - own.square().sum()).clamp(min=self.ridge).sqrt()
        entry = (self.similarity.block(which, chosen)[:, 0] - known @ own) / depth
        self.near[:, self.places] = entry
        self.places += 1
        return values - entry.square()

    def _all(self, values: Tensor, chosen: Tensor) -> Tensor:
        done, up_to = self.done, self.done + len(chosen)
        own = self.rows[chosen, :done]
        inner = self.similarity.block(chosen, chosen) - own @ own.T
        inner.diagonal().copy_((1 + self.ridge - own.square().sum(1)).clamp(min=self.ridge))
        upper = torch.linalg.cholesky(inner.double()).T.float()
        lost = torch.empty_like(values)
        for part in spans(len(self.rows), _ROWS):
            rest = self.similarity.block(part, chosen).sub_(self.rows[part, :done] @ own.T)
            new = torch.linalg.solve_triangular(upper, rest, upper=True, left=False)
            self.rows[part, done:up_to], lost[part] = new, new.square().sum(1)
        self.done, self.watched = up_to, None
        return values - lost


def spread_by_lines(features: Tensor, count: int, ridge: float) -> Tensor:
    """Greedily the greatest log det of X_S X_S^T + ridge I, X the centred rows.

    What x adds is log ridge (1 + x^T A x), A the inverse of ridge I + X_S^T X_S, which is what is kept: a
    matrix (D, D), whatever the number that is chosen.

    Args:
        features: (n, D) float32.
        count: How many.
        ridge: Added to the diagonal, greater than 0.

    Returns:
        (count,) int64 positions in the order in which they were chosen.
    """
    rows = centred(features)
    inverse = torch.eye(rows.shape[1], dtype=torch.float64) / ridge
    steps: dict[int, Tensor] = {}

    def after(values: Tensor, which: Index, chosen: Tensor) -> Tensor:
        for at in chosen.tolist():
            if at not in steps:
                moved = inverse @ rows[at].double()
                moved /= (1 + rows[at].double() @ moved).sqrt()
                inverse.sub_(torch.outer(moved, moved))
                steps[at] = moved.float()
        lines = torch.stack([steps[at] for at in chosen.tolist()], 1)
        near = rows[which]
        lost = [(near[part] @ lines).square_().sum(1) for part in spans(len(near), _ROWS)]
        if isinstance(which, slice):
            steps.clear()
        return values - torch.cat(lost)

    return choose_falling(half_squares(rows) * (2 / ridge), count, after)


@register
@dataclass(frozen=True, kw_only=True)
class Dpp(EmbeddingSelector):
    """The most probable images under a determinantal point process, greedily ([0], [1]).

    That is the greatest log det of the kernel among the chosen plus ``ridge`` on its diagonal. Features are
    less their mean, of root mean square length 1. ``rbf``: w is the median distance; memory a copy of the
    features, 4 bytes for each image and chosen one, refused beyond 1 GiB (5,368 of 50,000), and again for
    8,192 images at most. ``linear``: a copy of the features and D^2, however many are chosen.
    """

    name: ClassVar[str] = "dpp"
    citation: ClassVar[str] = (
        "Chen, Zhang and Zhou, Fast Greedy MAP Inference for DPP, NeurIPS 2018, arXiv:1709.05135"
    )
    summary: ClassVar[str] = "images of the greatest log-determinant: all different from each other"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")
    nested: ClassVar[bool] = True

    kernel: str = option("rbf", "between images", choices=KERNELS)
    bandwidth: float = option(1.0, "of rbf, in units of the median distance", above=0)
    ridge: float = option(1e-3, "added to the kernel's diagonal", above=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        if self.kernel == "linear":
            return Chosen(spread_by_lines(candidates.features(), count, self.ridge))
        similarity = Similarity.of(candidates.features(), "rbf", self.bandwidth)
        return Chosen(spread_by_rbf(similarity, count, self.ridge))
