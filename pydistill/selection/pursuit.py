"""Orthogonal matching pursuit: few gradients with weights whose sum is near that of all.

[0] K. Killamsetty et al.: GRAD-MATCH, Gradient Matching based Data Subset Selection for Efficient Deep
    Model Training. ICML 2021, arXiv:2103.00123.
[1] C. Lawson, R. Hanson: Solving Least Squares Problems. 1974, chapter 23.
[2] A. Beck, M. Teboulle: A Fast Iterative Shrinkage-Thresholding Algorithm. SIAM J. Imaging Sciences, 2009.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pydistill.selection.factored import Gradients

SINGLE = 256
"""So many are chosen one by one; then 1/256 of those that there are, in one round."""
_EXACT = 512
"""Up to so many weights are found by an active set, more by a descent."""
_ROUND, _LAST = 10, 200
"""Iterations of the descent between two rounds, and after the last."""
_NOTHING = 1e-6
"""A rest of the sum is none below this share of it."""


class Match(NamedTuple):
    """Gradients whose weighted sum is near that of all.

    Attributes:
        positions: (m,) int64, all different, in the order in which they were chosen.
        weights: (m,) float64, not negative.
        rest: (K, D) float64, the sum of all less the weighted sum.
    """

    positions: Tensor
    weights: Tensor
    rest: Tensor


def leading(gain: Tensor, done: int, count: int) -> Tensor:
    """Positions of the largest gains: one, or where many are chosen already 1/256 of so many.

    How many does not depend on how many there shall be in the end, but for the last round being cut.

    Args:
        gain: (n,) minus infinity of what is chosen already; of equal ones the first comes first.
        done: How many are chosen already.
        count: How many there shall be.
    """
    size = min(max(1, done // SINGLE), count - done)
    return gain.argmax()[None] if size == 1 else gain.sort(descending=True, stable=True).indices[:size]


def pursue(gradients: Gradients, count: int, ridge: float, exact: int = _EXACT) -> Match:
    """Minimise ||sum_i g_i - sum_{j chosen} w_j g_j||^2 + ridge * s * ||w||^2 over ``count`` and w >= 0.

    s is the mean of ||g_i||^2. In turn the gradient of the largest inner product with what the weighted sum
    lacks is chosen and all weights are fitted anew ([0], algorithm 2). Where nothing is lacking, or no
    inner product is positive, the others follow by that product, equal ones in their order, with weight 0.

    Above 256 chosen, each round chooses 1/256 of their number at once. Up to ``exact``, weights are the
    minimum ([1]); above, of an accelerated projected descent ([2]) that goes on from round to round. It
    takes 4 n K D operations a round and beside the gradients 8 m (K + D) bytes.

    Args:
        gradients: Of n images.
        count: m, how many are chosen, from 1 to n.
        ridge: Not negative.
        exact: Up to how many the minimum is found exactly.
    """
    total = gradients.sum()
    fit = _Fit(gradients, total, count, ridge * float(gradients.lengths.double().square().mean()), exact)
    free = torch.ones(len(gradients), dtype=torch.bool)
    rest, least = total, _NOTHING * float(total.norm())
    while fit.size < count:
        gain = gradients.along(rest)
        gain[~free] = -torch.inf
        if float(rest.norm()) <= least or float(gain.max()) <= 0:
            fit.add(gain.sort(descending=True, stable=True).indices[: count - fit.size])
            break
        new = leading(gain, fit.size, count)
        new = new[gain[new] > 0]
        free[new] = False
        fit.add(new)
        fit.solve(last=fit.size == count)
        rest = fit.rest()
    return Match(fit.positions[: fit.size], fit.weights[: fit.size], rest)


class _Fit:
    """Weights of gradients that become more.

    Args:
        gradients: What is chosen from.
        total: (K, D) what their weighted sum shall be.
        most: How many there may be.
        penalty: On the squared weights.
        exact: Up to how many the minimum is found.
    """

    def __init__(self, gradients: Gradients, total: Tensor, most: int, penalty: float, exact: int) -> None:
        self.gradients, self.total, self.penalty, self.exact = gradients, total, penalty, exact
        self.size = 0
        self.positions = torch.zeros(most, dtype=torch.int64)
        self.weights = torch.zeros(most, dtype=torch.float64)
        self._residuals = torch.zeros(most, total.shape[0], dtype=torch.float64)
        self._inputs = torch.zeros(most, total.shape[1], dtype=torch.float64)
        self._wanted = torch.zeros(most, dtype=torch.float64)
        side = min(most, exact)
        self._gram = torch.zeros(side, side, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take up more, with weight 0."""
        new, end = slice(self.size, self.size + len(rows)), self.size + len(rows)
        self.positions[new] = rows
        self._residuals[new] = self.gradients.residuals[rows].double()
        self._inputs[new] = self.gradients.inputs[rows].double()
        self._wanted[new] = self._along(self.total, new)
        if end <= self.exact:
            gram = self._residuals[new] @ self._residuals[:end].T
            gram *= self._inputs[new] @ self._inputs[:end].T
            self._gram[new, :end], self._gram[:end, new] = gram, gram.T
        self.size = end

    def solve(self, *, last: bool) -> None:
        """Fit the weights of what there is."""
        size = self.size
        if size <= self.exact:
            gram = self._gram[:size, :size] + self.penalty * torch.eye(size, dtype=torch.float64)
            self.weights[:size] = nonnegative(gram, self._wanted[:size], self.weights[:size])
        else:
            self._descend(_LAST if last else _ROUND)

    def rest(self) -> Tensor:
        """(K, D) what the weighted sum lacks."""
        return self.total - self._sum(self.weights[: self.size])

    def _sum(self, weights: Tensor) -> Tensor:
        own = slice(0, self.size)
        return (self._residuals[own] * weights[:, None]).T @ self._inputs[own]

    def _along(self, direction: Tensor, own: slice) -> Tensor:
        return ((self._inputs[own] @ direction.T) * self._residuals[own]).sum(1)

    def _descend(self, iterations: int) -> None:
        """Accelerated projected descent ([2]).

        The largest eigenvalue of a Gram matrix of outer products is at most that of the residuals times
        the lengths of their inputs, since the Gram matrix of unit inputs has a unit diagonal (Schur).
        """
        own = slice(0, self.size)
        scaled = self._residuals[own] * self._inputs[own].norm(dim=1, keepdim=True)
        bound = float(torch.linalg.eigvalsh(scaled.T @ scaled)[-1]) + self.penalty
        weights = ahead = self.weights[own].clone()
        momentum = 1.0
        for _ in range(iterations):
            slope = self._along(self._sum(ahead), own) - self._wanted[own] + self.penalty * ahead
            stepped = (ahead - slope / bound).clamp_(min=0)
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = stepped + (momentum - 1) / following * (stepped - weights)
            weights, momentum = stepped, following
        self.weights[own] = weights


