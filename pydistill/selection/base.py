"""What a selector is: a method that chooses training images, by what is known of them.

A selector decides group by group (a class, where the task is classification; else all images at once),
from :class:`Candidates`: their embedding, their scores. What it needs of those is had once for a run:
from a folder of scores, or by training networks first, which a run tells and keeps as it does of every
method.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from pydistill.data.formation import check_factor, pack
from pydistill.data.weights import normalised
from pydistill.engine.method import Family, Method, State, Synthetic, option
from pydistill.engine.preparation import Interim, Telling, unheard
from pydistill.engine.problem import Problem
from pydistill.modes import plain_modes
from pydistill.scores.embedding import embed
from pydistill.scores.run import Scoring
from pydistill.scores.store import Scores
from pydistill.scores.training import ScoreTraining
from pydistill.tasks import Draw
from pydistill.tasks.base import chunks

T = TypeVar("T")

_PART = "scores"
_AT_ONCE = 4096
"""Rows of an embedding that are copied at once: bounds memory."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Training images that were chosen.

    Attributes:
        indices: (M,) int64 positions in the training split, all different; those of the first group first,
            within a group in the order in which they were chosen.
        groups: (M,) int64, the group that each was chosen for.
        weights: (M,) float32 of mean 1, how much each counts in training; None: all alike.
        order: (M,) int64 positions in ``indices``: the first k of ``indices[order]`` are what a budget of k
            images selects, however many k. None: the method chooses differently for each size.
    """

    indices: Tensor
    groups: Tensor
    weights: Tensor | None = None
    order: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)


class Chosen(NamedTuple):
    """What was chosen of one group's candidates.

    Attributes:
        positions: (m,) int64 positions among the candidates, in the order in which they were chosen.
        weights: (m,) not negative; None: all alike. Those of several groups are on one scale.
    """

    positions: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Known:
    """What a selector may look at: the training images and what is known of them.

    Attributes:
        problem: Data, budget, seed, device.
        embedding: What :func:`pydistill.scores.embed` takes.
        scores: None where none are needed.
    """

    problem: Problem
    embedding: str = "random"
    scores: Scores | None = None
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, made when a key is first asked for."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found

    @cached_property
    def features(self) -> Tensor:
        """(N, D) float32, see :func:`pydistill.scores.embed`."""
        problem = self.problem
        return embed(
            problem.data,
            problem.data.train,
            self.embedding,
            seed=problem.seed,
            device=problem.device,
            scores=self.scores,
        )

    @cached_property
    def extent(self) -> float:
        """Twice the greatest distance of an image's features from their mean: no two are further apart."""
        centre = self.features.mean(0)
        parts = (self.features[part] - centre for part in chunks(len(self.features), _AT_ONCE))
        return 2 * max(float(torch.linalg.vector_norm(part, dim=1).max()) for part in parts)

    def required(self) -> Scores:
        """The scores.

        Raises:
            ValueError: There are none.
        """
        if self.scores is None:
            raise ValueError("scores of the training images are needed: compute_scores makes them")
        return self.scores

    def groups(self) -> "list[Candidates]":
        """The candidates of each group."""
        return [Candidates(self, at, each) for at, each in enumerate(self.problem.groups.members)]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The training images of one group.

    Attributes:
        known: What is known of all.
        group: Which group.
        indices: (n,) int64 positions in the training split, ascending.
    """

    known: Known
    group: int
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def targets(self) -> Tensor:
        """(n, ...) targets, on the CPU."""
        return self.known.problem.data.train.targets[self.indices]

    def features(self) -> Tensor:
        """(n, D) float32 embedding, on the CPU."""
        every = self.known.features
        return every if len(self) == len(every) else every[self.indices]

    def score(self, name: str) -> Tensor:
        """(n,) float32, see :meth:`pydistill.scores.Scores.value`."""
        return self.known.required().value(name)[self.indices]

    def difficulty(self, name: str) -> Tensor:
        """(n,) float32, see :meth:`pydistill.scores.Scores.difficulty`."""
        return self.known.required().difficulty(name)[self.indices]

    def gradients(self) -> tuple[Tensor, Tensor]:
        """Gradients of the loss by the last layer's weights and biases, in factors.

        Returns:
            Residuals (n, K), derivatives by the outputs, and inputs (n, D + 1) of the layer, the last
            column 1 for the bias: the gradient of image i is their outer product, and that of i times that
            of j is the product of both inner products.

        Raises:
            ValueError: The scores have none, since an image is of no one class.
        """
        scores = self.known.required()
        if scores.residual is None:
            raise ValueError(f"scores of {scores.data} hold no gradients of the last layer")
        rows = self.indices.numpy()
        residuals = torch.from_numpy(scores.residual[rows].astype("float32"))
        inputs = torch.from_numpy(scores.embedding[rows].astype("float32"))
        return residuals, torch.cat([inputs, torch.ones(len(inputs), 1)], 1)


@dataclass(frozen=True, kw_only=True)
class Selector(Method):
    """A method that chooses training images.

    A subclass chooses from one group (:meth:`choose`), or, where groups bear on each other, from all
    (:meth:`choose_all`).

    Class attributes:
        nested: Whether the first k that are chosen of a group are what is chosen where k are asked for.
    """

    family: ClassVar[Family] = "selection"
    nested: ClassVar[bool] = False

    factor: int = option(1, "real images along each side of a stored one", low=1)

    @property
    def steps(self) -> int:
        return 0

    @property
    def scored(self) -> bool:
        """Whether it looks at scores."""
        return False

    @property
    def looks_at(self) -> str:
        """The embedding that it looks at, if it does."""
        return "random"

    def settings(self) -> ScoreTraining:
        """How networks are trained to score images by, where no folder of scores is named."""
        return ScoreTraining()

    def folder(self) -> str | None:
        """Of scores that are there already; None: they are computed."""
        return None

    @abstractmethod
    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        """``count`` of a group's candidates, at least 1 and at most all of them, all different.

        Args:
            candidates: Of one group.
            count: How many.
            generator: Where every draw comes from.
        """

    def choose_all(self, known: Known, wanted: Sequence[int]) -> list[Chosen]:
        """From each group as many as ``wanted`` says, at most all of it."""
        return [
            self.choose(each, count, known.problem.generator("selection", self.name, each.group))
            if count
            else Chosen(torch.zeros(0, dtype=torch.int64))
            for each, count in zip(known.groups(), wanted, strict=True)
        ]

    @plain_modes()
    def select(self, problem: Problem, scores: Scores | None = None) -> Selection:
        """The images that a budget asks for.

        Args:
            problem: Data, budget, seed, device.
            scores: Of the data's training images, where the selector looks at scores; None: from its
                folder, or computed now.

        Raises:
            ValueError: The budget comes to no image or to more than there are of a class (unless short
                classes are kept), or scores or the embedding do not fit the data.
        """
        check_factor(self.factor, problem.data.shape)
        packed = self.factor**2
        problem.require(packed)
        if scores is None and self.scored:
            scores = unheard(self._scores(problem, Interim()))
        if scores is not None:
            scores.require(problem.data)
        known = Known(problem, self.looks_at, scores)
        members = problem.groups.members
        wanted = [min(each * packed, len(own)) for each, own in zip(problem.each, members, strict=True)]
        found = self.choose_all(known, wanted)
        for chosen, count in zip(found, wanted, strict=True):
            if len(torch.unique(chosen.positions)) != count or len(chosen.positions) != count:
                raise AssertionError(
                    f"{self.name} chose {len(chosen.positions)} images, not {count} different"
                )
        return Selection(
            torch.cat([own[chosen.positions] for own, chosen in zip(members, found, strict=True)]),
            torch.cat([torch.full((count,), at) for at, count in enumerate(wanted)]),
            _weights(found),
            _in_turn(wanted) if self.nested else None,
        )

    def prepare(self, problem: Problem, interim: Interim) -> Telling[State]:
        problem.require(self.factor**2)
        scores = None
        if self.scored:
            scores = yield from self._scores(problem, interim)
        selection = self.select(problem, scores)
        stored = pack(problem.data, Draw(selection.indices, selection.groups), self.factor, problem.device)
        state: State = {"images": stored.images, "targets": stored.targets, "indices": stored.indices}
        if selection.weights is not None:
            state["weights"] = _of_stored(selection, self.factor**2)
        return state

    def start(self, problem: Problem) -> State:
        return unheard(self.prepare(problem, Interim()))

    def step(self, problem: Problem, state: State, index: int) -> dict[str, float]:
        raise IndexError(f"a selection has no iterations, asked for number {index}")

    def result(self, problem: Problem, state: State) -> Synthetic:
        return Synthetic(
            state["images"],
            state["targets"],
            factor=self.factor,
            weights=state.get("weights"),
            indices=state["indices"],
        )

    def _scores(self, problem: Problem, interim: Interim) -> Telling[Scores]:
        """From the folder, or computed, epoch by epoch."""
        folder = self.folder()
        if folder is not None:
            found = Scores.load(folder)
            found.require(problem.data)
            return found
        scoring = Scoring(problem.data, self.settings(), problem.seed, problem.device)
        kept = interim.find(_PART)
        if kept is not None:
            scoring.restore(kept)
        for event in scoring.run():
            interim.keep(_PART, scoring.state, last=event.done == event.total)
            yield event
        return scoring.scores()


@dataclass(frozen=True, kw_only=True)
class ScoredSelector(Selector):
    """A selector that looks at scores of the training images."""

    scores: str | None = option(None, "folder of scores, from pydistill scores; none: networks are trained")
    network: str = option("auto", "network that is trained to score images, where no scores are given")
    epochs: int = option(0, "passes over the training images of such a network; 0: what suits", low=0)
    networks: int = option(1, "such networks, whose scores are averaged", low=1)

    @property
    def scored(self) -> bool:
        return True

    def settings(self) -> ScoreTraining:
        return ScoreTraining(network=self.network, epochs=self.epochs, networks=self.networks)

    def folder(self) -> str | None:
        return self.scores


@dataclass(frozen=True, kw_only=True)
class EmbeddingSelector(ScoredSelector):
    """A selector that looks at an embedding; at scores, where that is of a trained network."""

    embedding: str = option("random", "random, trained, thumbnails or a .npy file of a row an image")

    @property
    def scored(self) -> bool:
        return self.embedding == "trained"

    @property
    def looks_at(self) -> str:
        return self.embedding


def _weights(found: Sequence[Chosen]) -> Tensor | None:
    """Weights of all groups, of mean 1; None: there are none, or they are all zero."""
    if all(chosen.weights is None for chosen in found):
        return None
    parts = [
        torch.ones(len(chosen.positions)) if chosen.weights is None else chosen.weights.float()
        for chosen in found
    ]
    every = torch.cat(parts)
    return normalised(every) if bool(every.any()) else None


def _in_turn(wanted: Sequence[int]) -> Tensor:
    """Groups' first images, then their second ones, and so on: as a budget in all is shared out."""
    firsts = torch.tensor([0, *wanted]).cumsum(0)
    turns = [
        int(firsts[group]) + turn
        for turn in range(max(wanted))
        for group, count in enumerate(wanted)
        if turn < count
    ]
    return torch.tensor(turns, dtype=torch.int64)


def _of_stored(selection: Selection, packed: int) -> Tensor:
    """(M,) weights of stored images, the mean over those that each is packed of, as packing has them."""
    assert selection.weights is not None
    found = []
    for group in torch.unique(selection.groups):
        own = selection.weights[selection.groups == group]
        stored = -(-len(own) // packed)
        found.append(own[torch.arange(stored * packed) % len(own)].view(stored, packed).mean(1))
    return normalised(torch.cat(found))
