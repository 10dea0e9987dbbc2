"""Training an expert: a network on the real data, epoch by epoch, the same whenever it is taken up.

[0] G. Cazenavette, T. Wang, A. Torralba, A. A. Efros, J.-Y. Zhu: Dataset Distillation by Matching Training
    Trajectories. CVPR 2022, arXiv:2203.11932: plain gradient descent under the siamese augmentation.
[1] J. Du, Y. Jiang, V. Y. F. Tan, J. T. Zhou, H. Li: Minimizing the Accumulated Trajectory Error to
    Improve Dataset Distillation. CVPR 2023, arXiv:2211.11004: experts in flat minima.
[2] J. Zhuang et al.: Surrogate Gap Minimization Improves Sharpness-Aware Training. ICLR 2022,
    arXiv:2203.08065, algorithm 1: the descent that [1] uses.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pydistill import checks, nets, optim, seeds
from pydistill.augment import Augmentation
from pydistill.data.real import RealData
from pydistill.errors import DivergenceError
from pydistill.optim import Tensors
from pydistill.training.scoring import score

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExpertTraining:
    """How experts are trained.

    Attributes:
        network: What :func:`pydistill.nets.build` takes.
        epochs: Passes over the real training images.
        snapshots: Snapshots an epoch, evenly spaced.
        batch_size: Images a step.
        learning_rate: Of gradient descent.
        momentum: Of gradient descent.
        weight_decay: L2 penalty of gradient descent.
        augment: Siamese augmentation; ``auto``: what suits the data; ``none``.
        rho: Radius within which a step looks for the steepest place, [1] and [2]; 0: plain descent.
        alpha: Of [2]: how much of the plain gradient's part that is at right angles to the one found there
            is taken off.
        seed: Weights, order and augmentation derive from it and from the expert's number.

    Raises:
        ValueError: A value is out of range.
    """

    network: str = "convnet"
    epochs: int = 50
    snapshots: int = 1
    batch_size: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    augment: str = "auto"
    rho: float = 0.0
    alpha: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "snapshots", "batch_size"):
            checks.integer(f"experts: {name}", getattr(self, name), 1)
        for name in ("rho", "alpha"):
            checks.number(f"experts: {name}", getattr(self, name), low=0)
        checks.number("experts: learning_rate", self.learning_rate, above=0)
        if self.augment != "auto":
            Augmentation.parse(self.augment)
        self.make_optimiser()
        nets.parse(self.network)

    def make_optimiser(self) -> optim.Sgd:
        """How parameters move."""
        return optim.Sgd(momentum=self.momentum, weight_decay=self.weight_decay)


class Expert:
    """One network in training on real data.

    Args:
        data: The real data; its training images are learned from.
        training: How.
        index: The expert's number.
        device: Where.

    Raises:
        ValueError: More snapshots an epoch than steps, or images too small for the network.
    """

    def __init__(self, data: RealData, training: ExpertTraining, index: int, device: torch.device) -> None:
        self.data, self.training, self.index, self.device = data, training, index, device
        self.steps = math.ceil(len(data.train) / training.batch_size)
        if training.snapshots > self.steps:
            raise ValueError(
                f"experts: snapshots must be at most {self.steps}, the steps of an epoch, "
                f"got {training.snapshots}"
            )
        self._augmentation = Augmentation.parse(
            data.augment if training.augment == "auto" else training.augment
        )
        self._network = nets.build(
            training.network,
            data.shape,
            data.task.outputs,
            seeds.generator(training.seed, "expert", index),
            device=device,
        )

    def start(self) -> State:
        """Before the first epoch: fresh weights, what the optimiser remembers, losses of epochs done."""
        return {
            "weights": _copied(self._network.state_dict()),
            "optimiser": self.training.make_optimiser().init(dict(self._network.named_parameters())),
            "losses": [],
        }

    def epoch(self, state: State, epoch: int) -> list[Tensors]:
        """One pass over the real images, changing ``state`` in place; the snapshots taken in it, in order.

        Raises:
            DivergenceError: A loss is not finite; ``state`` may then be of no use.
        """
        training, network = self.training, self._network
        network.load_state_dict(state["weights"])
        network.train()
        parameters: Tensors = dict(network.named_parameters())
        taken, total = [], 0.0
        marks = {round(self.steps * (at + 1) / training.snapshots) for at in range(training.snapshots)}
        order = torch.randperm(len(self.data.train), generator=self._generator("order", epoch))
        for step, part in enumerate(torch.split(order, training.batch_size)):
            images = self.data.inputs(self.data.train, part, self.device)
            drawn = self._augmentation.sample(
                len(part),
                self._generator("augmentation", epoch, step),
                together=True,
                size=(images.shape[2], images.shape[3]),
            )
            targets = self.data.train.targets[part].to(self.device)
            images, targets = self._augmentation.apply(images, targets, drawn, self.data.task)
            loss, gradients = self._gradients(parameters, images, targets)
            training.make_optimiser().update_(
                parameters, gradients, state["optimiser"], training.learning_rate
            )
            total += loss * len(part) / len(order)
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"expert {self.index}: the loss is {loss} in step {step} of epoch {epoch}, at a "
                    f"learning rate of {training.learning_rate:g}: a smaller one may help"
                )
            if step + 1 in marks:
                taken.append(_copied(network.state_dict()))
        state["weights"] = taken[-1]
        state["losses"] = [*state["losses"], total]
        return taken

    def score(self, state: State) -> float:
        """The task's metric on the validation images."""
        self._network.load_state_dict(state["weights"])
        return score(self._network, self.data, self.data.validation, self.device)

    def _gradients(self, parameters: Tensors, images: Tensor, targets: Tensor) -> tuple[float, Tensors]:
        """Loss and direction of descent; with a ``rho``, that of algorithm 1 of [2]."""
        loss, plain = self._descent(parameters, images, targets)
        if not self.training.rho:
            return loss, plain
        buffers = {name: value.clone() for name, value in self._network.named_buffers()}
        before = {name: value.detach().clone() for name, value in parameters.items()}
        scale = self.training.rho / (_inner(plain, plain).sqrt() + 1e-12)
        with torch.no_grad():
            for name, value in parameters.items():
                value.add_(scale * plain[name])
        _, steep = self._descent(parameters, images, targets)
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(before[name])
            for name, value in self._network.named_buffers():  # statistics are of the weights themselves
                value.copy_(buffers[name])
        share, along = self.training.alpha, _inner(plain, steep) / _inner(steep, steep)
        return loss, {
            name: steep[name] - share * (plain[name] - along * steep[name]) for name in parameters
        }

    def _descent(self, parameters: Tensors, images: Tensor, targets: Tensor) -> tuple[float, Tensors]:
        loss = self.data.task.loss(self._network(images), targets)
        found = torch.autograd.grad(loss, list(parameters.values()))
        return float(loss.detach()), dict(zip(parameters, found, strict=True))

    def _generator(self, *path: str | int) -> torch.Generator:
        return seeds.generator(self.training.seed, "expert", self.index, *path)


def _copied(weights: Tensors) -> Tensors:
    """Copies of their own: what a network is trained on later does not reach them."""
    return {name: value.detach().clone() for name, value in weights.items()}


def _inner(one: Tensors, other: Tensors) -> Tensor:
    return torch.stack([(one[name] * other[name]).sum() for name in one]).sum()
