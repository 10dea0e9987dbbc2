"""Losses by a short text: what a network is trained with, whatever the task.

``task``, ``cross_entropy``, ``squared``, ``kl:temperature=4``: a name, and options behind a colon. What a
target is, the task says; a loss says which of the task's errors is taken, and may look at the images and
ask a teacher. They lie beside the tasks, below the data, because a distilled set records the loss that its
targets are meant for.

[0] G. Hinton, O. Vinyals, J. Dean: Distilling the Knowledge in a Neural Network. arXiv:1503.02531.
[1] Z. Yin, E. Xing, Z. Shen: Squeeze, Recover and Relabel. NeurIPS 2023, arXiv:2306.13092.
[2] J. Ba, R. Caruana: Do Deep Nets Really Need to be Deep? NeurIPS 2014, arXiv:1312.6184.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import torch
from torch import Tensor

from pydistill import checks
from pydistill.errors import did_you_mean
from pydistill.options import parse_options
from pydistill.tasks.base import Task

Teacher: TypeAlias = Callable[[Tensor], Tensor]
"""A network that is asked: images (N, C, H, W) to outputs (N, ...); its weights are not trained."""


@dataclass(frozen=True)
class Loss(ABC):
    """From a network's outputs to an error.

    A subclass is a frozen dataclass whose fields are its options (numbers, texts or booleans, each with a
    default), registered with :func:`register_loss`.

    Class attributes:
        name: What it is called.
        asks: Whether it asks a teacher where there is one.
    """

    name: ClassVar[str]
    asks: ClassVar[bool] = False

    def each(
        self,
        task: Task,
        outputs: Tensor,
        targets: Tensor,
        images: Tensor | None = None,
        teacher: Teacher | None = None,
    ) -> Tensor:
        """(N,) errors, one an image.

        Args:
            task: What targets are.
            outputs: (N, ...) of the network that is trained.
            targets: (N, ...) of its images.
            images: (N, C, H, W) network input as it was given; needed where a teacher is asked.
            teacher: Whom to ask.

        Raises:
            ValueError: The targets are of a kind, or the task is one, that the loss is not for.
        """
        return self.errors(task, outputs, self.wanted(task, targets, images, teacher))

    def of(
        self,
        task: Task,
        outputs: Tensor,
        targets: Tensor,
        images: Tensor | None = None,
        teacher: Teacher | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The mean error, a scalar; arguments and errors are those of :meth:`each`.

        Args:
            task: What targets are.
            outputs: (N, ...) of the network that is trained.
            targets: (N, ...) of its images.
            images: (N, C, H, W) network input as it was given.
            teacher: Whom to ask.
            weights: (N,) factors of the images' errors; the mean is over N, whatever their sum. None: 1
                each.
        """
        wanted = self.wanted(task, targets, images, teacher)
        if weights is None:
            return self.mean(task, outputs, wanted)
        return (weights * self.errors(task, outputs, wanted)).mean()

    def wanted(self, task: Task, targets: Tensor, images: Tensor | None, teacher: Teacher | None) -> Tensor:
        """What the outputs should be, (N, ...)."""
        return targets

    @abstractmethod
    def errors(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        """(N,) from outputs and what they should be."""

    def mean(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        """The mean of :meth:`errors`."""
        return self.errors(task, outputs, wanted).mean()

    @abstractmethod
    def title(self, task: Task) -> str:
        """What a report calls it."""

    def __str__(self) -> str:
        """The text that :func:`parse_loss` turns into this."""
        given = [
            f"{f.name}={_said(getattr(self, f.name))}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return self.name + (":" if given else "") + ",".join(given)


_registry: dict[str, type[Loss]] = {}

L = TypeVar("L", bound=type[Loss])


def register_loss(kind: L) -> L:
    """Class decorator: make a loss known under its name."""
    if _registry.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"a loss named {kind.name!r} is registered already")
    return kind


def losses() -> Mapping[str, type[Loss]]:
    """Every registered loss by name."""
    return dict(_registry)


def parse_loss(text: str) -> Loss:
    """From ``name`` or ``name:option=value,...``.

    Raises:
        ValueError: The name or an option is unknown, or a value is no such value or out of range.
    """
    name, _, rest = text.strip().partition(":")
    if name not in _registry:
        hint = did_you_mean(name, _registry)
        raise ValueError(f"unknown loss {name!r}{hint}; known: {', '.join(_registry)}")
    kind = _registry[name]
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    found: dict[str, Any] = {}
    for option, value in parse_options(name, rest, defaults).items():
        found[option] = _value(f"{name}: {option}", value, type(defaults[option]))
    return kind(**found)


@register_loss
@dataclass(frozen=True)
class TaskLoss(Loss):
    """The task's own loss, of targets hard or soft."""

    name: ClassVar[str] = "task"

    def errors(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        return task.losses(outputs, wanted)

    def mean(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        return task.loss(outputs, wanted)

    def title(self, task: Task) -> str:
        return task.loss_name()


@register_loss
@dataclass(frozen=True)
class CrossEntropy(TaskLoss):
    """The task's own loss where that is a cross-entropy; another task is refused."""

    name: ClassVar[str] = "cross_entropy"

    def wanted(self, task: Task, targets: Tensor, images: Tensor | None, teacher: Teacher | None) -> Tensor:
        if not task.loss_name().startswith("cross-entropy"):
            raise ValueError(f"the loss of {task.name} is {task.loss_name()}, no cross-entropy: use task")
        return targets


@register_loss
@dataclass(frozen=True)
class Squared(Loss):
    """The squared error, a mean over outputs, of values to regress, or of a teacher's outputs ([2])."""

    name: ClassVar[str] = "squared"
    asks: ClassVar[bool] = True

    def wanted(self, task: Task, targets: Tensor, images: Tensor | None, teacher: Teacher | None) -> Tensor:
        if teacher is not None:
            return _asked(self, teacher, images)
        if not task.soft(targets):
            kind = task.target_names["hard"]
            raise ValueError(f"{self.name} is of values to regress, the targets are {kind}: use task")
        return targets

    def errors(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        return (outputs - wanted).square().flatten(1).mean(1)

    def mean(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        return task.error(outputs, wanted, self.name)

    def title(self, task: Task) -> str:
        return task.loss_name(self.name)


@register_loss
@dataclass(frozen=True)
class KullbackLeibler(Loss):
    """How far the outputs' probabilities at a temperature are from soft targets or from a teacher's ([0]).

    Without a teacher the targets are taken as they are: probabilities that were made at the same
    temperature, as ``relabel(..., temperature=4)`` gives them.

    Attributes:
        temperature: Outputs, the teacher's too, are divided by it.
        squared_temperature: Multiply by its square, so that gradients are of one size at all temperatures,
            as [0], section 2, does; [1] leaves it out.

    Raises:
        ValueError: The temperature is not above 0.
    """

    temperature: float = 1.0
    squared_temperature: bool = False

    name: ClassVar[str] = "kl"
    asks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.number("kl: temperature", self.temperature, above=0)

    def wanted(self, task: Task, targets: Tensor, images: Tensor | None, teacher: Teacher | None) -> Tensor:
        if teacher is not None:
            return task.probabilities(_asked(self, teacher, images), self.temperature)
        if not task.soft(targets):
            kind = task.target_names["hard"]
            raise ValueError(
                f"{self.name} is of probabilities, or of a teacher's, the targets are {kind}: relabel the "
                "set, give a teacher, or use task"
            )
        return targets

    def errors(self, task: Task, outputs: Tensor, wanted: Tensor) -> Tensor:
        scale = self.temperature**2 if self.squared_temperature else 1.0
        return scale * task.divergence(outputs, wanted, self.temperature)

    def title(self, task: Task) -> str:
        return "KL divergence" + ("" if self.temperature == 1 else f" at temperature {self.temperature:g}")


@torch.no_grad()
def _asked(loss: Loss, teacher: Teacher, images: Tensor | None) -> Tensor:
    if images is None:
        raise ValueError(f"{loss.name} asks a teacher, which needs the images; found none")
    return teacher(images)


def _value(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, got {text!r}")
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {kind.__name__}, got {text!r}") from None


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
