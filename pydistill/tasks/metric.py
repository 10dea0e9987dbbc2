"""How well a network's answers fit the truth: named values, and what resampling test images needs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

RESAMPLES = 200
"""Bootstrap samples of test images behind :meth:`Metric.spread`."""


@dataclass(frozen=True)
class Breakdown:
    """A metric class by class, and which classes were taken for which.

    Attributes:
        values: The metric of each class, a fraction in [0, 1]; None where nothing is of one.
        images: How many answers each class's value is of; over several networks, those of all of them.
        confusion: (G, G) counts of answers, a row a class, a column a predicted class; None where there are
            too many classes to show it, or answers are not of one class each.
    """

    values: tuple[float | None, ...]
    images: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def mean(cls, several: Sequence["Breakdown"]) -> "Breakdown":
        """Of several networks: values weighted by the answers they are of, counts added up.

        Raises:
            ValueError: There is none.
        """
        if not several:
            raise ValueError("expected at least one breakdown")
        images = tuple(map(sum, zip(*(each.images for each in several), strict=True)))
        values: list[float | None] = []
        for at in range(len(images)):
            pairs = [(each.values[at], each.images[at]) for each in several]
            known = [(value, count) for value, count in pairs if value is not None]
            total = sum(count for _, count in known)
            if total:
                values.append(sum(value * count for value, count in known) / total)
            else:  # a class that was answered, wrongly, where no image holds it
                values.append(sum(value for value, _ in known) / len(known) if known else None)
        tables = [each.confusion for each in several if each.confusion is not None]
        whole = None
        if len(tables) == len(several):
            rows = zip(*tables, strict=True)
            whole = tuple(tuple(map(sum, zip(*same, strict=True))) for same in rows)
        return cls(tuple(values), images, whole)


class Metric(ABC):
    """Answers of one network on test images, taken in batch by batch.

    Class attributes:
        names: What :meth:`compute` gives, the headline first.
    """

    names: tuple[str, ...]

    @abstractmethod
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch's outputs (N, ...) and targets (N, ...)."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Take in what another one was given; its images follow those here.

        Raises:
            ValueError: It is of other classes.
        """

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Every value by name, fractions in [0, 1]; NaN where nothing was given that it could be of."""

    @property
    @abstractmethod
    def images(self) -> int:
        """How many images were taken in."""

    @abstractmethod
    def breakdown(self) -> Breakdown | None:
        """The headline class by class; None where a task has no classes."""

    @abstractmethod
    def resampled(self, weights: Tensor) -> Tensor:
        """The headline if image n were there ``weights[b, n]`` times.

        Args:
            weights: (B, N) non-negative, N the images taken in, in their order.

        Returns:
            (B,) float64.
        """

    @property
    def value(self) -> float:
        """The headline."""
        return self.compute()[self.names[0]]

    def spread(self, generator: torch.Generator, resamples: int = RESAMPLES) -> float:
        """Standard deviation of the headline over bootstrap samples of the images; NaN of fewer than two.

        B. Efron: Bootstrap Methods: Another Look at the Jackknife. Annals of Statistics 7 (1979). It says
        how much the value owes to which test images there are, not to the network's own training.
        """
        count = self.images
        if count < 2:
            return float("nan")
        chosen = torch.randint(count, (resamples, count), generator=generator)
        weights = torch.zeros(resamples, count, dtype=torch.float64)
        weights.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.float64))
        found = self.resampled(weights)
        return float(found[~found.isnan()].std())
