"""The criteria that a selection can be chosen and judged by.

[0] G. Nemhauser, L. Wolsey, M. Fisher: An analysis of approximations for maximizing submodular set
    functions. Mathematical Programming 14, 1978.
[1] T. Gonzalez: Clustering to minimize the maximum intercluster distance. TCS 38, 1985.
[2] K. Wei, R. Iyer, J. Bilmes: Submodularity in Data Subset Selection and Active Learning. ICML 2015.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import checks
from pydistill.scores.embedding import read_numbers
from pydistill.selection.base import Candidates, Known
from pydistill.selection.criterion import (
    Criterion,
    ModularCriterion,
    Shape,
    Tally,
    blocks,
    by_group,
    class_weights,
    distances,
    held,
    register_criterion,
)

OVER = 10_000
"""Images of a group that a mean is over, at most, unless an option says otherwise."""


@register_criterion
@dataclass(frozen=True)
class Representativeness(Criterion):
    """How near the images of a group are to chosen ones: facility location ([0], [2]).

    The total is the mean over the group's images j of max over chosen i of s_ij, with s_ij = 1 - d_ij / E,
    d the distance of features and E the data's extent; 0 where nothing is chosen. It is monotone and
    submodular. The value is the mean over all images.

    Attributes:
        over: Images of a group that the mean is over, at most; of more, as many are drawn.
    """

    over: int = OVER

    name: ClassVar[str] = "representativeness"
    shape: ClassVar[Shape] = "submodular"

    def __post_init__(self) -> None:
        checks.integer(f"{self.name}: over", self.over, 1)

    def _references(self, candidates: Candidates) -> Tensor:
        """(m, D) features that are to be represented."""
        features, count = candidates.features(), len(candidates)
        if count <= self.over:
            return features
        generator = candidates.known.problem.generator("criteria", self.name, candidates.group)
        return features[torch.randperm(count, generator=generator)[: self.over]]

    def tally(self, candidates: Candidates) -> Tally:
        return _Represented(candidates.features(), self._references(candidates), candidates.known.extent)

    def total(self, candidates: Candidates, positions: Tensor) -> float:
        if not len(positions):
            return 0.0
        references, chosen = self._references(candidates), candidates.features()[positions]
        gaps = [gap.amin(1) for _, gap in blocks(references, chosen, candidates.known.extent)]
        return float((1 - torch.cat(gaps)).mean())

    def value(self, known: Known, indices: Tensor) -> float:
        parts = [(len(own), self.total(own, positions)) for own, positions in by_group(known, indices)]
        every = sum(count for count, _ in parts)
        return sum((count * total for count, total in parts), 0.0) / every


class _Represented(Tally):
    """Gains of facility location; an image that is chosen changes them by what it is nearest to alone."""

    def __init__(self, rows: Tensor, references: Tensor, extent: float) -> None:
        self._rows, self._references, self._extent = rows, references, extent
        self._best = torch.zeros(len(references), dtype=torch.float64)
        self._sums = torch.zeros(len(rows), dtype=torch.float64)
        for part, gap in blocks(rows, references, extent):
            self._sums[part] = (1 - gap).sum(1)

    @property
    def gains(self) -> Tensor:  # type: ignore[override]
        return self._sums.clamp_min(0) / len(self._best)

    def add(self, position: int) -> None:
        found = 1 - distances(self._references, self._rows[position], self._extent)
        nearer = torch.nonzero(found > self._best).flatten()
        if not len(nearer):
            return
        before, after = self._best[nearer], found[nearer]
        for part, gap in blocks(self._rows, self._references[nearer], self._extent):
            near = 1 - gap
            self._sums[part] -= ((near - before).clamp_min(0) - (near - after).clamp_min(0)).sum(1)
        self._best[nearer] = after


@register_criterion
@dataclass(frozen=True)
class Diversity(Criterion):
    """How far apart the chosen images of a group are.

    An image adds its distance to the nearest chosen one of its group, as a share of the data's extent; the
    first of a group adds 1. Chosen by this alone, images are those of farthest-first traversal ([1]). The
    total depends on the order, so it is no set function. The value does not: it is the mean over the
    chosen images of the distance to the nearest other one of its group; of one alone, 1.

    Attributes:
        over: Chosen images of a group that the value is a mean over, at most; of more, as many are drawn.
    """

    over: int = OVER

    name: ClassVar[str] = "diversity"
    shape: ClassVar[Shape] = "neither"

    def __post_init__(self) -> None:
        checks.integer(f"{self.name}: over", self.over, 1)

    def tally(self, candidates: Candidates) -> Tally:
        return _Apart(candidates.features(), candidates.known.extent)

    def total(self, candidates: Candidates, positions: Tensor) -> float:
        rows = candidates.features()[positions]
        found = 1.0 if len(rows) else 0.0
        for part, gap in blocks(rows[1:], rows, candidates.known.extent):
            first = torch.arange(part.start, part.stop)[:, None] + 1
            found += float(torch.where(torch.arange(len(rows)) < first, gap, 1.0).amin(1).sum())
        return found

    def value(self, known: Known, indices: Tensor) -> float:
        found = 0.0
        for candidates, positions in by_group(known, indices):
            generator = known.problem.generator("criteria", self.name, candidates.group)
            some = torch.randperm(len(positions), generator=generator)[: self.over]
            rows, nearest = candidates.features()[positions.sort().values], []
            for part, gap in blocks(rows[some], rows, known.extent):
                gap[torch.arange(len(gap)), some[part]] = 1.0
                nearest.append(gap.amin(1))
            found += float(torch.cat(nearest).mean()) * len(positions) if nearest else 0.0
        return found / max(1, len(indices))


class _Apart(Tally):
    def __init__(self, rows: Tensor, extent: float) -> None:
        self._rows, self._extent = rows, extent
        self.gains = torch.ones(len(rows), dtype=torch.float64)

    def add(self, position: int) -> None:
        gap = distances(self._rows, self._rows[position], self._extent)
        self.gains = torch.minimum(self.gains, gap)


@register_criterion
@dataclass(frozen=True)
class Relevance(ModularCriterion):
    """How much the chosen images are of what is wanted: modular, with a number in [0, 1] for each image.

    Attributes:
        to: A ``.npy`` file. (N,): a number an image, brought to [0, 1] by the least and the greatest (1
            where all are equal). (T, D): features of target images, in the embedding that is chosen in; an
            image has 1 - d / E of the nearest, E being the extent of data and targets.
        score: In place of it a score by name, see :meth:`pydistill.scores.Scores.value`, brought to [0, 1]
            likewise.
        classes: In place of it a weight a class, ``2/1/0.5``; an image has the mean weight of what it
            holds, as a share of the greatest.

    Raises:
        ValueError: Not exactly one of the three is given.
    """

    to: str = ""
    score: str = ""
    classes: str = ""

    name: ClassVar[str] = "relevance"

    def __post_init__(self) -> None:
        given = [name for name in ("to", "score", "classes") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(
                "relevance: expected one of to=FILE.npy, score=NAME and classes=WEIGHT/WEIGHT/..., "
                f"found {found}"
            )

    @property
    def scored(self) -> bool:
        return bool(self.score)

    def each(self, known: Known) -> Tensor:
        if self.score:
            return _between(known.required().value(self.score))
        if self.classes:
            return self._by_class(known)
        wanted = _read(Path(self.to))
        images = len(known.problem.data.train)
        if wanted.ndim == 1:
            if len(wanted) != images:
                raise ValueError(
                    f"relevance: {self.to} holds {len(wanted)} numbers, expected one for each of the "
                    f"{images} training images"
                )
            return _between(wanted)
        features = known.features
        if wanted.ndim != 2 or not len(wanted) or wanted.shape[1] != features.shape[1]:
            raise ValueError(
                f"relevance: {self.to} has shape {tuple(wanted.shape)}, expected ({images},), a number an "
                f"image, or (T, {features.shape[1]}), features of targets in the embedding "
                f"{known.embedding}"
            )
        centre = features.mean(0)
        furthest = float(torch.linalg.vector_norm(wanted - centre, dim=1).max())
        extent = max(known.extent, 2 * furthest)
        return 1 - torch.cat([gap.amin(1) for _, gap in blocks(features, wanted, extent)]).float()

    def _by_class(self, known: Known) -> Tensor:
        task = known.problem.task
        weights = class_weights(self.name, self.classes, len(task.class_names))
        parts = [
            amounts @ weights / weights.max() / amounts.sum(1).clamp_min(1e-12)
            for _, amounts in held(known)
        ]
        return torch.cat(parts).float()


@register_criterion
@dataclass(frozen=True)
class Difficulty(ModularCriterion):
    """How hard the chosen images are: modular, the rank of an image's difficulty among all, from 0 to 1.

    Equal ones share the mean of their ranks. A negative weight asks for easy images.

    Attributes:
        score: By which, see :meth:`pydistill.scores.Scores.difficulty`; ``auto``: ``el2n`` where there is
            one, else ``loss``.
    """

    score: str = "auto"

    name: ClassVar[str] = "difficulty"

    @property
    def scored(self) -> bool:
        return True

    def each(self, known: Known) -> Tensor:
        scores, name = known.required(), self.score
        if name == "auto":
            name = "el2n" if "el2n" in scores.names else "loss"
        _, where, counts = torch.unique(scores.difficulty(name), return_inverse=True, return_counts=True)
        ranks: Tensor = counts.cumsum(0) - (counts + 1) / 2
        return (ranks[where] / max(1, len(where) - 1)).float()


@register_criterion
@dataclass(frozen=True)
class Balance(Criterion):
    """How near the shares of the classes in what is chosen are to those that are wanted.

    With n_c the amount of class c that the chosen images hold (images; pixels or objects in dense tasks),
    p_c the wanted share and A the amount of everything in all images, the total is
    sum_c sqrt(p_c n_c) / sqrt(A): concave in amounts, so monotone and submodular, and of all selections
    that hold as much the greatest where the shares are as wanted. The value is
    sum_c sqrt(p_c n_c / sum n), Bhattacharyya's coefficient of both shares: 1 where they agree.

    Attributes:
        classes: Shares that are wanted, ``2/1/0.5``; ``equal`` among the classes that there are; ``data``:
            as in the training images.
    """

    classes: str = "equal"

    name: ClassVar[str] = "balance"
    shape: ClassVar[Shape] = "submodular"

    def _wanted(self, known: Known) -> tuple[Tensor, float]:
        """(G,) float64 shares of sum 1, and how much there is of everything."""
        there = known.once("contents", lambda: _sum(known))
        shares = {"equal": (there > 0).double(), "data": there}.get(self.classes)
        if shares is None:
            shares = class_weights(self.name, self.classes, len(there))
        return shares / shares.sum().clamp_min(1e-12), max(float(there.sum()), 1e-12)

    def tally(self, candidates: Candidates) -> Tally:
        amounts = torch.cat([part for _, part in held(candidates.known, candidates.indices)])
        return _Balanced(amounts, *self._wanted(candidates.known))

    def total(self, candidates: Candidates, positions: Tensor) -> float:
        wanted, everything = self._wanted(candidates.known)
        chosen = _sum(candidates.known, candidates.indices[positions])
        return float((wanted * chosen).sqrt().sum()) / math.sqrt(everything)

    def value(self, known: Known, indices: Tensor) -> float:
        wanted, chosen = self._wanted(known)[0], _sum(known, indices)
        return min(1.0, float((wanted * chosen / chosen.sum().clamp_min(1e-12)).sqrt().sum()))


class _Balanced(Tally):
    def __init__(self, amounts: Tensor, wanted: Tensor, everything: float) -> None:
        self._amounts, self._weights = amounts, (wanted / everything).sqrt()
        self._chosen = torch.zeros_like(wanted)
        self.gains = amounts.sqrt() @ self._weights

    def add(self, position: int) -> None:
        self._chosen = self._chosen + self._amounts[position]
        more = (self._chosen + self._amounts).sqrt_() - self._chosen.sqrt()
        self.gains = more @ self._weights


def _between(values: Tensor) -> Tensor:
    """(N,) float32 brought to [0, 1] by the least and the greatest; 1 where all are equal."""
    low, high = values.aminmax()
    return ((values - low) / (high - low) if high > low else torch.ones_like(values)).float()


def _read(path: Path) -> Tensor:
    """Finite numbers in a ``.npy`` file, float32."""
    values = read_numbers(path, f"relevance: {path}")
    if not bool(values.isfinite().all()):
        raise ValueError(f"relevance: {path} holds NaN or infinity")
    return values


def _sum(known: Known, indices: Tensor | None = None) -> Tensor:
    """(G,) float64: how much images hold of each class."""
    classes = len(known.problem.task.class_names)
    return sum(
        (amounts.sum(0) for _, amounts in held(known, indices)), torch.zeros(classes, dtype=torch.float64)
    )
