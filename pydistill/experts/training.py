"""Training an expert: a network on the real data, epoch by epoch, the same whenever it is taken up.

[0] G. Cazenavette, T. Wang, A. Torralba, A. A. Efros, J.-Y. Zhu: Dataset Distillation by Matching Training
    Trajectories. CVPR 2022, arXiv:2203.11932: plain gradient descent under the siamese augmentation.
[1] J. Du, Y. Jiang, V. Y. F. Tan, J. T. Zhou, H. Li: Minimizing the Accumulated Trajectory Error to
    Improve Dataset Distillation. CVPR 2023, arXiv:2211.11004: experts in flat minima, by
    :class:`pydistill.training.sharpness.SurrogateGap`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pydistill import checks, nets, optim, seeds
from pydistill.augment import Augmentation
from pydistill.data.real import RealData
from pydistill.errors import DivergenceError
from pydistill.optim import Tensors
from pydistill.training.descent import Batch, Descent, Direction, Objective, Steepest
from pydistill.training.feed import augmented
from pydistill.training.samples import SplitSamples
from pydistill.training.scoring import score
from pydistill.training.sharpness import SurrogateGap

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
        rho: Radius within which a step looks for the steepest place, [1]; 0: plain descent.
        alpha: How much of the plain gradient's part that is at right angles to the one found there is
            taken off.
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

    def make_direction(self) -> Direction:
        """Which way a step goes."""
        return SurrogateGap(self.rho, self.alpha) if self.rho else Steepest()


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
        descent = Descent(
            Objective(self.data.task).alone(network),
            dict(network.named_parameters()),
            training.make_optimiser(),
            lambda step: training.learning_rate,
            self.steps,
            direction=training.make_direction(),
            buffers=dict(network.named_buffers()),
            memory=state["optimiser"],
        )
        taken, total = [], 0.0
        marks = {round(self.steps * (at + 1) / training.snapshots) for at in range(training.snapshots)}
        for info in descent.run(self._batches(epoch)):
            loss = float(info.losses)
            total += loss * len(info.targets(0)) / len(self.data.train)
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"expert {self.index}: the loss is {loss} in step {info.step - 1} of epoch {epoch}, at "
                    f"a learning rate of {training.learning_rate:g}: a smaller one may help"
                )
            if info.step in marks:
                taken.append(_copied(network.state_dict()))
        state["weights"] = taken[-1]
        state["losses"] = [*state["losses"], total]
        return taken

    def score(self, state: State) -> float:
        """The task's metric on the validation images."""
        self._network.load_state_dict(state["weights"])
        return score(self._network, self.data, self.data.validation, self.device)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """One pass over the real images; every step draws from generators of its own."""
        samples = SplitSamples(self.data, self.data.train, self.device)
        order = torch.randperm(len(samples), generator=self._generator("order", epoch))
        for step, part in enumerate(torch.split(order, self.training.batch_size)):
            generators = [self._generator("augmentation", epoch, step)]
            images, targets = augmented(
                self._augmentation, *samples.batch(part), generators, self.data.task
            )
            yield Batch(images, targets, (part,), step + 1 == self.steps)

    def _generator(self, *path: str | int) -> torch.Generator:
        return seeds.generator(self.training.seed, "expert", self.index, *path)


def _copied(weights: Tensors) -> Tensors:
    """Copies of their own: what a network is trained on later does not reach them."""
    return {name: value.detach().clone() for name, value in weights.items()}
