"""The engine of distribution matching: what all its methods do, whatever the discrepancy and the layers.

An outer iteration draws a network, real images and one siamese augmentation a class, and keeps what is
needed of the real features; then the synthetic images take one or several steps down the discrepancies. A
method says which discrepancies, at which layers.
"""

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill import nets, optim
from pydistill.augment import Augmentation, Parameters
from pydistill.data.formation import check_factor, decode, repeat_targets
from pydistill.distribution.discrepancies import Term
from pydistill.distribution.discrepancies.base import as_sets
from pydistill.engine.initial import initial
from pydistill.engine.method import Family, Method, State, Synthetic, option
from pydistill.engine.pool import Networks, SyntheticBatch, parse_networks
from pydistill.engine.problem import Problem
from pydistill.machine import AUTO, PRECISIONS, resolve_precision
from pydistill.nets.features import Layer, parse_layers
from pydistill.selection.prototypes import representatives
from pydistill.storage.checkpoint import CACHE
from pydistill.tasks import Draw
from pydistill.tasks.base import chunks

QUICK: Mapping[str, object] = {
    "iterations": 300,
    "optimiser": "adam",
    "learning_rate": 0.05,
    "steps_per_network": 5,
}
"""The quick preset of most methods."""

_CANDIDATES = 4
"""Images a class that representative ones are chosen from, for each one chosen."""


