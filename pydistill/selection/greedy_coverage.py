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

    A candidate's gain only falls as others are chosen, so what it was bounds what it is: gains are computed
    anew in the order of their bounds until one is no less than all other bounds ([0]). Where that takes
    more rows than there are candidates whose best similarity a choice has raised, all bounds are instead
    lowered by what those no longer give. Of equal gains the first position is chosen, so that once
    nothing is gained the rest follows in its order. The first k are what is chosen where k are asked for.

    It takes about two passes over all n^2 similarities at first and up to 2 ln(m) more for m choices, fewer
    where candidates lie in clusters. Beside what ``block`` holds that is three blocks of 16 MiB, or of 16
    rows where these are more, and some numbers for each candidate.

    Args:
        block: Of positions (b,): their similarities (b, n) to all, floating point, symmetric, not negative,
            that of a candidate to itself no less than to others. At most as many rows as a block has are
            asked for.
        total: n, how many candidates there are.
        count: m, how many are chosen, from 1 to n.
    """
    state = _Lazy(block, total)
    positions: list[int] = []
    gains: list[float] = []
    owners = torch.zeros(total, dtype=torch.int64)
    while len(positions) < count:
        at, gain, row = state.largest()
        if gain <= 0:
            break
        owners[row > state.best] = len(positions)
        owners[at] = len(positions)
        positions.append(at)
        gains.append(gain)
        state.take(at, row)
    rest = torch.nonzero(state.bounds > -torch.inf).flatten()[: count - len(positions)]
    owners[rest] = torch.arange(len(positions), len(positions) + len(rest))
    return Cover(
        torch.cat([torch.tensor(positions, dtype=torch.int64), rest]),
        torch.tensor(gains + [0.0] * len(rest), dtype=torch.float64),
        owners,
    )


class _Lazy:
    """Gains of candidates, or what they are at most.

    Attributes:
        best: (n,) the similarity of each to the chosen one that it is most similar to.
        bounds: (n,) float64 of the gains; minus infinity of what was chosen.
    """

    def __init__(self, block: Callable[[Tensor], Tensor], total: int) -> None:
        self.best = torch.zeros(total)
        self.bounds = torch.zeros(total, dtype=torch.float64)
        self._block, self._rows = block, max(_FIRST, _ENTRIES // total)
        for part in chunks(total, self._rows):
            self.bounds[part] = self._gains(block(torch.arange(part.start, part.stop)))
        self._known = torch.ones(total, dtype=torch.bool)
        self._spent = 0.0

    def largest(self) -> tuple[int, float, Tensor]:
        """The candidate of the largest gain, that gain, and its (n,) similarities."""
        rows, similarities, tried, spent = torch.zeros(0), torch.zeros(0), _FIRST, 0
        at = int(self.bounds.argmax())
        while not self._known[at] and self.bounds[at] > 0:
            unknown = self.bounds.masked_fill(self._known, -torch.inf)
            rows = unknown.topk(min(tried, self._rows, len(unknown))).indices
            rows = rows[unknown[rows] > -torch.inf]
            similarities = self._block(rows)
            self.bounds[rows] = self._gains(similarities)
            self._known[rows] = True
            at, tried, spent = int(self.bounds.argmax()), 2 * tried, spent + len(rows)
        self._spent = max(spent, 0.9 * self._spent)
        found = torch.nonzero(rows == at).flatten()
        row = similarities[found[0]] if len(found) else self._block(torch.tensor([at]))[0]
        return at, float(self.bounds[at]), row

    def take(self, at: int, row: Tensor) -> None:
        """Choose a candidate of these similarities."""
        raised = torch.nonzero(row > self.best).flatten()
        before, self.best = self.best, torch.maximum(self.best, row)
        if len(raised) <= self._spent:
            for part in chunks(len(raised), self._rows):
                own = raised[part]
                lost = self._block(own).sub_(before[own, None]).clamp_(min=0)
                limit = (self.best - before)[own, None]
                self.bounds -= torch.minimum(lost, limit).sum(0, dtype=torch.float64)
        else:
            self._known[:] = False
        self.bounds[at] = -torch.inf

    def _gains(self, similarities: Tensor) -> Tensor:
        return (similarities - self.best).clamp_(min=0).sum(1, dtype=torch.float64)
