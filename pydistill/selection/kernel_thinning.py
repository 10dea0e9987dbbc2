"""Kernel thinning: halving by a walk that keeps both halves alike, then exchanging images one by one.

[0] R. Dwivedi, L. Mackey: Kernel Thinning. COLT 2021, arXiv:2105.05842, algorithm 1 (KT-SPLIT and KT-SWAP).
[1] R. Dwivedi, L. Mackey: Generalized Kernel Thinning. ICLR 2022, arXiv:2110.01593.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, EmbeddingSelector
from pydistill.selection.similarity import Similarity, spans

FAILING = 0.5
"""The probability that [0] allows its bound to fail with: delta."""
_PAIRS = 256


def thin(target: Similarity, split: Similarity, count: int, generator: torch.Generator) -> Tensor:
    """``count`` rows whose kernel mean is near to that of all.

    Rows in a drawn order are halved by ``split`` m times, as long as ``count`` are left; of the 2^m parts
    and every 2^m-th row the one of the least MMD is taken. Beyond [0], for a count that is not n / 2^m:
    rows whose loss leaves the least MMD are left out one by one, down to ``count``; and for more than half
    of the rows the others are chosen so and left out, since their MMD to all is the same but for a factor.
    Then each of the chosen is exchanged for the row that makes the MMD least.

    Args:
        target: The kernel of the MMD, of kind ``rbf``.
        split: The kernel of the walk, whose square under convolution is ``target``: of its bandwidth over
            sqrt(2); or ``target`` ([1]).
        count: How many, at most n.
        generator: Draws order and walk.

    Returns:
        (count,) int64 positions, ascending.
    """
    total = len(target)
    wanted = min(count, total - count)
    chosen = torch.zeros(total, dtype=torch.bool)
    if wanted:
        order = torch.randperm(total, generator=generator)
        means = target.totals() / total
        parts = _split(split, order, int(math.log2(total // wanted)), generator)
        parts.append(order[:: len(parts)][: len(parts[0])])
        worth = [_discrepancy(target, part, means) for part in parts]
        best = parts[min(range(len(parts)), key=worth.__getitem__)]
        chosen[_swap(target, _drop(target, best, wanted, means), means)] = True
    return torch.nonzero(chosen if wanted == count else ~chosen).flatten()


def discrepancy(similarity: Similarity, chosen: Tensor) -> float:
    """MMD^2 of the rows ``chosen`` to all, the biased estimate; its two parts in blocks."""
    means = similarity.totals() / len(similarity)
    return _discrepancy(similarity, chosen, means) + float(means.mean())


def _discrepancy(similarity: Similarity, chosen: Tensor, means: Tensor) -> float:
    """MMD^2 to all, less what is the same for every choice."""
    inner = float(_sums(similarity, chosen, chosen).sum())
    return inner / len(chosen) ** 2 - 2 * float(means[chosen].mean())


def _sums(similarity: Similarity, over: Tensor, at: Tensor, weights: Tensor | None = None) -> Tensor:
    """(m,) float64: sums over rows ``over``, with weights where there are any, of k to each row ``at``."""
    found = torch.zeros(len(at), dtype=torch.float64)
    for part in spans(len(over)):
        for to in spans(len(at)):
            made = similarity.block(over[part], at[to])
            found[to] += made.sum(0) if weights is None else weights[part] @ made
    return found


def _split(kernel: Similarity, order: Tensor, times: int, generator: torch.Generator) -> list[Tensor]:
    """2^times parts of the rows ``order``, all of as many: KT-SPLIT of [0], level by level."""
    parts = [order]
    for level in range(times):
        size = len(parts[0]) // 2
        failing = FAILING / len(order) * 2**level / times
        parts = [half for part in parts for half in _halve(kernel, part[: 2 * size], failing, generator)]
    return parts


def _halve(
    kernel: Similarity, rows: Tensor, failing: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One of each two neighbours goes to one half: whichever, by chance, keeps the halves' sums near."""
    pairs = rows.view(-1, 2)
    draws = torch.rand(len(pairs), generator=generator, dtype=torch.float64).numpy()
    walk = _Walk(math.sqrt(2 * math.log(2 / failing)))
    signs = torch.zeros(len(rows))  # of the second half 1, of the first -1
    for part in spans(len(pairs), _PAIRS):
        own = pairs[part]
        flat = torch.cat([own[:, 0], own[:, 1]])
        pull = _sums(kernel, pairs[: part.start].flatten(), flat, signs[: 2 * part.start])
        made = kernel.block(flat, flat).double()
        half = len(own)
        across = made[:half] - made[half:]
        swapped = walk.along(
            (pull[:half] - pull[half:]).numpy(), (across[:, :half] - across[:, half:]).numpy(), draws[part]
        )
        pairs[part] = torch.where(torch.from_numpy(swapped)[:, None] > 0, own.flip(1), own)
        signs[2 * part.start : 2 * part.stop] = torch.tensor([-1.0, 1.0]).repeat(half)
    return pairs[:, 0].clone(), pairs[:, 1].clone()