@dataclass(frozen=True, kw_only=True)
class DistributionMatching(Method):
    """Images whose features in networks are distributed as the real ones', by one or more discrepancies."""

    family: ClassVar[Family] = "distribution matching"

    iterations: int = option(20_000, "image steps", low=1)
    learning_rate: float = option(1.0, "step size on the images", above=0)
    optimiser: str = option("sgd", "optimiser of the images", choices=("sgd", "adam"))
    momentum: float = option(0.5, "momentum of the image steps, under sgd", low=0)
    factor: int = option(1, "factor x factor images are kept in each stored one", low=1)
    batch_real: int = option(256, "real images a class in an outer iteration", low=1)
    real_batch: str = option(
        "random",
        "real images of an outer iteration: drawn at random, or nearest to the centres of clusters",
        choices=("random", "representative"),
    )
    renew_every: int = option(10, "outer iterations that representative real images are kept for", low=1)
    steps_per_network: int = option(1, "image steps an outer iteration: how long a network is kept", low=1)
    network: str = option("convnet", "network to embed in, for example convnet:width=64")
    networks: str = option("random", "random, pool, pool:size=5,longest=100,data=real, or folder:PATH")
    layers: str = option("embedding", "layers to match, for example blocks or block1:0.5,embedding")
    augment: str = option("auto", "siamese augmentation; auto: what suits the data; none")
    init: str = option(
        "real",
        "first images: real ones, those nearest to cluster centres, Gaussian noise, or what a selector "
        "chooses, for example greedy:embedding=thumbnails",
        choices=("real", "kmeans", "noise"),
        selectors=True,
    )
    real_precision: str = option(
        "float32",
        "number format of the real branch; auto: bfloat16 where the device multiplies it natively",
        choices=(AUTO, *PRECISIONS),
    )

    @abstractmethod
    def terms(self, layers: Sequence[Layer], names: Sequence[str]) -> tuple[Term, ...]:
        """What is compared where; ``layers`` are those of the option, ``names`` the network's blocks."""

    @property
    def steps(self) -> int:
        return self.iterations

    def start(self, problem: Problem) -> State:
        check_factor(self.factor, problem.data.shape)
        self._terms(problem)  # refuses unknown layers and options before anything is drawn
        first = initial(problem, self.factor, self.init, self._first(problem))
        return {
            "images": first.images,
            "targets": first.targets,
            "groups": first.groups.to(problem.device),
            "optimiser": self._image_optimiser.init({"images": first.images}),
            "networks": self._networks.start(problem, self.network),
            "outer": -1,
            "learned": [],
        }

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        outer = index // self.steps_per_network
        if state["outer"] != outer:
            self._next_outer(problem, state, outer)
        if CACHE not in state:
            state[CACHE] = self._stage(problem, state, outer)
        losses, gradient = self._gradient(problem, state, index)
        moved, state["optimiser"] = self._image_optimiser.update(
            {"images": state["images"]}, {"images": gradient}, state["optimiser"], self.learning_rate
        )
        state["images"] = moved["images"]
        parts = losses if len(losses) > 1 else {}
        return {"loss": torch.stack(list(losses.values())).sum(), **parts}

    def result(self, problem: Problem, state: State) -> Synthetic:
        return Synthetic(state["images"], state["targets"], self._augment(problem), factor=self.factor)

    # ---- what an outer iteration is made of ---------------------------------------------------------

    def _next_outer(self, problem: Problem, state: State, outer: int) -> None:
        """Let the networks learn from the outer iteration that is over, and forget what belongs to it."""
        if outer:
            images, targets = decode(state["images"], self.factor), state["targets"]
            batch = SyntheticBatch(images, repeat_targets(targets, self.factor), self._augment(problem))
            self._networks.advance(problem, self.network, state["networks"], outer - 1, batch)
        state.pop(CACHE, None)
        state["outer"] = outer

    def _stage(self, problem: Problem, state: State, outer: int) -> "_Stage":
        """Network, augmentation and real features of an outer iteration; the same whenever it is made."""
        network = self._networks.network(problem, self.network, state["networks"], outer)
        augmentation = Augmentation.parse(self._augment(problem))
        parameters = augmentation.sample(
            len(problem.groups),
            problem.generator("augmentation", outer),
            together=False,
            size=problem.data.shape[1:],
        )
        draw = self._real_batch(problem, state, network, outer)
        dtype = getattr(torch, resolve_precision(self.real_precision, problem.device))
        encoder = network  # a copy where rounded: the synthetic branch keeps its float32 weights
        if dtype != torch.float32:
            encoder = copy.deepcopy(network).to(dtype)
        stage = _Stage(network, augmentation, parameters, self._terms(problem), [], [])
        with torch.no_grad():
            accumulators = [_FeatureAccumulator(term, problem) for term in stage.terms]
            for part in problem.chunks(len(draw.indices)):
                images, groups = problem.images(draw.indices[part], dtype), draw.groups[part]
                features = stage.features(encoder, images, groups)
                for accumulator, found in zip(accumulators, features, strict=True):
                    accumulator.add(found, problem.targets(draw.indices[part]), groups.to(problem.device))
        stage.real.extend(accumulator.total() for accumulator in accumulators)
        stage.sizes.extend(accumulator.sizes() for accumulator in accumulators)
        for at, (term, real) in enumerate(zip(stage.terms, stage.real, strict=True)):
            generator = problem.generator("discrepancy", at, outer)
            if len(state["learned"]) == at:
                state["learned"].append({"outer": outer, **term.discrepancy.start(real, generator)})
            elif term.discrepancy.renewed and state["learned"][at]["outer"] != outer:
                state["learned"][at] = {"outer": outer, **term.discrepancy.start(real, generator)}
            term.discrepancy.prepare(real, state["learned"][at])
        return stage

    def _real_batch(self, problem: Problem, state: State, network: nets.Network, outer: int) -> Draw:
        if self.real_batch == "random":
            return problem.groups.draw(
                self.batch_real, problem.generator("real batch", outer), strict=False
            )
        age = outer % self.renew_every
        if age == 0 or "representatives" not in state:
            wide = problem.groups.draw(
                _CANDIDATES * self.batch_real, problem.generator("real batch", outer), strict=False
            )
            chosen = representatives(
                problem, wide, self.batch_real, lambda x: network(x, "embedding"), "real batch", outer
            )
            state["representatives"] = {"indices": chosen.indices, "groups": chosen.groups}
        kept = state["representatives"]
        return Draw(kept["indices"].cpu(), kept["groups"].cpu())

    # ---- the images' gradient ---------------------------------------------------------------------------

    def _gradient(self, problem: Problem, state: State, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Losses by term and the gradient to the stored images, in as many passes as memory asks for."""
        stage: _Stage = state[CACHE]
        stored = max(1, problem.max_graph // self.factor**2)
        parts = chunks(len(state["images"]), stored)
        images = state["images"].detach().requires_grad_()
        if len(parts) == 1:
            accumulators = self._synthetic_features(problem, state, images, slice(None))
            losses = self._losses(problem, state, accumulators, index)
            (gradient,) = torch.autograd.grad(_total(losses), images)
            return _detached(losses), gradient

        # two passes: all features without a graph, then each part's graph with the features' gradient
        accumulators = [_FeatureAccumulator(term, problem) for term in stage.terms]
        with torch.no_grad():
            for part in parts:
                for accumulator, more in zip(
                    accumulators, self._synthetic_features(problem, state, images[part], part), strict=True
                ):
                    accumulator.join(more)
        leaves = [accumulator.leaves() for accumulator in accumulators]
        losses = self._losses(problem, state, accumulators, index)
        flat = iter(torch.autograd.grad(_total(losses), [leaf for each in leaves for leaf in each]))
        slopes = [[next(flat) for _ in each] for each in leaves]
        gradient = torch.empty_like(images)
        for at, part in enumerate(parts):
            own = images.detach()[part].requires_grad_()
            outputs = [
                accumulator.pieces[0] for accumulator in self._synthetic_features(problem, state, own, part)
            ]
            wanted = [slope[at] if len(slope) > 1 else slope[0] for slope in slopes]
            (gradient[part],) = torch.autograd.grad(outputs, own, wanted)
        return _detached(losses), gradient

    def _synthetic_features(
        self, problem: Problem, state: State, images: Tensor, part: slice
    ) -> list["_FeatureAccumulator"]:
        """Accumulated features of stored images (M, C, H, W): those in ``part`` of the set."""
        stage: _Stage = state[CACHE]
        groups = repeat_targets(state["groups"][part], self.factor)
        targets = repeat_targets(state["targets"][part], self.factor)
        accumulators = [_FeatureAccumulator(term, problem) for term in stage.terms]
        features = stage.features(stage.network, decode(images, self.factor), groups)
        for accumulator, found in zip(accumulators, features, strict=True):
            accumulator.add(found, targets, groups)
        return accumulators

    def _losses(
        self, problem: Problem, state: State, synthetic: Sequence["_FeatureAccumulator"], index: int
    ) -> dict[str, Tensor]:
        stage: _Stage = state[CACHE]
        losses = {}
        for at, (term, accumulator, real) in enumerate(
            zip(stage.terms, synthetic, stage.real, strict=True)
        ):
            learned, ours = state["learned"][at], accumulator.total()
            if not term.discrepancy.additive:
                sizes = accumulator.sizes(), stage.sizes[at]
                self._require(term, problem, *sizes)
                term.discrepancy.told_sizes(*sizes, learned)
            term.discrepancy.learn(ours.detach(), real, learned, problem.generator("learn", at, index))
            loss = term.discrepancy.loss(ours, real, learned, index / self.iterations)
            losses[term.name] = term.layer.weight * loss
        return losses

    def _require(self, term: Term, problem: Problem, synthetic: Sequence[int], real: Sequence[int]) -> None:
        """Raise ``ValueError`` naming a class of fewer images than a term needs."""
        least = term.discrepancy.least_images
        for kind, sizes in (("real", real), ("synthetic", synthetic)):
            for name, size in zip(problem.groups.names, sizes, strict=True):
                if size < least:
                    raise ValueError(
                        f"{term.name} needs {least} images a class, found {size} {kind} one "
                        f"of class {name!r}"
                    )

    # ---- what the options mean ------------------------------------------------------------------------

    @property
    def _image_optimiser(self) -> optim.Optimiser:
        return optim.Sgd(momentum=self.momentum) if self.optimiser == "sgd" else optim.Adam()

    @property
    def _networks(self) -> Networks:
        return parse_networks(self.networks)

    def _augment(self, problem: Problem) -> str:
        return problem.augment(self.augment)

    def _terms(self, problem: Problem) -> tuple[Term, ...]:
        names = nets.block_names(self.network, problem.data.shape, problem.task.outputs)
        return self.terms(parse_layers(self.layers, names), names)

    def _first(self, problem: Problem) -> Draw | None:
        """Real images to start from where they are not just drawn."""
        if self.init != "kmeans":
            return None
        generator, packed = problem.generator("initial images"), self.factor**2
        problem.require(packed)
        network = self._networks.network(
            problem, self.network, self._networks.start(problem, self.network), 0
        )
        each = [count * packed for count in problem.each]
        wide = problem.groups.draw(max(512, _CANDIDATES * max(each)), generator, strict=False)
        return representatives(problem, wide, each, lambda x: network(x, "embedding"), "initial images")


@dataclass(frozen=True)
class _Stage:
    """What an outer iteration's steps share."""

    network: nets.Network
    augmentation: Augmentation
    rows: Parameters
    terms: tuple[Term, ...]
    real: list[Tensor]
    sizes: list[list[int]]

    def features(self, network: nets.Network, images: Tensor, groups: Tensor) -> list[Tensor]:
        """What each term compares of images (M, C, H, W), augmented as their groups are: (M, D) each."""
        blocks = network(self.augmentation.apply_images(images, self.rows.rows(groups)), "blocks")
        return [term.discrepancy.represent(term.layer.of(blocks)) for term in self.terms]


class _FeatureAccumulator:
    """Features of one term, gathered over the parts of a batch: sums by group, or the features."""

    def __init__(self, term: Term, problem: Problem) -> None:
        self._additive, self._problem = term.discrepancy.additive, problem
        self.pieces: list[Tensor] = []
        self._mass: Tensor | None = None
        self._groups: list[Tensor] = []

    def add(self, features: Tensor, targets: Tensor, groups: Tensor) -> None:
        """Features (M, D) of images with these targets, drawn for these groups."""
        if not self._additive:
            self.pieces.append(features if features.dtype == torch.float64 else features.float())
            self._groups.append(groups)
            return
        sums, mass = self._problem.task.group_sums(features, targets)
        if self._mass is None:
            self.pieces, self._mass = [sums], mass
        else:
            self.pieces, self._mass = [self.pieces[0] + sums], self._mass + mass

    def join(self, other: "_FeatureAccumulator") -> None:
        """Take up another part's."""
        if not self._additive or self._mass is None:
            self.pieces += other.pieces
            self._groups += other._groups
            self._mass = other._mass
        elif other._mass is not None:
            self.pieces, self._mass = [self.pieces[0] + other.pieces[0]], self._mass + other._mass

    def leaves(self) -> list[Tensor]:
        """The pieces, made the start of a graph."""
        self.pieces = [piece.detach().requires_grad_() for piece in self.pieces]
        return self.pieces

    def sizes(self) -> list[int]:
        """Images of each group, where whole sets are compared."""
        if self._mass is not None:
            return []
        return torch.bincount(torch.cat(self._groups), minlength=len(self._problem.groups)).tolist()

    def total(self) -> Tensor:
        """Means (G, D) or sets (G, N, D)."""
        if self._mass is not None:
            return self.pieces[0] / self._mass[:, None]
        return as_sets(torch.cat(self.pieces), torch.cat(self._groups), len(self._problem.groups))


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


def _detached(losses: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: loss.detach() for name, loss in losses.items()}
