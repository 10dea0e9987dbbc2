"""Facility location by a lazy greedy algorithm: what is chosen is similar to all that there is.

[0] M. Minoux: Accelerated Greedy Algorithms for Maximizing Submodular Set Functions. Optimization
    Techniques, 1978.
[1] G. Nemhauser, L. Wolsey, M. Fisher: An Analysis of Approximations for Maximizing Submodular Set
    Functions. Mathematical Programming 14, 1978.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pydistill.tasks.base import chunks

_ENTRIES = 1 << 22
"""Similarities of a block, 16 MiB in float32: bounds memory."""
_FIRST = 16
"""Candidates whose gains are computed anew at first, then twice as many, until the largest is known."""


class Cover(NamedTuple):
    """What was chosen to be similar to all.

    Attributes:
        positions: (m,) int64, all different, in the order in which they were chosen.
        gains: (m,) float64, by how much each raised the objective.
        owners: (n,) int64 positions in ``positions``: the chosen one that each is most similar to, of equal
            ones the first; that of a chosen one is itself.
    """

    positions: Tensor
    gains: Tensor
    owners: Tensor


def cover(block: Callable[[Tensor], Tensor], total: int, count: int) -> Cover:
    """Greedily maximise sum_i max_{j chosen} s(i, j), which comes to at least 1 - 1/e of the largest ([1]).

    A candidate's gain only falls as others are chosen, so what it was is a bound of what it is: gains are
    computed anew in the order of their bounds, until one of them is no less than all other bounds ([0]). Of
    equal gains the first position is chosen, so that once nothing is gained the rest follows in its order.
    The first k are what is chosen where k are asked for.

    It takes one pass over all n^2 similarities, then for each choice a few blocks of rows. At any time it
    holds two blocks of 16 MiB, at least 16 rows each, and some numbers for each candidate.

    Args:
        block: Of positions (b,): their similarities (b, n) to all, floating point and not negative, that of
            a candidate to itself no less than to others. At most as many rows as a block has are asked for.
        total: n, how many candidates there are.
        count: How many are chosen, from 1 to n.
    """
    largest = max(_FIRST, _ENTRIES // total)
    best, owners = torch.zeros(total), torch.zeros(total, dtype=torch.int64)
    bounds = torch.full((total,), torch.inf, dtype=torch.float64)
    for part in chunks(total, largest):
        bounds[part] = _gains(block(torch.arange(part.start, part.stop)), best)
    computed = torch.zeros(total, dtype=torch.int64)
    positions, gains = [], []
    for turn in range(count):
        rows, similarities = torch.zeros(0, dtype=torch.int64), torch.zeros(0, total)
        at, tried = int(bounds.argmax()), _FIRST
        if bounds[at] <= 0:
            break
        while computed[at] != turn:
            stale = torch.where(computed == turn, -torch.inf, bounds)
            rows = stale.topk(min(tried, largest, total)).indices
            rows = rows[stale[rows] > -torch.inf]
            similarities = block(rows)
            bounds[rows] = _gains(similarities, best)
            computed[rows] = turn
            at, tried = int(bounds.argmax()), 2 * tried
        found = torch.nonzero(rows == at).flatten()
        row = similarities[found[0]] if len(found) else block(torch.tensor([at]))[0]
        positions.append(at)
        gains.append(float(bounds[at]))
        owners[row > best] = turn
        owners[at] = turn
        best = torch.maximum(best, row)
        bounds[at] = -torch.inf
    rest = torch.nonzero(bounds > -torch.inf).flatten()[: count - len(positions)]
    owners[rest] = torch.arange(len(positions), len(positions) + len(rest))
    gained = torch.cat(
        [torch.tensor(gains, dtype=torch.float64), torch.zeros(len(rest), dtype=torch.float64)]
    )
    return Cover(torch.cat([torch.tensor(positions, dtype=torch.int64), rest]), gained, owners)


def _gains(similarities: Tensor, best: Tensor) -> Tensor:
    """(b,) float64: what each row adds to the best similarities so far."""
    return (similarities - best).clamp_(min=0).sum(1).double()
