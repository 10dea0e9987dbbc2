"""Greedy choice by values that never grow as more is chosen: exact, most candidates seldom looked at.

The candidates of the greatest values are brought up to date after every choice. As long as the best of them
exceeds what any other was worth when all were last known, it is the best of all; then all are brought up to
date at once, for all that was chosen since, which is one matrix product and not many products with a
vector. Where all values fall alike, so that watching spares nothing, all are brought up to date each time.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from pydistill.selection.similarity import Index

After: TypeAlias = Callable[[Tensor, Index, Tensor], Tensor]
"""Values of some rows, which rows those are, and positions chosen since, to the values after that."""

_WATCHED, _SHORT, _MOST = 1024, 8, 8192
"""Candidates that are watched at first; doubled after fewer choices than that; at most that many."""


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
        since = _certain(values, at, count - len(positions), watched, after) if watched else [at]
        positions += since
        if len(positions) == count:
            return torch.tensor(positions, dtype=torch.int64)
        values = after(values, slice(None), torch.tensor(since))
        values[since] = -torch.inf
        at = int(values.argmax())
        if len(since) < _SHORT and watched < _MOST:
            watched *= 2
        elif len(since) == 1:
            watched = 0


def _certain(values: Tensor, at: int, most: int, watched: int, after: After) -> list[int]:
    """The next choice, ``at``, and as many after it as are told from the watched candidates alone."""
    rows = torch.topk(values, min(watched, len(values))).indices.sort().values
    near, others = values[rows], values.clone()
    others[rows] = -torch.inf
    rest, since = float(others.max()), [at]
    while len(since) < most:
        near = after(near, rows, torch.tensor(since[-1:]))
        near[rows == since[-1]] = -torch.inf
        if not float(near.max()) > rest:
            break
        since.append(int(rows[near.argmax()]))
    return since
