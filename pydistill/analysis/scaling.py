"""How accuracy grows with the number of random images: a law fitted to a few sizes, and how sure it is.

The error of a network trained on n images lies between e0, that of guessing, and a floor c that no number
of images mends: (e - c) / (e0 - e) = s n^-b ([0], the estimator M4 with its exponent at 1), so that

    e(n) = (c + e0 s n^-b) / (1 + s n^-b),

which is the usual power law c + a n^-b where n is large, and bends towards e0 where it is small. From a few
sizes s, b and c are not known well, and c least: their posterior is computed on a grid, and what is told of
another size is an interval of what would be measured there.

[0] I. Alabdulmohsin, B. Neyshabur, X. Zhai: Revisiting Neural Scaling Laws in Language and Vision.
    NeurIPS 2022, arXiv:2209.06640.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_RATES, _FLOORS, _SCALES = 60, 40, 41
"""Points of the grid along b, c and s."""
_MOST_RATE = 1.5
_AROUND = 1.5
"""How far log s goes from what fits each b and c best."""
_INEXACT = 0.03
"""Relative deviation of errors from the law itself, which no law is without."""
_NEAR_CHANCE = 0.95
"""Share of the error of guessing above which a size says nothing: nothing was learned there."""
_BINS = 4000
"""Errors between which the probability of the grid's points is shared out when a quantile is sought."""
_MENDED = 2
"""The prior of the floor is (1 - c / least error) to that power: most of what few images leave wrong, more
mend."""
FEWEST = 3
"""Sizes that a fit needs."""


@dataclass(frozen=True)
class Prediction:
    """What would be measured at a size.

    Attributes:
        accuracy: Median, a fraction.
        low: Lower end of the interval.
        high: Upper end.
    """

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Law:
    """The posterior of the law, given what was measured.

    Attributes:
        chance: The error of guessing, e0.
        rates: (G,) b.
        floors: (G,) c.
        scales: (G,) log s.
        weights: (G,) probabilities of these, float64.
        spread: Relative deviation of one network's error around the mean of its size.
    """

    chance: float
    rates: Tensor
    floors: Tensor
    scales: Tensor
    weights: Tensor
    spread: float

    def errors(self, size: float) -> Tensor:
        """(G,) error at a size by every point of the posterior."""
        return _error(self.chance, self.rates, self.floors, self.scales, math.log(size))

    def predict(self, size: float, images: int | None = None, share: float = 0.9) -> Prediction:
        """What one network trained on ``size`` random images would score.

        Args:
            size: How many, above 0.
            images: That it is scored on; None: so many that their number does not matter.
            share: Of the probability that the interval holds.
        """
        low, middle, high = self._quantiles(size, images, ((1 - share) / 2, 0.5, (1 + share) / 2))
        return Prediction(1 - middle, 1 - high, 1 - low)

    def _quantiles(self, size: float, images: int | None, shares: Sequence[float]) -> list[float]:
        errors, weights = _binned(self.errors(size), self.weights)
        deviation = _deviation(errors, self.spread, 1, images)
        return [_quantile(errors, deviation, weights, at) for at in shares]

    def _median(self, size: float) -> float:
        """The accuracy that :meth:`predict` has in the middle, without its ends."""
        return 1 - self._quantiles(size, None, (0.5,))[0]

    def size_for(self, accuracy: float, most: float) -> float | None:
        """Images at which the median reaches an accuracy; None: not by ``most`` of them."""
        if self._median(most) < accuracy:
            return None
        low, high = 0.0, math.log(most)
        for _ in range(40):
            middle = (low + high) / 2
            if self._median(math.exp(middle)) < accuracy:
                low = middle
            else:
                high = middle
        return math.exp(high)