def nonnegative(gram: Tensor, right: Tensor, start: Tensor | None = None) -> Tensor:
    """argmin_w w' gram w / 2 - right' w over w >= 0, by an active set ([1], algorithm NNLS).

    Args:
        gram: (m, m) float64, symmetric, positive semi-definite; a billionth of its largest entry is added
            to the diagonal.
        right: (m,) float64.
        start: (m,) a solution for those of its entries that are positive; None: zeros.

    Returns:
        (m,) float64.
    """
    weights = torch.zeros_like(right) if start is None else start.clone()
    free = weights > 0
    tolerance = 1e-12 * float(right.abs().max())
    for _ in range(3 * len(right)):
        slope = (right - gram @ weights).masked_fill(free, -torch.inf)
        at = int(slope.argmax())
        if float(slope[at]) <= tolerance:
            break
        free[at] = True
        weights, free = _inside(gram, right, weights, free)
    return weights


def _inside(gram: Tensor, right: Tensor, weights: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """The minimum over the free weights, with fewer of them where that would make some negative."""
    while True:
        own = torch.nonzero(free).flatten()
        if not len(own):
            return torch.zeros_like(weights), free
        solved, old = _solved(gram[own][:, own], right[own]), weights[own]
        negative = solved <= 0
        found = torch.zeros_like(weights)
        if not bool(negative.any()):
            found[own] = solved
            return found, free
        reach = torch.where(negative, old / (old - solved).clamp(min=1e-300), torch.inf)
        share = reach.min()
        old = (old + share * (solved - old)).clamp_(min=0)
        old[reach == share] = 0
        found[own] = old
        weights, free = found, found > 0


def _solved(gram: Tensor, right: Tensor) -> Tensor:
    shift = 1e-9 * gram.diagonal().max().clamp(min=torch.finfo(gram.dtype).tiny)
    factor = torch.linalg.cholesky(gram + shift * torch.eye(len(gram), dtype=gram.dtype))
    found: Tensor = torch.cholesky_solve(right[:, None], factor).squeeze(1)
    return found
