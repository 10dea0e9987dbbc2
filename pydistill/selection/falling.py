"""Greedy choice by values that never grow as more is chosen: exact, most candidates seldom looked at.

The candidates of the greatest values are brought up to date after every choice. As long as the best of them
exceeds what any other was worth when all were last known, it is the best of all; then all are brought up to
date at once, for all that was chosen since, which is one matrix product and not many products with a
vector.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from pydistill.selection.similarity import Index

After: TypeAlias = Callable[[Tensor, Index, Tensor], Tensor]
"""Values of some rows, which rows those are, and positions chosen since, to the values after that."""

_WATCHED, _SHORT, _MOST = 1024, 8, 8192
"""Candidates that are kept up to date; doubled, up to the last, where that lasted for fewer choices."""


def choose_falling(values: Tensor, count: int, after: After, first: int | None = None) -> Tensor:
    """The ``count`` candidates that a greedy choice takes, the first of those of equal value.

    Args:
        values: (n,) of each candidate while none is chosen.
        count: How many, at most n.
        after: Gives values after a choice, none greater than before. Rows are (m,) ascending positions, the
            same tensor until all rows, ``slice(None)``, are asked for again: each choice is told once of
            watched rows, one at a time, and then of all.
        first: The one that is chosen first; None: that of the greatest value.

    Returns:
        (count,) int64 positions in the order in which they were chosen.
    """
    values, positions, watched = values.clone(), list[int](), _WATCHED
    at = int(values.argmax()) if first is None else first
    while True:
        rows = torch.topk(values, min(watched, len(values))).indices.sort().values
        near, others = values[rows], values.clone()
        others[rows] = -torch.inf
        rest, since = float(others.max()), list[int]()
        while True:
            since.append(at)
            if len(positions) + len(since) == count:
                return torch.tensor(positions + since, dtype=torch.int64)
            near = after(near, rows, torch.tensor([at]))
            near[rows == at] = -torch.inf
            if not float(near.max()) > rest:
                break
            at = int(rows[near.argmax()])
        positions += since
        values = after(values, slice(None), torch.tensor(since))
        values[positions] = -torch.inf
        at = int(values.argmax())
        if len(since) < _SHORT:
            watched = min(2 * watched, _MOST)