class _Walk:
    """The self-balancing walk: how far it has gone decides by which threshold a pair may be swapped."""

    def __init__(self, wide: float) -> None:
        self.wide, self.square = wide, 0.0

    def along(
        self,
        pull: "np.ndarray[Any, np.dtype[np.float64]]",
        inner: "np.ndarray[Any, np.dtype[np.float64]]",
        draws: "np.ndarray[Any, np.dtype[np.float64]]",
    ) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Which pairs are swapped: 1, else -1.

        Args:
            pull: (p,) <second half - first half, k(x) - k(x')> of each pair, of all pairs before these.
            inner: (p, p) inner products of the pairs' k(x) - k(x').
            draws: (p,) uniform in [0, 1).
        """
        turned = np.full(len(pull), -1.0)
        for at in range(len(pull)):
            long = max(float(inner[at, at]), 0.0)
            threshold = max(math.sqrt(long * self.square) * self.wide, long)
            if threshold > 0:
                grown = 1 + (long - 2 * threshold) * self.square / threshold**2
                self.square += long * max(grown, 0.0)
                ahead = float(pull[at] + inner[at, :at] @ turned[:at]) / threshold
                if draws[at] < min(1.0, 0.5 * max(1 - ahead, 0.0)):
                    turned[at] = 1.0
        return turned


def _drop(similarity: Similarity, chosen: Tensor, count: int, means: Tensor) -> Tensor:
    """``count`` of the chosen: again and again without the one whose loss leaves the least MMD."""
    mean, sums = means[chosen], _sums(similarity, chosen, chosen)
    gone = torch.zeros(len(chosen), dtype=torch.float64)
    for left in range(len(chosen) - 1, count - 1, -1):
        at = int((mean - sums / left + gone).argmin())
        gone[at] = torch.inf
        sums -= similarity.block(chosen, chosen[at : at + 1])[:, 0]
    return chosen[gone == 0]


def _swap(similarity: Similarity, chosen: Tensor, means: Tensor) -> Tensor:
    """KT-SWAP of [0]: each of the chosen is exchanged once for the free row of the least MMD then."""
    every = torch.arange(len(similarity))
    chosen, sums = chosen.clone(), _sums(similarity, chosen, every)
    taken = torch.zeros(len(similarity), dtype=torch.float64)
    taken[chosen] = torch.inf
    for place, at in enumerate(chosen.tolist()):
        sums -= similarity.column(at)
        taken[at] = 0
        new = int((sums / len(chosen) - means + taken).argmin())
        chosen[place] = new
        taken[new] = torch.inf
        sums += similarity.column(new)
    return chosen


@register
@dataclass(frozen=True, kw_only=True)
class KernelThinning(EmbeddingSelector):
    """Kernel thinning ([0]): KT-SPLIT, then KT-SWAP, under an RBF kernel, whose root is the walk's.

    Any count, see :func:`thin`. Features less their mean; w is the median distance between images. Memory:
    a copy of the features twice, 16 MiB and 200 bytes an image.
    """

    name: ClassVar[str] = "kernel_thinning"
    citation: ClassVar[str] = "Dwivedi and Mackey, Kernel Thinning, COLT 2021, arXiv:2105.05842"
    summary: ClassVar[str] = "images left by balanced halving, then exchanged: least MMD to all"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")

    bandwidth: float = option(1.0, "of the kernel, in units of the median distance", above=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        features = candidates.features()
        target = Similarity.of(features, "rbf", self.bandwidth)
        split = Similarity.of(features, "rbf", self.bandwidth / math.sqrt(2))
        return Chosen(thin(target, split, count, generator))
