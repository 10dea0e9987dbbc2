"""Meta-learning: images such that a network trained on them does well on the real ones.

The way from images to that is differentiated through the training, by :mod:`pydistill.training.unrolled`;
a method says how long the training is and which part of it is differentiated.

What may be learned beside the images, each by an option: labels, learning rates (one, or one a step),
momentum and weight decay, and the initial weights.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import nets, optim, seeds
from pydistill.data.formation import decode, repeat_targets
from pydistill.data.recipe import Recipe, StoredTraining
from pydistill.engine.initial import INITS, initial
from pydistill.engine.method import Family, Method, State, Synthetic, option, register
from pydistill.engine.problem import Problem
from pydistill.optim import Tensors
from pydistill.optim.schedules import SCHEDULES
from pydistill.tasks.base import chunks
from pydistill.training.inner_loop import InnerLoop
from pydistill.training.unrolled import KEEP_EVERY

_LEAST_MOMENTUM = 0.01
"""Where a momentum that is learned starts from at least: it is learned as a logit."""

_WEIGHTS = "weights."


@dataclass(frozen=True, kw_only=True)
class MetaLearning(Method):
    """Images that a network is trained on for some steps, to do well on a real batch after them."""

    family: ClassVar[Family] = "performance matching"

    iterations: int = option(10_000, "outer steps: trainings differentiated through", low=1)
    learning_rate: float = option(1e-3, "Adam's step size on the images", above=0)
    schedule: str = option("constant", "of all step sizes over the iterations", choices=tuple(SCHEDULES))
    batch_real: int = option(1_024, "real images a step", low=1)
    inner_steps: int = option(30, "steps of a training", low=1)
    inner_batch: int | None = option(None, "synthetic images a training step; none: all", low=1)
    inner_rate: float = option(0.02, "learning rate of the training, or its first value", above=0)
    inner_optimiser: str = option("sgd", "optimiser of the training", choices=("sgd", "adam"))
    momentum: float = option(0.0, "of the training, or its first value; under sgd", low=0)
    weight_decay: float = option(0.0, "of the training, or its first value", low=0)
    networks_per_step: int = option(1, "trainings an outer step, each of a network of its own", low=1)
    weights: str = option(
        "random", "initial weights: new ones every step, or always the same", choices=("random", "fixed")
    )
    learn_rates: str = option(
        "none", "learning rates learned: none, one, or one for each step", choices=("none", "one", "steps")
    )
    learn_labels: bool = option(False, "whether soft labels are learned")
    learn_hyper: bool = option(False, "whether momentum and weight decay are learned; under sgd")
    learn_weights: bool = option(False, "whether the initial weights are learned, and stored with the set")
    scalar_rate: float = option(0.01, "Adam's step size on labels and on logarithms of rates", above=0)
    keep_every: int | None = option(None, KEEP_EVERY, low=0, memory=True)
    factor: int = option(1, "factor x factor images are kept in each stored one", low=1)
    network: str = option("convnet", "network to train, for example convnet:width=64")
    augment: str = option("none", "augmentation in the training; auto: what suits the data; none")
    init: str = option(
        "real", "first images: real ones, Gaussian noise, or a selector's", choices=INITS, selectors=True
    )

    @abstractmethod
    def span(self, problem: Problem, index: int) -> tuple[int, int]:
        """(steps, window): the length of a training, and how many of its last steps are differentiated.

        Raises:
            ValueError: The options do not fit each other.
        """

    @property
    def steps(self) -> int:
        return self.iterations

    def start(self, problem: Problem) -> State:
        self._require_fit(problem)
        first = initial(problem, self.factor, self.init)
        images = first.images
        learned = {"images": images}
        if self.learn_labels:
            learned["labels"] = problem.task.smoothed_logits(first.targets)
        if self.learn_rates != "none":
            count = [self.inner_steps] if self.learn_rates == "steps" else []
            learned["rate"] = torch.full(count, math.log(self.inner_rate), device=images.device)
        if self.learn_hyper:
            learned["momentum"] = torch.logit(
                torch.tensor(max(self.momentum, _LEAST_MOMENTUM), device=images.device)
            )
            learned["weight_decay"] = torch.tensor(
                math.log(max(self.weight_decay, 1e-6)), device=images.device
            )
        if self.learn_weights:
            network = self._network(problem, 0, 0)
            learned |= {_WEIGHTS + name: value.detach() for name, value in network.named_parameters()}
        return {
            "learned": learned,
            "targets": first.targets,
            "optimiser": {name: _RULE.init({name: value}) for name, value in learned.items()},
            "norm": None,
        }

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        leaves: Tensors = {
            name: value.detach().requires_grad_() for name, value in state["learned"].items()
        }
        losses, gradients = self._gradients(problem, state, leaves, index)
        scale, share = self._clipped(state, gradients), SCHEDULES[self.schedule](index, self.iterations)
        large = {name for name in leaves if name == "images" or name.startswith(_WEIGHTS)}
        optim.move_each(
            _RULE,
            state["learned"],
            {name: gradient * scale for name, gradient in gradients.items()},
            state["optimiser"],
            {name: share * (self.learning_rate if name in large else self.scalar_rate) for name in leaves},
        )
        return losses

    def result(self, problem: Problem, state: State) -> Synthetic:
        learned = self._decoded(problem, state, state["learned"])
        targets = state["targets"]
        if self.learn_labels:
            targets = problem.task.probabilities(state["learned"]["labels"])
        rates = learned["rate"].reshape(-1).tolist()
        training = StoredTraining(
            architecture=self.network,
            steps=self.inner_steps,
            rates=tuple(rates),
            optimiser=self.inner_optimiser,
            momentum=float(learned.get("momentum", self.momentum)),
            weight_decay=float(learned.get("weight_decay", self.weight_decay)),
            batch_size=self.inner_batch,
            augment=self._augment(problem),
            start=self._first_weights(problem, state) if self._fixed else None,
        )
        return Synthetic(
            state["learned"]["images"],
            targets,
            augment=self._augment(problem),
            factor=self.factor,
            recipe=Recipe(training=training),
            origin=state["targets"],
        )

    def _first_weights(self, problem: Problem, state: State) -> Tensors:
        """Where every training starts, learned or not."""
        first = self._network(problem, 0, 0).state_dict()
        weights = {name: value.detach() for name, value in first.items()}
        learned = {
            name.removeprefix(_WEIGHTS): value
            for name, value in state["learned"].items()
            if name.startswith(_WEIGHTS)
        }
        return {**weights, **learned}

    def _require_fit(self, problem: Problem) -> None:
        """Refuse options that do not go together.

        Raises:
            ValueError: Two options contradict each other; the message names them.
        """
        self.span(problem, 0)
        if self.learn_hyper and self.inner_optimiser != "sgd":
            raise ValueError(
                f"{self.name}: learn_hyper is of momentum and weight decay under inner_optimiser=sgd, "
                f"got {self.inner_optimiser}"
            )
        if self._fixed and self.networks_per_step > 1:
            raise ValueError(
                f"{self.name}: with initial weights that stay the same there is one network a step, "
                f"got networks_per_step = {self.networks_per_step}"
            )

    # ---- one outer step ---------------------------------------------------------------------------------

    def _gradients(
        self, problem: Problem, state: State, leaves: Tensors, index: int
    ) -> tuple[Mapping[str, Tensor], Tensors]:
        """Mean losses over networks, and gradients to what is learned."""
        learned = self._decoded(problem, state, leaves)
        totals = {name: torch.zeros_like(value) for name, value in leaves.items()}
        outer = inner = torch.zeros((), device=problem.device)
        steps, window = self.span(problem, index)
        for member in range(self.networks_per_step):
            network = self._network(problem, index, member)
            loop = InnerLoop(
                network,
                problem.task.loss,
                self._inner,
                self.inner_batch,
                self._augment(problem),
                seeds.derive(problem.seed, "inner", index, member),
                task=problem.task,
            )
            parameters = {
                name: leaves.get(_WEIGHTS + name, value.detach())
                for name, value in network.named_parameters()
            }
            start = loop.start(parameters, dict(network.named_buffers()))
            done = loop.train(start, learned, steps=steps, window=window, keep_every=self.keep_every)
            loss, slopes = self._real_loss(problem, network, done.state, index, member)
            found = torch.autograd.grad(
                list(done.state["parameters"].values()),
                list(leaves.values()),
                slopes,
                retain_graph=True,
                allow_unused=True,
            )
            for name, gradient in zip(leaves, found, strict=True):
                if gradient is not None:
                    totals[name] += gradient / self.networks_per_step
            outer = outer + loss / self.networks_per_step
            inner = inner + done.losses[-1] / self.networks_per_step
        return {"loss": outer, "inner loss": inner}, totals

    def _real_loss(
        self, problem: Problem, network: nets.Network, trained: State, index: int, member: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Loss of a trained network on real images and its gradient to the weights, in bounded memory."""
        generator = problem.generator("real batch", index, member)
        indices = torch.randint(len(problem.data.train), (self.batch_real,), generator=generator)
        weights = {name: value.detach().requires_grad_() for name, value in trained["parameters"].items()}
        buffers = {name: value.clone() for name, value in trained["buffers"].items()}
        total = torch.zeros((), device=problem.device)
        slopes = [torch.zeros_like(value) for value in weights.values()]
        for part in chunks(len(indices), problem.max_graph):
            images, targets = problem.images(indices[part]), problem.targets(indices[part])
            outputs = torch.func.functional_call(network, {**weights, **buffers}, (images,))
            loss = problem.task.loss(outputs, targets) * (len(targets) / len(indices))
            for slope, more in zip(slopes, torch.autograd.grad(loss, list(weights.values())), strict=True):
                slope += more
            total = total + loss.detach()
        return total, slopes

    def _decoded(self, problem: Problem, state: State, leaves: Mapping[str, Tensor]) -> Tensors:
        """What a training sees, from what is kept: views, targets, rates."""
        labels = leaves.get("labels")
        targets = state["targets"] if labels is None else problem.task.probabilities(labels)
        images = leaves["images"]
        learned = {
            "images": decode(images, self.factor),
            "targets": repeat_targets(targets, self.factor),
            "rate": leaves["rate"].exp()
            if "rate" in leaves
            else torch.tensor(self.inner_rate, device=images.device),
        }
        if "momentum" in leaves:
            learned["momentum"] = leaves["momentum"].sigmoid()
            learned["weight_decay"] = leaves["weight_decay"].exp()
        return learned

    def _clipped(self, state: State, gradients: Tensors) -> float:
        """Factor on the gradients."""
        return 1.0

    def _network(self, problem: Problem, index: int, member: int) -> nets.Network:
        purpose = ("network", member) if self._fixed else ("network", member, index)
        return nets.build(
            self.network,
            problem.data.shape,
            problem.task.outputs,
            problem.generator(*purpose),
            device=problem.device,
        )

    @property
    def _fixed(self) -> bool:
        return self.weights == "fixed" or self.learn_weights

    @property
    def _inner(self) -> optim.Optimiser:
        if self.inner_optimiser == "adam":
            return optim.Adam(weight_decay=self.weight_decay)
        momentum = max(self.momentum, _LEAST_MOMENTUM) if self.learn_hyper else self.momentum
        return optim.Sgd(momentum=momentum, weight_decay=self.weight_decay)

    def _augment(self, problem: Problem) -> str:
        return problem.augment(self.augment)