def fit(
    sizes: Sequence[int], accuracies: Sequence[Sequence[float]], classes: int, images: int | None = None
) -> Law:
    """The law that a few sizes support.

    Args:
        sizes: Images that networks were trained on, ascending.
        accuracies: Of each size the accuracies of its networks, fractions, each on a draw of its own.
        classes: How many there are; the error of guessing is 1 - 1 / classes.
        images: That they were scored on.

    Raises:
        ValueError: Fewer than three sizes are left where something was learned.
    """
    chance = 1 - 1 / classes
    floor = 0.5 / (images or 10_000)  # an error of none is less than half an image
    measured = [
        (n, [max(1 - each, floor) for each in found]) for n, found in zip(sizes, accuracies, strict=True)
    ]
    measured = [(n, found) for n, found in measured if sum(found) / len(found) < _NEAR_CHANCE * chance]
    if len(measured) < FEWEST:
        raise ValueError(
            f"a curve needs {FEWEST} sizes at which networks learned something, found {len(measured)} of "
            f"{len(sizes)}: larger ones are needed"
        )
    logs = torch.tensor([math.log(n) for n, _ in measured], dtype=torch.float64)
    means = torch.tensor([sum(found) / len(found) for _, found in measured], dtype=torch.float64)
    counts = torch.tensor([len(found) for _, found in measured], dtype=torch.float64)
    spread = _spread([found for _, found in measured])
    rates, floors = torch.meshgrid(
        torch.linspace(0.02, _MOST_RATE, _RATES, dtype=torch.float64),
        float(means.min()) * torch.linspace(0, 0.98, _FLOORS, dtype=torch.float64),
        indexing="ij",
    )
    rates, floors = rates.reshape(-1, 1), floors.reshape(-1, 1)
    odds = ((means - floors) / (chance - means)).log() + rates * logs
    scales = odds.mean(1, keepdim=True) + torch.linspace(-_AROUND, _AROUND, _SCALES, dtype=torch.float64)
    rates, floors = rates.expand_as(scales), floors.expand_as(scales)
    likelihood = torch.zeros_like(scales)
    for at in range(len(logs)):
        errors = _error(chance, rates, floors, scales, float(logs[at]))
        deviation = _deviation(errors, spread, float(counts[at]), images)
        off = (means[at].log() - errors.log()) / deviation
        likelihood += -0.5 * off.square() - deviation.log()
    weights = (likelihood - likelihood.max()).exp() * (1 - floors / means.min()) ** _MENDED
    kept = weights > 1e-6
    return Law(chance, rates[kept], floors[kept], scales[kept], weights[kept] / weights[kept].sum(), spread)


def _error(chance: float, rates: Tensor, floors: Tensor, scales: Tensor, log: float) -> Tensor:
    odds = (scales - rates * log).exp()
    return (floors + chance * odds) / (1 + odds)


def _deviation(errors: Tensor, spread: float, networks: float, images: int | None) -> Tensor:
    """Relative deviation of a mean error over networks that are scored on the same images."""
    counted = torch.zeros_like(errors) if images is None else (1 - errors) / (errors * images)
    return (counted + spread**2 / networks + _INEXACT**2).sqrt()


def _spread(errors: Sequence[Sequence[float]]) -> float:
    """Relative deviation within sizes, pooled; 0 where each has one network."""
    freedom = sum(len(found) - 1 for found in errors)
    if not freedom:
        return 0.0
    squares = 0.0
    for found in errors:
        mean = sum(found) / len(found)
        squares += sum((each / mean - 1) ** 2 for each in found)
    return math.sqrt(squares / freedom)


def _binned(errors: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(errors, weights) of a few thousand points: each point's weight, shared by its two neighbours.

    The deviation around an error depends on the error alone, so points of the same error are one.
    """
    logs = errors.log()
    low, high = float(logs.min()), float(logs.max())
    if high - low < 1e-12:
        return errors[:1], weights.sum().reshape(1)
    at = (logs - low) * ((_BINS - 1) / (high - low))
    left = at.long().clamp(max=_BINS - 2)
    right = (at - left) * weights
    found = torch.zeros(_BINS, dtype=weights.dtype)
    found.index_add_(0, left, weights - right).index_add_(0, left + 1, right)
    return torch.linspace(low, high, _BINS, dtype=weights.dtype).exp(), found


def _quantile(errors: Tensor, deviation: Tensor, weights: Tensor, share: float) -> float:
    """Of the mixture of log-normal distributions around ``errors``."""
    logs = errors.log()
    low, high = float((logs - 8 * deviation).min()), float((logs + 8 * deviation).max())
    for _ in range(50):
        middle = (low + high) / 2
        if float((weights * torch.special.ndtr((middle - logs) / deviation)).sum()) < share:
            low = middle
        else:
            high = middle
    return min(1.0, math.exp(high))
