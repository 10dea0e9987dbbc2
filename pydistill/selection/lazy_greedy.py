"""Greedy maximisation of facility location, exact and in bounded memory.

    f(S) = sum over i of max over j in S of s_ij

From similarities that are made a block at a time. A candidate's gain, sum over i of max(s_iv - c_i, 0) with
c_i = max over S of s_ij, changes by the rows i alone whose c_i did, and never grows: so gains known from an
earlier step are bounds, and only candidates whose bound reaches the best are looked at again (Minoux 1978),
many at once, and of them only the rows that have changed since all gains were known. Where that has cost as
much as bringing all gains up to date, they are.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from pydistill.selection.similarity import Index, spans

Block: TypeAlias = Callable[[Index, Index], Tensor]
"""Rows and columns to similarities (rows, columns), at least 0 and symmetric, float32."""

KEPT_BYTES = 512 << 20
"""All similarities are made once and kept where they take no more than that: up to 11,585 images."""
_FIRST, _MOST = 64, 512
"""Candidates looked at again at once: at first, and at most."""
_TIE = 1e-6
"""Gains that differ by less than that share are equal: the first candidate is chosen."""


class Covering(NamedTuple):
    """What was chosen.

    Attributes:
        positions: (count,) int64, in the order in which they were chosen.
        gains: (count,) float64, by how much each raised f.
        nearest: (n,) int64, which of ``positions`` each candidate is most similar to.
    """

    positions: Tensor
    gains: Tensor
    nearest: Tensor


def cover(
    block: Block, total: int, count: int, totals: Tensor | None = None, kept_bytes: int = KEPT_BYTES
) -> Covering:
    """Choose greedily by facility location.

    Memory beyond what ``block`` holds: ``kept_bytes`` at most, and 64 MiB with 100 bytes a candidate.
    Time: to make each pair once where all are kept; else once or twice, and then, at most, twice those of
    the rows that each choice covers better, some n ln(count) rows of n pairs.

    Args:
        block: Makes similarities.
        total: How many candidates there are, n.
        count: How many to choose, at most ``total``.
        totals: (n,) sums of each candidate's similarities, where they are to be had more cheaply.
        kept_bytes: See :data:`KEPT_BYTES`; it changes no choice.
    """
    whole = _whole(block, total) if total**2 * 4 <= kept_bytes and count > 1 else None
    state = _Cover(block, total, totals, whole)
    positions, gains = list[int](), list[float]()
    for _ in range(count):
        at, gain = state.best()
        state.take(at, len(positions))
        positions.append(at)
        gains.append(gain)
    return Covering(torch.tensor(positions), torch.tensor(gains, dtype=torch.float64), state.nearest)


def _whole(block: Block, total: int) -> Tensor:
    """All similarities, (n, n)."""
    whole = torch.empty(total, total)
    for left in spans(total):
        for right in spans(total):
            if left.start <= right.start:
                made = block(left, right)
                whole[left, right] = made
                whole[right, left] = made.T
    return whole


class _Cover:
    """Gains of all candidates, as far as they are known.

    Attributes:
        covered: (n,) c_i now.
        base: (n,) c_i when all gains were last known.
        known: (n,) gains then.
        whole: (n, n) all similarities, where they are kept.
        bound: (n,) gains when each was last known; those taken: minus infinity.
        fresh: (n,) whether that is now.
        changed: Rows where ``covered`` exceeds ``base``.
        nearest: (n,) see :class:`Covering`.
    """

    def __init__(self, block: Block, total: int, totals: Tensor | None, whole: Tensor | None) -> None:
        self.block, self.total, self.whole = block, total, whole
        self.covered, self.base = torch.zeros(total), torch.zeros(total)
        self.known = self._gains() if totals is None else totals.double()
        self.bound = self.known.clone()
        self.fresh = torch.ones(total, dtype=torch.bool)
        self.taken = torch.zeros(total, dtype=torch.bool)
        self.changed = torch.zeros(0, dtype=torch.int64)
        self.nearest = torch.zeros(total, dtype=torch.int64)
        self.spent, self.bare = 0, True

    def best(self) -> tuple[int, float]:
        """The candidate of the greatest gain, the first of equal ones, and its gain."""
        size = _FIRST
        while True:
            least = -torch.inf
            if bool(self.fresh.any()):
                top = float(torch.where(self.fresh, self.bound, -torch.inf).max())
                least = top - _TIE * abs(top)
            stale = torch.where(self.fresh, -torch.inf, self.bound)
            few = torch.topk(stale, min(size, self.total))
            again = few.indices[(few.values >= least) & (few.values > -torch.inf)]
            if not len(again):
                at = int(torch.nonzero(self.fresh & ~self.taken & (self.bound >= least))[0])
                return at, float(self.bound[at])
            each = len(self.changed) if self.whole is None else self.total
            if self.bare or self.spent >= self.total * min(each, self.total // 2):
                self._renew()
            else:
                self.bound[again] = self._again(again)
                self.fresh[again] = True
                self.spent += len(again) * each
            size = min(2 * size, _MOST)

    def take(self, at: int, place: int) -> None:
        """Add a candidate to what is chosen, as number ``place``."""
        one = slice(at, at + 1)
        column = self.block(one, slice(None))[0] if self.whole is None else self.whole[at]
        nearer = column > self.covered
        self.nearest[nearer] = place
        torch.maximum(self.covered, column, out=self.covered)
        self.taken[at] = True
        self.bound[at] = -torch.inf
        if bool(nearer.any()):
            self.changed = torch.nonzero(self.covered > self.base).flatten()
            self.fresh = self.taken.clone()

    def _renew(self) -> None:
        """Bring all gains up to date."""
        if self.whole is not None or 2 * len(self.changed) >= self.total:
            self.known = self._gains()
        else:
            self.known -= self._lost(slice(None))
        self.base.copy_(self.covered)
        self.bound = torch.where(self.taken, -torch.inf, self.known)
        self.fresh.fill_(True)
        self.changed = self.changed[:0]
        self.spent, self.bare = 0, False

    def _gains(self) -> Tensor:
        """(n,) of all candidates, from nothing; each pair is made once."""
        found = torch.zeros(self.total, dtype=torch.float64)
        for left in spans(self.total):
            for right in spans(self.total):
                if left.start > right.start:
                    continue
                made = self.block(left, right) if self.whole is None else self.whole[left, right]
                found[left] += (made - self.covered[right]).clamp_(min=0).sum(1)
                if left.start < right.start:
                    found[right] += (made - self.covered[left, None]).clamp_(min=0).sum(0)
        return found

    def _again(self, columns: Tensor) -> Tensor:
        """(columns,) gains now: from all rows where similarities are kept, else by those that changed."""
        if self.whole is None:
            return self.known[columns] - self._lost(columns)
        return self.whole[columns].sub_(self.covered).clamp_(min=0).sum(1).double()

    def _lost(self, columns: Index) -> Tensor:
        """(columns,) by how much gains are less than when all were last known."""
        every = torch.arange(self.total)[columns] if isinstance(columns, slice) else columns
        found = torch.zeros(len(every), dtype=torch.float64)
        for part in spans(len(self.changed)):
            rows = self.changed[part]
            low, high = self.base[rows], self.covered[rows]
            for some in spans(len(every)):
                made = self.block(every[some], rows)
                found[some] += torch.clamp(made, low, high).sub_(low).sum(1)
        return found
