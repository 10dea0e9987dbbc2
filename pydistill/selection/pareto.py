"""Selections under all criteria at once, beside random ones of the same size.

No selection is best in every respect; the undominated ones are those of which no other of the same size is
at least as good under every criterion and better under one. Whether a difference is worth anything, the
spread of random selections tells.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pydistill.engine.problem import Problem
from pydistill.modes import plain_modes
from pydistill.scores.store import Scores
from pydistill.selection.base import Known, Selection
from pydistill.selection.combination import USUAL, Criteria, parse_criteria
from pydistill.selection.criterion import by_group
from pydistill.shown import printable_lines

DRAWS = 10
"""Random selections that one is set beside."""


@dataclass(frozen=True)
class Standing:
    """A selection under one criterion.

    Attributes:
        value: In [0, 1].
        random: Mean over random selections of as many images of each group.
        low, high: The least and the greatest of those.
    """

    value: float
    random: float
    low: float
    high: float

    @property
    def beyond(self) -> int:
        """1 above every random selection, -1 below every one, else 0."""
        return int(self.value > self.high) - int(self.value < self.low)


@dataclass(frozen=True)
class Comparison:
    """Selections under criteria.

    Attributes:
        criteria: Their texts, in order.
        wanted: 1 where more of a criterion is wanted, -1 where less is.
        embedding: What distances are measured in.
        draws: Random selections that each is beside.
        images: How many images each selection has, by its name.
        standings: By name and criterion.
    """

    criteria: tuple[str, ...]
    wanted: tuple[int, ...]
    embedding: str
    draws: int
    images: Mapping[str, int]
    standings: Mapping[str, Mapping[str, Standing]]

    @property
    def undominated(self) -> tuple[str, ...]:
        """Selections of which no other of the same size is as good throughout and better somewhere."""
        return tuple(
            name
            for name, size in self.images.items()
            if not any(
                dominates(self._goods(other), self._goods(name))
                for other, its in self.images.items()
                if its == size
            )
        )

    def text(self) -> str:
        """A table: a row a selection, undominated ones marked; in brackets the range of random ones."""
        rows = [("", "selection", "images", *self.criteria)]
        best = self.undominated
        for name, standings in self.standings.items():
            cells = (
                f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]"
                for each in (standings[criterion] for criterion in self.criteria)
            )
            rows.append(("*" if name in best else "", name, f"{self.images[name]:,}", *cells))
        wide = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)) for row in rows]
        less = [name for name, sign in zip(self.criteria, self.wanted, strict=True) if sign < 0]
        told = f"; less is wanted of {', '.join(less)}" if less else ""
        note = (
            f"* no other of the same size is as good throughout and better somewhere{told}; in brackets "
            f"{self.draws} random selections; distances in the embedding {self.embedding}"
        )
        return printable_lines("\n".join([*(line.rstrip() for line in lines), note]))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            **dataclasses.asdict(self),
            "criteria": list(self.criteria),
            "wanted": list(self.wanted),
            "undominated": list(self.undominated),
        }

    def _goods(self, name: str) -> list[float]:
        """Values, turned so that more is better."""
        values = (self.standings[name][each].value for each in self.criteria)
        return [sign * value for sign, value in zip(self.wanted, values, strict=True)]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether ``one`` is nowhere less than ``other`` and somewhere more."""
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def assess(indices: Tensor, known: Known, criteria: Criteria) -> dict[str, float]:
    """A selection's values by criterion.

    Args:
        indices: (M,) int64 positions in the training split, all different.
        known: The training images and what is known of them.
        criteria: Under which; their weights do not count.

    Raises:
        ValueError: Indices are not that, or a criterion needs what is not known.
    """
    _check(indices, len(known.problem.data.train))
    return {str(each): each.value(known, indices) for _, each in criteria.terms}


def beside_random(
    indices: Tensor, known: Known, criteria: Criteria, draws: int = DRAWS
) -> dict[str, Standing]:
    """A selection's values by criterion, with those of random selections.

    Args:
        indices: (M,) int64 positions in the training split, all different.
        known: The training images and what is known of them.
        criteria: Under which; their weights do not count.
        draws: Random selections, each of as many images of every group; at least 1.

    Raises:
        ValueError: Indices are not that, or a criterion needs what is not known.
    """
    own = assess(indices, known, criteria)
    counts = {candidates.group: len(positions) for candidates, positions in by_group(known, indices)}
    groups = known.problem.groups
    each = [counts.get(group, 0) for group in range(len(groups))]
    random = []
    for draw in range(draws):
        generator = known.problem.generator("random selection", draw)
        drawn = groups.draw(each, generator, strict=False).indices
        random.append(assess(drawn, known, criteria))
    found = {}
    for name, value in own.items():
        values = [one[name] for one in random]
        found[name] = Standing(value, sum(values) / draws, min(values), max(values))
    return found


@plain_modes()
def compare(
    problem: Problem,
    selections: Mapping[str, Selection | Tensor],
    scores: Scores | None = None,
    *,
    criteria: str | None = None,
    embedding: str = "random",
    draws: int = DRAWS,
) -> Comparison:
    """Selections under all criteria, beside random ones of the same sizes.

    Args:
        problem: Data and seed; its budget does not matter.
        selections: By name: what selectors gave, or (M,) int64 positions in the training split.
        scores: Of the training images, for criteria that look at them.
        criteria: As :func:`~pydistill.selection.combination.parse_criteria` takes it; a minus sign says
            that less is better, the size of a weight does not count. None: representativeness, diversity
            and balance, with scores also difficulty.
        embedding: What :func:`pydistill.scores.embed` takes.
        draws: Random selections beside each.

    Raises:
        ValueError: There is no selection, one is not of different training images, or a criterion or the
            embedding needs what is not given.
    """
    if not selections:
        raise ValueError("expected at least one selection to compare, found none")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if scores is not None:
        scores.require(problem.data)
    chosen = parse_criteria(USUAL[scores is not None] if criteria is None else criteria)
    known = Known(problem, embedding, scores)
    indices = {
        name: each.indices if isinstance(each, Selection) else each for name, each in selections.items()
    }
    return Comparison(
        criteria=tuple(str(each) for _, each in chosen.terms),
        wanted=tuple(1 if weight > 0 else -1 for weight, _ in chosen.terms),
        embedding=embedding,
        draws=draws,
        images={name: len(each) for name, each in indices.items()},
        standings={name: beside_random(each, known, chosen, draws) for name, each in indices.items()},
    )


def _check(indices: Tensor, images: int) -> None:
    if indices.ndim != 1 or indices.dtype != torch.int64 or not len(indices):
        raise ValueError(
            f"expected indices (M,) int64 of at least one image, found {tuple(indices.shape)} "
            f"{indices.dtype}"
        )
    if int(indices.min()) < 0 or int(indices.max()) >= images:
        raise ValueError(
            f"expected indices from 0 to {images - 1}, found {int(indices.min())} to {int(indices.max())}"
        )
    if len(torch.unique(indices)) < len(indices):
        raise ValueError("expected different images, found one twice")
