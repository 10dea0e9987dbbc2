"""Features made ready to be compared, and similarities between them a block at a time.

Features of a group are moved to their mean and scaled to a root mean square length of 1: choices do not
depend on units, and distances by ``|x|^2 + |y|^2 - 2 x.y`` keep their digits in float32. Nothing of the
size of all pairs is made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from pydistill.tasks.base import chunks

Index: TypeAlias = Tensor | slice
"""Rows: their positions, or those from one to another."""

SIMILARITIES = ("cosine", "rbf", "distance")
BLOCK = 1024
"""Rows and columns of a block that is made at once: 4 MiB."""
_SAMPLE = 1000
"""Rows whose distances the median is taken of."""
_FLAT = 1e-6
"""Of the length before moving: what is no longer after it is rounding."""


def centred(features: Tensor) -> Tensor:
    """Features less their mean, in units of their root mean square length after that.

    Args:
        features: (n, D) float32.

    Returns:
        (n, D) float32, a copy; zero where all rows are equal.
    """
    moved = features - features.mean(0, dtype=torch.float64).float()
    before, after = (float(torch.linalg.vector_norm(each)) for each in (features, moved))
    if after <= _FLAT * before:
        return moved.zero_()
    return moved.mul_(math.sqrt(len(moved)) / after)


def half_squares(rows: Tensor) -> Tensor:
    """(n,) half the squared length of each row."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return lengths.square_().mul_(0.5)


def half_squared_distances(rows: Tensor, halves: Tensor, to: Tensor, halves_to: Tensor) -> Tensor:
    """(n, m) half the squared distances of rows (n, D) to others (m, D), at least 0.

    Args:
        rows: (n, D), near 0, see :func:`centred`.
        halves: (n,) their :func:`half_squares`.
        to: (m, D).
        halves_to: (m,) theirs.
    """
    found = torch.addmm(halves_to[None], rows, to.T, alpha=-1)
    return found.add_(halves[:, None]).clamp_(min=0)


def median_distance(rows: Tensor) -> float:
    """The median distance between rows that differ; 1 where none do.

    Of 1,000 rows spread evenly over all, so that it draws nothing.
    """
    few = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).round().long()]
    apart = torch.pdist(few)
    apart = apart[apart > 0]
    return float(apart.median()) if len(apart) else 1.0


def spans(size: int, block: int = BLOCK) -> Sequence[slice]:
    """0 to ``size`` in parts of ``block``."""
    return chunks(size, block)


@dataclass(frozen=True, eq=False)
class Similarity:
    """Similarities s(x, y) >= 0, symmetric, between rows; made by :meth:`of`.

    Attributes:
        kind: ``cosine``: (1 + cos) / 2. ``rbf``: exp(-|x - y|^2 / 2 w^2). ``distance``: the double of the
            greatest length less |x - y|.
        rows: (n, D) float32: of length sqrt(1/2), divided by w, or as they are.
        halves: (n,) half their squared lengths.
        most: The double of the greatest length.
    """

    kind: str
    rows: Tensor
    halves: Tensor
    most: float

    @classmethod
    def of(cls, features: Tensor, kind: str, bandwidth: float = 1.0) -> "Similarity":
        """Similarities of features, which are centred first.

        Args:
            features: (n, D) float32.
            kind: One of :data:`SIMILARITIES`.
            bandwidth: Of ``rbf``: w in units of :func:`median_distance`.

        Raises:
            ValueError: There is no such kind.
        """
        if kind not in SIMILARITIES:
            raise ValueError(f"similarity must be one of {', '.join(SIMILARITIES)}, got {kind!r}")
        rows = centred(features)
        if kind == "cosine":
            lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_(min=1e-30)
            rows.div_(lengths).mul_(math.sqrt(0.5))
        elif kind == "rbf":
            rows.div_(bandwidth * median_distance(rows))
        halves = half_squares(rows)
        return cls(kind, rows, halves, 2 * math.sqrt(2 * float(halves.max())))

    def __len__(self) -> int:
        return len(self.rows)

    def block(self, left: Index, right: Index) -> Tensor:
        """(a, b) similarities of the rows ``left`` to those ``right``."""
        rows, others = self.rows[left], self.rows[right]
        if self.kind == "cosine":
            return torch.addmm(rows.new_tensor(0.5), rows, others.T)
        apart = half_squared_distances(rows, self.halves[left], others, self.halves[right])
        if self.kind == "rbf":
            return apart.neg_().exp_()
        return apart.mul_(2).sqrt_().neg_().add_(self.most)

    def column(self, at: int) -> Tensor:
        """(n,) similarities of all rows to one."""
        return self.block(slice(None), slice(at, at + 1))[:, 0]

    def diagonal(self) -> Tensor:
        """(n,) of each row to itself."""
        if self.kind == "cosine":
            return 0.5 + 2 * self.halves
        return torch.full_like(self.halves, 1.0 if self.kind == "rbf" else self.most)

    def totals(self) -> Tensor:
        """(n,) float64 sums of each row's similarities to all; for cosines without making them."""
        if self.kind == "cosine":
            whole = self.rows.sum(0, dtype=torch.float64).float()
            return (self.rows @ whole).double() + 0.5 * len(self)
        found = torch.zeros(len(self), dtype=torch.float64)
        for left in spans(len(self)):
            for right in spans(len(self)):
                if right.start < left.start:
                    continue
                made = self.block(left, right)
                found[left] += made.sum(1)
                if right.start > left.start:
                    found[right] += made.sum(0)
        return found
