"""Means, spreads and intervals of what was measured a few times."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydistill.seeds import derive

_RESAMPLES = 10_000
_FEWEST = 3
"""Fewer values than this of either side give no interval worth the name."""


@dataclass(frozen=True)
class Summary:
    """A mean with its spread.

    Attributes:
        mean: Of the values.
        std: Standard deviation with ``n - 1`` in the denominator; NaN where ``n`` is 1.
        n: How many values.
    """

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Difference:
    """A difference of two means with its 95 % bootstrap interval.

    Attributes:
        mean: First mean less second mean.
        low: Lower end of the interval.
        high: Upper end.
        resolved: Whether both sides have at least 3 values and the interval leaves out 0.
        n: How many values the side with fewer of them has.
    """

    mean: float
    low: float
    high: float
    resolved: bool
    n: int

    @property
    def doubt(self) -> str | None:
        """Why nothing is decided, in words; None where it is resolved."""
        if self.n < _FEWEST:
            return f"too few networks to tell (n = {self.n})"
        return None if self.resolved else "the interval includes zero"

    def record(self) -> dict[str, Any]:
        """Everything as JSON holds it."""
        return {**dataclasses.asdict(self), "doubt": self.doubt}


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and count of at least one value."""
    if not values:
        raise ValueError("expected at least one value")
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Summary(mean, math.nan, 1)
    square = math.fsum((value - mean) ** 2 for value in values)
    return Summary(mean, math.sqrt(square / (len(values) - 1)), len(values))


def difference(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], seed: int = 0
) -> Difference:
    """Mean of ``first`` less mean of ``second``, by a two-level bootstrap.

    Each side is a list of sets (draws), each with the values of the networks trained on it. A resample
    draws sets with replacement, then values within each. A set of n resampled values varies less than
    fresh ones would, by ``(n - 1) / n`` in variance; each level's deviations are scaled up by the root of
    the inverse, which matters for the handful of networks that are usual. A level of one contributes
    nothing, so that the interval of a single distilled set does not cover how another would turn out.

    Args:
        first: Sets of values of equal length; (D, R).
        second: Sets of values of equal length; (D, R), both numbers its own.
        seed: Of the resampling.
    """
    sides = [_table(first, "first"), _table(second, "second")]
    source = np.random.default_rng(derive(seed, "bootstrap"))
    means = [_resampled_means(side, source) for side in sides]
    low, high = np.percentile(means[0] - means[1], [2.5, 97.5])
    fewest = min(side.size for side in sides)
    gap = float(sides[0].mean() - sides[1].mean())
    resolved = bool(fewest >= _FEWEST and (low > 0 or high < 0))
    return Difference(gap, float(low), float(high), resolved, fewest)


def _table(values: Sequence[Sequence[float]], side: str) -> NDArray[np.float64]:
    if not values or not values[0] or any(len(each) != len(values[0]) for each in values):
        raise ValueError(f"{side}: expected sets of equally many values, at least one each")
    return np.asarray(values, dtype=np.float64)


def _resampled_means(table: NDArray[np.float64], source: np.random.Generator) -> NDArray[np.float64]:
    """(B,) means of resamples of a (D, R) table, deviations widened level by level."""
    draws, repeats = table.shape
    centres = table.mean(1)
    picked = source.integers(draws, size=(_RESAMPLES, draws))
    within = source.integers(repeats, size=(_RESAMPLES, draws, repeats))
    deviations = (table - centres[:, None])[picked[:, :, None], within] * _widening(repeats)
    between = (centres[picked] - centres.mean()) * _widening(draws)
    means: NDArray[np.float64] = centres.mean() + between.mean(1) + deviations.mean((1, 2))
    return means


def _widening(count: int) -> float:
    return math.sqrt(count / (count - 1)) if count > 1 else 1.0