_RULE = optim.Adam()


@register
@dataclass(frozen=True, kw_only=True)
class DatasetDistillation(MetaLearning):
    """DD: back-propagation through the whole training.

    [0] T. Wang, J.-Y. Zhu, A. Torralba, A. A. Efros: Dataset Distillation. arXiv:1811.10959.
    [1] I. Sucholutsky, M. Schonlau: Soft-Label Dataset Distillation and Text Dataset Distillation. IJCNN
        2021, arXiv:1910.02551: labels learned too, as the quick preset does.
    """

    name: ClassVar[str] = "dd"
    citation: ClassVar[str] = (
        "T. Wang, J.-Y. Zhu, A. Torralba, A. A. Efros: Dataset Distillation. arXiv:1811.10959"
    )
    summary: ClassVar[str] = "back-propagation through the training of networks"
    presets: ClassVar = {
        "quick": {
            "iterations": 100,
            "inner_steps": 10,
            "batch_real": 256,
            "learning_rate": 0.06,
            "schedule": "cosine",
            "learn_rates": "one",
            "learn_labels": True,
            "scalar_rate": 0.05,
        },
        "paper": {"inner_steps": 30, "learn_rates": "steps"},
    }

    def span(self, problem: Problem, index: int) -> tuple[int, int]:
        return self.inner_steps, self.inner_steps


