"""Gradient matching: images on which a network's gradient is what it is on the real ones.

An outer iteration has a network, real images of each class and one siamese augmentation a class; the real
gradients are taken once. Then the synthetic images take one or several steps down the distance of their own
gradients, class by class, and the network goes on to its next age.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import optim
from pydistill.augment import Augmentation, Parameters
from pydistill.data.formation import decode, repeat_targets
from pydistill.engine.initial import INITS, initial
from pydistill.engine.method import Family, Method, State, Synthetic, option, register
from pydistill.engine.pool import Networks, Pool, SyntheticBatch, parse_networks, recalibrate_batch_norm
from pydistill.engine.problem import Problem
from pydistill.ops import gradient_distance
from pydistill.ops.gradient_distance import KINDS
from pydistill.optim.schedules import SCHEDULES
from pydistill.parameter.gradients import MATCHED, PER, Gradients
from pydistill.storage.checkpoint import CACHE
from pydistill.tasks.base import chunks

ALTERNATE = "alternate"
"""The networks of arXiv:2006.05929: one at a time, matched in and trained on the images in turn."""

_RECALIBRATION = 16
"""Real images a class that batch normalisation takes its statistics from, as the papers' code does."""

_PUBLISHED = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""By images a class: matches in one network, and epochs that it is trained for after each."""

_TRAINING_BATCH, _TRAINING_RATE = 256, 0.01


def alternation(ipc: int) -> tuple[int, int]:
    """(matches in a network, epochs of training after each) for any number of images a class.

    The published pairs where there are; between them, the line; beyond them, the last.
    """
    low = max(key for key in _PUBLISHED if key <= ipc)
    high = min((key for key in _PUBLISHED if key >= ipc), default=low)
    if low == high:
        return _PUBLISHED[low]
    share = (ipc - low) / (high - low)
    matches, epochs = (
        round(one + share * (other - one))
        for one, other in zip(_PUBLISHED[low], _PUBLISHED[high], strict=True)
    )
    return matches, epochs


@dataclass(frozen=True, kw_only=True)
class GradientMatching(Method):
    """Images whose gradients in a network's parameters are the real ones', class by class."""

    family: ClassVar[Family] = "parameter matching"

    iterations: int = option(10_000, "image steps", low=1)
    learning_rate: float = option(0.1, "step size on the images", above=0)
    optimiser: str = option("sgd", "optimiser of the images", choices=("sgd", "adam"))
    momentum: float = option(0.5, "momentum of the image steps, under sgd", low=0)
    schedule: str = option("constant", "of the step size over the iterations", choices=tuple(SCHEDULES))
    factor: int = option(1, "factor x factor images are kept in each stored one", low=1)
    batch_real: int = option(256, "real images a class in an outer iteration", low=1)
    steps_per_network: int = option(
        1, "image steps an outer iteration: how long a network is kept as it is", low=1
    )
    network: str = option("convnet", "network to match in, for example convnet:width=64")
    networks: str = option(
        ALTERNATE,
        "alternate (one, matched in and trained on the images in turn, as often as the paper has it for "
        "so many images a class), random, pool, pool:size=5,longest=100,data=real, or folder:PATH",
    )
    distance: str = option("cosine", "of gradients", choices=KINDS)
    per: str = option("channel", "what the distance is taken of: output channels, or all", choices=PER)
    matched: str = option(
        "weights", "parameters: weights, filters (of convolutions alone), or all", choices=MATCHED
    )
    classes_at_once: int | None = option(
        None,
        "classes in one vectorised pass; none: 1 on a CPU, elsewhere as memory allows",
        low=1,
        memory=True,
    )
    augment: str = option("none", "siamese augmentation; auto: what suits the data; none")
    init: str = option(
        "real", "first images: real ones, Gaussian noise, or a selector's", choices=INITS, selectors=True
    )

    @property
    def steps(self) -> int:
        return self.iterations

    def start(self, problem: Problem) -> State:
        Augmentation.parse(problem.augment(self.augment))
        networks = self._networks(problem)  # refuses unknown options before anything is drawn
        first = initial(problem, self.factor, self.init)
        return {
            "images": first.images,
            "targets": first.targets,
            "groups": first.groups.to(problem.device),
            "optimiser": self._image_optimiser.init({"images": first.images}),
            "networks": networks.start(problem, self.network),
            "outer": -1,
        }

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        outer = index // self.steps_per_network
        if state["outer"] != outer:
            self._next_outer(problem, state, outer)
        if CACHE not in state:
            state[CACHE] = self._stage(problem, state, outer)
        loss, gradient = self._gradient(problem, state)
        rate = self.learning_rate * SCHEDULES[self.schedule](index, self.iterations)
        moved, state["optimiser"] = self._image_optimiser.update(
            {"images": state["images"]}, {"images": gradient}, state["optimiser"], rate
        )
        state["images"] = moved["images"]
        return {"loss": loss}

    def result(self, problem: Problem, state: State) -> Synthetic:
        augment = problem.augment(self.augment)
        # without augmentation in matching, networks are still trained with what suits the data
        chosen = None if augment == "none" else augment
        return Synthetic(state["images"], state["targets"], chosen, factor=self.factor)

    # ---- what an outer iteration is made of ---------------------------------------------------------

    def _next_outer(self, problem: Problem, state: State, outer: int) -> None:
        """Let the networks learn from the outer iteration that is over, and forget what belongs to it."""
        if outer:
            batch = SyntheticBatch(
                decode(state["images"], self.factor),
                repeat_targets(state["targets"], self.factor),
                problem.augment(self.augment),
            )
            networks = self._networks(problem)
            networks.advance(problem, self.network, state["networks"], outer - 1, batch)
        state.pop(CACHE, None)
        state["outer"] = outer

    def _stage(self, problem: Problem, state: State, outer: int) -> "_Stage":
        """Network, augmentation and real gradients of an outer iteration; the same whenever it is made."""
        network = self._networks(problem).network(problem, self.network, state["networks"], outer)
        if any(True for _ in network.buffers()):
            few = problem.groups.draw(_RECALIBRATION, problem.generator("settling", outer), strict=False)
            recalibrate_batch_norm(network, problem.images(few.indices))
        augmentation = Augmentation.parse(problem.augment(self.augment))
        parameters = augmentation.sample(
            len(problem.groups),
            problem.generator("augmentation", outer),
            together=False,
            size=problem.data.shape[1:],
        )
        gradients = Gradients(network, problem.task.loss, self.matched)
        offsets = torch.tensor(gradients.offsets(self.per), device=problem.device)
        stage = _Stage(gradients, offsets, augmentation, parameters, [])
        draw = problem.groups.draw(self.batch_real, problem.generator("real batch", outer), strict=False)
        members = [draw.indices[draw.groups == group] for group in range(len(problem.groups))]
        for group, member in enumerate(members):
            total = torch.zeros(gradients.size, device=problem.device)
            for part in problem.chunks(len(member)):
                own = member[part]
                images = stage.augmented(problem.images(own), torch.full((len(own),), group))
                found = gradients.of(images, problem.targets(own), differentiable=False)
                total += found * (len(own) / len(member))
            stage.real.append(total)
        return stage

    # ---- the images' gradient ---------------------------------------------------------------------------

    def _gradient(self, problem: Problem, state: State) -> tuple[Tensor, Tensor]:
        """The distance, summed over classes, and its gradient to the stored images."""
        gradient = torch.zeros_like(state["images"])
        loss = torch.zeros((), device=problem.device)
        for classes in self._together(problem, state):
            at = torch.cat([torch.nonzero(state["groups"] == group).flatten() for group in classes])
            images = state["images"].detach()[at]
            few = max(1, problem.max_graph // self.factor**2)
            if len(classes) == 1 and len(at) > few:
                value, slope = self._in_parts(state, images, at, classes[0], few)
            else:
                leaf = images.requires_grad_()
                distance = self._distance(state, self._synthetic(state, leaf, at, len(classes)), classes)
                (slope,) = torch.autograd.grad(distance, leaf)
                value = distance.detach()
            gradient[at] = slope
            loss = loss + value
        return loss, gradient

    def _in_parts(
        self, state: State, images: Tensor, at: Tensor, group: int, few: int
    ) -> tuple[Tensor, Tensor]:
        """One class in parts of ``few`` images: its gradient first, then each part's share of the slope."""
        parts = chunks(len(at), few)
        shares = [len(at[part]) / len(at) for part in parts]
        with torch.no_grad():
            pieces = [
                share * self._one(state, images[part], at[part], False)
                for part, share in zip(parts, shares, strict=True)
            ]
        total = torch.stack(pieces).sum(0)[None].requires_grad_()
        distance = self._distance(state, total, [group])
        (cotangent,) = torch.autograd.grad(distance, total)
        slopes = []
        for part, share in zip(parts, shares, strict=True):
            leaf = images[part].requires_grad_()
            found = self._one(state, leaf, at[part], True)
            slopes.append(torch.autograd.grad(found, leaf, share * cotangent[0])[0])
        return distance.detach(), torch.cat(slopes)

    def _synthetic(self, state: State, images: Tensor, at: Tensor, classes: int) -> Tensor:
        """(G, P) gradients of stored images of ``classes`` classes, as many of each."""
        if classes == 1:
            return self._one(state, images, at, True)[None]
        stage: _Stage = state[CACHE]
        groups, targets = (repeat_targets(state[name][at], self.factor) for name in ("groups", "targets"))
        views = stage.augmented(decode(images, self.factor), groups)
        each = len(views) // classes
        return stage.gradients.of_each(
            views.view(classes, each, *views.shape[1:]), targets.view(classes, each, *targets.shape[1:])
        )

    def _one(self, state: State, images: Tensor, at: Tensor, differentiable: bool) -> Tensor:
        stage: _Stage = state[CACHE]
        groups, targets = (repeat_targets(state[name][at], self.factor) for name in ("groups", "targets"))
        views = stage.augmented(decode(images, self.factor), groups)
        return stage.gradients.of(views, targets, differentiable=differentiable)

    def _distance(self, state: State, gradients: Tensor, classes: list[int]) -> Tensor:
        stage: _Stage = state[CACHE]
        real = torch.stack([stage.real[group] for group in classes])
        return gradient_distance(gradients, real, stage.offsets, self.distance).sum()

    def _together(self, problem: Problem, state: State) -> Iterator[list[int]]:
        """Classes by how many are matched in one pass; those have equally many images."""
        count = self.classes_at_once
        if count is None:
            each = problem.ipc * self.factor**2
            count = 1 if problem.device.type == "cpu" else max(1, problem.max_graph // each)
        sizes = problem.groups.stored(problem.each, self.factor**2)
        for size in dict.fromkeys(sizes):
            alike = [group for group, found in enumerate(sizes) if found == size]
            for part in chunks(len(alike), count):
                yield alike[part]

    # ---- what the options mean ------------------------------------------------------------------------

    @property
    def _image_optimiser(self) -> optim.Optimiser:
        return optim.Sgd(momentum=self.momentum) if self.optimiser == "sgd" else optim.Adam()

    def _networks(self, problem: Problem) -> Networks:
        if self.networks != ALTERNATE:
            return parse_networks(self.networks)
        matches, epochs = alternation(problem.ipc)
        images = sum(problem.groups.stored(problem.each, self.factor**2)) * self.factor**2
        steps = epochs * -(-images // _TRAINING_BATCH)
        return Pool(
            size=1,
            shortest=matches * steps,
            longest=matches * steps,
            steps=steps,
            batch=_TRAINING_BATCH,
            rate=_TRAINING_RATE,
            momentum=0.0,
        )


@dataclass(frozen=True)
class _Stage:
    """What an outer iteration's steps share; ``real`` holds a gradient (P,) a class."""

    gradients: Gradients
    offsets: Tensor
    augmentation: Augmentation
    rows: Parameters
    real: list[Tensor]

    def augmented(self, images: Tensor, groups: Tensor) -> Tensor:
        """Images (M, C, H, W), augmented as their groups are."""
        return self.augmentation.apply_images(images, self.rows.rows(groups))


@register
@dataclass(frozen=True, kw_only=True)
class DatasetCondensation(GradientMatching):
    """DC: gradients of output channels in networks that are trained on the images as they are matched in.

    [0] B. Zhao, K. R. Mopuri, H. Bilen: Dataset Condensation with Gradient Matching. ICLR 2021,
        arXiv:2006.05929, algorithm 1 and equation 10.
    """

    name: ClassVar[str] = "dc"
    citation: ClassVar[str] = (
        "B. Zhao, K. R. Mopuri, H. Bilen: Dataset Condensation with Gradient Matching. ICLR 2021, "
        "arXiv:2006.05929"
    )
    summary: ClassVar[str] = "gradients of output channels, class by class"
    presets: ClassVar = {
        "quick": {
            "iterations": 200,
            "optimiser": "adam",
            "learning_rate": 0.02,
            "steps_per_network": 5,
            "batch_real": 128,
        },
        "paper": {},
    }


@register
@dataclass(frozen=True, kw_only=True)
class DifferentiableSiameseAugmentation(GradientMatching):
    """DSA: DC with one augmentation for the real and the synthetic images of a class.

    [0] B. Zhao, H. Bilen: Dataset Condensation with Differentiable Siamese Augmentation. ICML 2021,
        arXiv:2102.08259, equation 7.
    """

    name: ClassVar[str] = "dsa"
    citation: ClassVar[str] = (
        "B. Zhao, H. Bilen: Dataset Condensation with Differentiable Siamese Augmentation. ICML 2021, "
        "arXiv:2102.08259"
    )
    summary: ClassVar[str] = "dc under one augmentation of real and synthetic images"
    presets: ClassVar = {
        "quick": DatasetCondensation.presets["quick"],
        "paper": {},
    }

    augment: str = option("auto", "siamese augmentation; auto: what suits the data; none")


@register
@dataclass(frozen=True, kw_only=True)
class EfficientParameterization(GradientMatching):
    """IDC: several images in each stored one, and networks trained on real data to match in.

    [0] J.-H. Kim, J. Kim, S. J. Oh, S. Yun, H. Song, J. Jeong, J.-W. Ha, H. O. Song: Dataset Condensation
        via Efficient Synthetic-Data Parameterization. ICML 2022, arXiv:2205.14959, algorithm 1.
    """

    name: ClassVar[str] = "idc"
    citation: ClassVar[str] = (
        "J.-H. Kim et al.: Dataset Condensation via Efficient Synthetic-Data Parameterization. ICML 2022, "
        "arXiv:2205.14959"
    )
    summary: ClassVar[str] = "gradients in networks trained on real data, several images in a stored one"
    presets: ClassVar = {
        "quick": {
            "iterations": 200,
            "optimiser": "adam",
            "learning_rate": 0.02,
            "steps_per_network": 5,
            "networks": "pool:size=3,longest=100,steps=10,batch=128,data=real",
        },
        "paper": {"iterations": 200_000},
    }

    learning_rate: float = option(5e-3, "step size on the images", above=0)
    factor: int = option(2, "factor x factor images are kept in each stored one", low=1)
    batch_real: int = option(64, "real images a class in an outer iteration", low=1)
    networks: str = option(
        "pool:size=1,shortest=3200,longest=3200,steps=32,batch=64,data=real",
        "pool of networks trained on real data: 100 matches each, with 2,000 images learned from after "
        "each; or as in dc",
    )
    distance: str = option("l2", "of gradients", choices=KINDS)
    per: str = option("all", "what the distance is taken of: output channels, or all", choices=PER)
    matched: str = option(
        "filters", "parameters: weights, filters (of convolutions alone), or all", choices=MATCHED
    )
    augment: str = option("color_crop_cutout", "siamese augmentation; auto: what suits the data; none")
