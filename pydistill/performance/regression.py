"""The engine of kernel ridge matching: what all its methods do, whatever the kernel and the targets.

The synthetic images and labels are the training set of a kernel ridge regression; its error on a real
batch is differentiated through the closed-form solution, to images and labels alike.

[0] T. Nguyen, Z. Chen, J. Lee: Dataset Meta-Learning from Kernel Ridge-Regression. ICLR 2021,
    arXiv:2011.00050, equation 7.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import optim
from pydistill.augment import Augmentation
from pydistill.data.formation import decode, repeat_targets
from pydistill.data.recipe import Recipe
from pydistill.engine.initial import INITS, initial
from pydistill.engine.method import Family, Method, State, Synthetic, option
from pydistill.engine.preparation import Interim, Telling, unheard
from pydistill.engine.problem import Problem
from pydistill.kernels.functions import Kernel
from pydistill.kernels.ridge import regression
from pydistill.optim.schedules import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class KernelRidgeMatching(Method):
    """Images and labels whose kernel ridge regression predicts the real images' targets."""

    family: ClassVar[Family] = "performance matching"

    iterations: int = option(50_000, "steps on images and labels", low=1)
    learning_rate: float = option(0.01, "Adam's step size on the images", above=0)
    label_rate: float = option(0.01, "Adam's step size on the labels", above=0)
    learn_labels: bool = option(True, "whether labels are learned too")
    ridge: float = option(1e-6, "ridge, relative to the kernel matrix's mean diagonal entry", low=0)
    loss: str = option(
        "squared",
        "error on the real batch: squared, or cross-entropy at a learned temperature (platt)",
        choices=("squared", "platt"),
    )
    schedule: str = option("constant", "of both step sizes over the iterations", choices=tuple(SCHEDULES))
    batch_real: int = option(5_000, "real images a step", low=1)
    real_augment: str = option(
        "none",
        "augmentation of the real batch: against overfitting to it in long runs; auto: what suits the data",
    )
    factor: int = option(1, "factor x factor images are kept in each stored one", low=1)
    init: str = option(
        "real", "first images: real ones, Gaussian noise, or a selector's", choices=INITS, selectors=True
    )

    @abstractmethod
    def kernel(self, problem: Problem, state: State, index: int) -> Kernel:
        """The kernel of a step."""

    def begin(self, problem: Problem, interim: Interim) -> Telling[State]:
        """What else is remembered between steps."""
        yield from ()
        return {}

    def real(
        self, problem: Problem, state: State, images: Tensor, targets: Tensor, kernel: Kernel
    ) -> tuple[Tensor, Tensor]:
        """Rows of real images, and (B, K) what their outputs should be."""
        return kernel.rows(images), problem.task.values(targets)

    def advance(self, problem: Problem, state: State, index: int) -> None:
        """Called after every step."""

    def evaluated(self) -> str | None:
        """The kernel, as text, that the set is meant for; None: no closed-form one."""
        return None

    def recipe(self, state: State) -> Recipe:
        """How the set is to be used."""
        loss = "squared" if self.learn_labels else "task"
        return Recipe(loss=loss, kernel=self.evaluated(), ridge=self.ridge)

    @property
    def steps(self) -> int:
        return self.iterations

    def start(self, problem: Problem) -> State:
        return unheard(self.prepare(problem, Interim()))

    def prepare(self, problem: Problem, interim: Interim) -> Telling[State]:
        Augmentation.parse(problem.augment(self.real_augment))
        first = initial(problem, self.factor, self.init)
        images = first.images
        learned = {"images": images, "labels": problem.task.values(first.targets)}
        if self.loss == "platt":
            learned["temperature"] = torch.zeros((), device=images.device)
        return {
            **learned,
            "targets": first.targets,
            "optimiser": {name: _RULE.init({name: value}) for name, value in learned.items()},
            **(yield from self.begin(problem, interim)),
        }

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        share = SCHEDULES[self.schedule](index, self.iterations)
        rates = {
            "images": share * self.learning_rate,
            "labels": share * self.label_rate,
            "temperature": _TEMPERATURE_RATE,
        }
        learned = {name: state[name].detach() for name in state["optimiser"]}
        moving = [name for name in learned if name != "labels" or self.learn_labels]
        for name in moving:
            learned[name].requires_grad_()
        loss, correct = self._error(problem, state, learned, index)
        gradients = torch.autograd.grad(loss, [learned[name] for name in moving])
        optim.move_each(_RULE, state, dict(zip(moving, gradients, strict=True)), state["optimiser"], rates)
        self.advance(problem, state, index)
        return {"loss": loss.detach(), f"{problem.task.metric} on the batch": correct}

    def result(self, problem: Problem, state: State) -> Synthetic:
        labels = state["labels"] if self.learn_labels else state["targets"]
        return Synthetic(
            state["images"],
            labels,
            factor=self.factor,
            recipe=self.recipe(state),
            origin=state["targets"],
        )

    def _augmented(self, problem: Problem, index: int, images: Tensor) -> Tensor:
        """The real batch, each image in a way of its own."""
        augmentation = Augmentation.parse(problem.augment(self.real_augment))
        generator, size = problem.generator("real augmentation", index), (images.shape[2], images.shape[3])
        drawn = augmentation.sample(len(images), generator, together=False, size=size)
        return augmentation.apply_images(images, drawn)

    def _error(
        self, problem: Problem, state: State, learned: Mapping[str, Tensor], index: int
    ) -> tuple[Tensor, Tensor]:
        kernel = self.kernel(problem, state, index)
        indices = torch.randint(
            len(problem.data.train), (self.batch_real,), generator=problem.generator("real batch", index)
        )
        with torch.no_grad():
            images = self._augmented(problem, index, problem.images(indices))
            real, wanted = self.real(problem, state, images, problem.targets(indices), kernel)
        rows = kernel.rows(decode(learned["images"], self.factor))
        labels = repeat_targets(learned["labels"], self.factor)
        outputs = regression(kernel, rows, labels, self.ridge).outputs(real)
        hard = problem.task.hard
        correct = (hard(outputs.detach()) == hard(wanted)).float().mean()
        if self.loss == "squared":
            return (outputs - wanted).square().sum(1).mean() / 2, correct
        scaled = learned["temperature"].exp() * outputs
        return problem.task.loss(scaled, problem.task.from_values(wanted)), correct


_RULE = optim.Adam()
_TEMPERATURE_RATE = 0.01
"""Of the logarithm of the factor on the outputs, under ``platt`` (arXiv:2210.12067's code)."""