@register
@dataclass(frozen=True, kw_only=True)
class RandomTruncation(MetaLearning):
    """RaT-BPTT: a window of a long training, placed at random, is differentiated.

    [0] Y. Feng, R. Vedantam, J. Kempe: Embarrassingly Simple Dataset Distillation. ICLR 2024,
        arXiv:2311.07025.
    """

    name: ClassVar[str] = "rat_bptt"
    citation: ClassVar[str] = (
        "Y. Feng, R. Vedantam, J. Kempe: Embarrassingly Simple Dataset Distillation. "
        "ICLR 2024, arXiv:2311.07025"
    )
    summary: ClassVar[str] = "back-propagation through a random window of a long training"
    presets: ClassVar = {
        "quick": {
            "iterations": 100,
            "inner_steps": 40,
            "window": 8,
            "batch_real": 256,
            "learning_rate": 0.02,
            "schedule": "cosine",
        },
        "paper": {"iterations": 60_000, "batch_real": 5_000},
    }

    inner_steps: int = option(200, "longest training", low=1)
    window: int = option(60, "steps differentiated at its end", low=1)
    inner_rate: float = option(1e-3, "learning rate of the training, or its first value", above=0)
    inner_optimiser: str = option("adam", "optimiser of the training", choices=("sgd", "adam"))
    clip: float = option(
        2.0, "gradients longer than so many times their running mean are shortened", above=0
    )

    def span(self, problem: Problem, index: int) -> tuple[int, int]:
        if self.window > self.inner_steps:
            raise ValueError(
                f"{self.name}: window must be at most inner_steps = {self.inner_steps}, got {self.window}"
            )
        ends = torch.randint(
            self.window, self.inner_steps + 1, (), generator=problem.generator("window", index)
        )
        return int(ends), self.window

    def _clipped(self, state: State, gradients: Tensors) -> float:
        norm = float(gradients["images"].norm())
        usual = state["norm"] or norm
        state["norm"] = 0.9 * usual + 0.1 * min(norm, self.clip * usual)
        return min(1.0, self.clip * usual / norm) if norm else 1.0
