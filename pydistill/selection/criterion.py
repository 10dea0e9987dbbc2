"""What a criterion is: a number that says how good a selection is, and what each further image adds to it.

A selection is chosen image by image within a group (a class, where the task is classification; else all
images). A :class:`Tally` holds what every candidate would add to what is chosen so far, and is brought up
to date as one is. Criteria are combined by :mod:`pydistill.selection.combination` and maximised by
``greedy``; :mod:`pydistill.selection.pareto` tells a whole selection's values.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from pydistill.selection.base import Candidates, Known
from pydistill.tasks.base import chunks

Shape: TypeAlias = Literal["modular", "submodular", "neither"]
"""What gains do as more is chosen: stay, never rise, or depend on the order."""

_BLOCK = 1 << 21
"""Distances that are held at once: 16 MiB."""


class Tally(ABC):
    """What each candidate would add.

    Attributes:
        gains: (n,) float64 in [0, 1].
    """

    gains: Tensor

    @abstractmethod
    def add(self, position: int) -> None:
        """A candidate is chosen: bring :attr:`gains` up to date."""


class Constant(Tally):
    """Gains that do not depend on what is chosen.

    Args:
        gains: (n,) in [0, 1].
    """

    def __init__(self, gains: Tensor) -> None:
        self.gains = gains.double()

    def add(self, position: int) -> None:
        pass


@dataclass(frozen=True)
class Criterion(ABC):
    """How good a selection is in one respect.

    A subclass is a frozen dataclass whose fields are its options (numbers or texts, each with a default),
    registered with :func:`register_criterion`.

    Class attributes:
        name: What it is called.
        shape: Whether its total is modular, submodular, or neither.
    """

    name: ClassVar[str]
    shape: ClassVar[Shape]

    @property
    def scored(self) -> bool:
        """Whether it looks at scores."""
        return False

    @abstractmethod
    def tally(self, candidates: Candidates) -> Tally:
        """What each of a group's candidates adds, none being chosen yet."""

    @abstractmethod
    def total(self, candidates: Candidates, positions: Tensor) -> float:
        """The sum of what each of a group's candidates added, chosen in the order of ``positions``.

        From its definition: what :meth:`tally` gives are differences of this.
        """

    @abstractmethod
    def value(self, known: Known, indices: Tensor) -> float:
        """How good a whole selection is, in [0, 1], whatever its size and order.

        Args:
            known: The training images and what is known of them.
            indices: (M,) positions in the training split, all different.
        """

    def __str__(self) -> str:
        """The text that :func:`pydistill.selection.combination.parse_criteria` turns into this."""
        given = [
            f"{f.name}={getattr(self, f.name)}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return self.name + (f"({','.join(given)})" if given else "")


@dataclass(frozen=True)
class ModularCriterion(Criterion):
    """A number for each image: its total is the sum over the chosen ones, its value their mean."""

    shape: ClassVar[Shape] = "modular"

    @abstractmethod
    def each(self, known: Known) -> Tensor:
        """(N,) float32 in [0, 1] of every training image."""

    def _each(self, known: Known) -> Tensor:
        return known.once(self, lambda: self.each(known))

    def tally(self, candidates: Candidates) -> Tally:
        return Constant(self._each(candidates.known)[candidates.indices])

    def total(self, candidates: Candidates, positions: Tensor) -> float:
        return float(self._each(candidates.known)[candidates.indices[positions]].double().sum())

    def value(self, known: Known, indices: Tensor) -> float:
        return float(self._each(known)[indices].double().mean()) if len(indices) else 0.0


_registry: dict[str, type[Criterion]] = {}

C = TypeVar("C", bound=type[Criterion])


def register_criterion(kind: C) -> C:
    """Class decorator: make a criterion known under its name."""
    if _registry.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"a criterion named {kind.name!r} is registered already")
    return kind


def criteria() -> Mapping[str, type[Criterion]]:
    """Every registered criterion by name."""
    return dict(_registry)


def by_group(known: Known, indices: Tensor) -> Iterator[tuple[Candidates, Tensor]]:
    """The candidates of each group that has any, and which of them ``indices`` names, in its order."""
    for candidates in known.groups():
        if len(candidates):
            at = torch.searchsorted(candidates.indices, indices).clamp(max=len(candidates) - 1)
            yield candidates, at[candidates.indices[at] == indices]


def distances(rows: Tensor, other: Tensor, extent: float) -> Tensor:
    """(n,) float64 distance of rows (n, D) from one (D,), as a share of ``extent``, at most 1."""
    found = torch.empty(len(rows), dtype=torch.float64)
    for part in chunks(len(rows), _rows(other)):
        gap = torch.cdist(rows[part], other[None], compute_mode="donot_use_mm_for_euclid_dist")
        found[part] = gap.squeeze(1)
    return found.clamp_(max=extent) / (extent or 1.0)


def blocks(rows: Tensor, others: Tensor, extent: float) -> Iterator[tuple[slice, Tensor]]:
    """Distances of rows (n, D) from others (m, D) as shares of ``extent``, so many rows at once as fit.

    In float64, in which the product of the two may be used: equal rows are 1e-8 of their length apart.

    Yields:
        Which rows, and (r, m) float64.
    """
    wide = others.double()
    for part in chunks(len(rows), min(_rows(others[:, :1]), _rows(rows[:1]))):
        found = torch.cdist(rows[part].double(), wide, compute_mode="use_mm_for_euclid_dist")
        yield part, found.clamp_(max=extent) / (extent or 1.0)


def _rows(wide: Tensor) -> int:
    """How many rows as wide as ``wide`` has numbers are held at once."""
    return max(1, _BLOCK // max(1, wide.numel()))


def class_weights(owner: str, text: str, classes: int) -> Tensor:
    """(G,) float64 of ``2/1/0.5``: a weight a class, in the order of the classes.

    Raises:
        ValueError: It is not that, a weight is negative, or all are 0.
    """
    try:
        found = torch.tensor([float(part) for part in text.split("/")], dtype=torch.float64)
    except ValueError:
        raise ValueError(f"{owner}: expected numbers such as 2/1/0.5 as classes, found {text!r}") from None
    if len(found) != classes:
        raise ValueError(f"{owner}: expected {classes} weights, one a class, found {text!r}")
    if not bool(found.isfinite().all()) or bool((found < 0).any()) or not float(found.sum()) > 0:
        raise ValueError(f"{owner}: expected weights of at least 0, not all 0, found {text!r}")
    return found


def held(known: Known, indices: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """(n, G) float64 amounts of each class in images, see :meth:`Task.amounts`, some images at once.

    Args:
        known: The training images.
        indices: (n,) which; None: all.
    """
    data: Any = known.problem.data
    targets = data.train.targets
    for part in chunks(len(targets) if indices is None else len(indices), 512):
        yield part, data.task.amounts(targets[part if indices is None else indices[part]]).double()
