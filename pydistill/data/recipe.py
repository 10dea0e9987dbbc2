"""What a method learned or decided beside images and targets, and a user needs to use them as it meant."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pydistill import nets
from pydistill.data.equality import ByContent
from pydistill.optim import Adam, Optimiser, Sgd
from pydistill.storage.digests import add_tensor
from pydistill.tasks import parse_loss

TRAINED = "trained"
"""The kernel of features in networks that are trained on the set: what they are, evaluation decides."""


@dataclass(frozen=True, eq=False)
class StoredNetwork(ByContent):
    """A network that is kept with a distilled set; its weights count in the set's bytes.

    Attributes:
        architecture: What :func:`pydistill.nets.build` takes.
        weights: Parameters and buffers by name.
    """

    architecture: str
    weights: Mapping[str, Tensor] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(value.nbytes for value in self.weights.values())

    def digest(self) -> str:
        """Hexadecimal SHA-256 of its description and weights."""
        made = hashlib.sha256(self.architecture.encode())
        for name, value in sorted(self.weights.items()):
            add_tensor(made, name, value)
        return made.hexdigest()

    def build(
        self, shape: tuple[int, int, int], outputs: int, device: torch.device | str = "cpu"
    ) -> nets.Network:
        """The network itself, in evaluation mode, its weights not to be trained."""
        nets.require_weights(self.architecture, shape, outputs, self.weights)
        network = nets.build(self.architecture, shape, outputs, torch.Generator(), device)
        network.load_state_dict(dict(self.weights))
        return network.requires_grad_(False).eval()


@dataclass(frozen=True, eq=False)
class StoredAugmentations(ByContent):
    """Augmentations of views with targets of their own, E of each, to train on in place of drawn ones.

    Attributes:
        parameters: (E, V, 13) float32, as :class:`pydistill.augment.Parameters` has them.
        targets: (E, V, K) float32 probabilities.

    Raises:
        ValueError: The shapes do not fit each other.
    """

    parameters: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        shapes = tuple(self.parameters.shape), tuple(self.targets.shape)
        if any(len(shape) != 3 for shape in shapes) or shapes[0][:2] != shapes[1][:2]:
            raise ValueError(f"expected parameters (E, V, 13) and targets (E, V, K), found {shapes}")

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.parameters.nbytes + self.targets.nbytes


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredTraining(ByContent):
    """The training that a set was learned through: what it does best, and nothing else may.

    Attributes:
        architecture: What :func:`pydistill.nets.build` takes.
        steps: Steps of the optimiser.
        rates: Learning rates: one for all steps, or one a step.
        optimiser: ``sgd`` or ``adam``.
        momentum: Of ``sgd``.
        weight_decay: L2 penalty.
        batch_size: Images a step; None: all.
        augment: What :meth:`pydistill.augment.Augmentation.parse` takes.
        start: Initial parameters and buffers by name that belong to the set; None: random ones.

    Raises:
        ValueError: A value is out of range or unknown, or the number of rates does not fit.
    """

    architecture: str
    steps: int
    rates: tuple[float, ...]
    optimiser: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int | None = None
    augment: str = "none"
    start: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"expected at least one step, found {self.steps}")
        if len(self.rates) not in (1, self.steps):
            raise ValueError(f"expected one learning rate or {self.steps}, found {len(self.rates)}")
        for rate in self.rates:
            if not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"expected learning rates above 0, found {rate}")
        self.make_optimiser()

    def make_optimiser(self) -> Optimiser:
        """How parameters move."""
        if self.optimiser == "sgd":
            return Sgd(momentum=self.momentum, weight_decay=self.weight_decay)
        if self.optimiser == "adam":
            return Adam(weight_decay=self.weight_decay)
        raise ValueError(f"optimiser must be sgd or adam, got {self.optimiser!r}")

    @property
    def repeats_exactly(self) -> bool:
        """Whether nothing in it is drawn."""
        return self.start is not None and self.batch_size is None and self.augment == "none"

    def describe(self) -> dict[str, Any]:
        """All but tensors, as JSON holds it."""
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "start"}
        return {**facts, "rates": list(self.rates), "start": self.start is not None}


@dataclass(frozen=True, eq=False, kw_only=True)
class Recipe(ByContent):
    """How a distilled set is meant to be used, beyond its images, targets, augmentation and rate.

    Attributes:
        loss: What networks are trained with, as :func:`pydistill.tasks.parse_loss` takes it; ``squared``
            where the targets are values to regress, not probabilities.
        training: The training that it was learned through, or None.
        kernel: The kernel, as text, whose ridge regression the set was made for, or None.
        ridge: Its ridge.
        teacher: The network whose features are the kernel ``teacher``, or that gave the targets, or None.
        temperature: What that network's outputs are divided by to give targets.
        augmentations: Augmentations of the views with targets of their own, or None.

    Raises:
        ValueError: A value is out of range or unknown.
    """

    loss: str = "task"
    training: StoredTraining | None = None
    kernel: str | None = None
    ridge: float = 1e-6
    teacher: StoredNetwork | None = field(default=None, repr=False)
    temperature: float = 1.0
    augmentations: StoredAugmentations | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parse_loss(self.loss)
        if not (math.isfinite(self.ridge) and self.ridge >= 0):
            raise ValueError(f"expected a ridge of at least 0, found {self.ridge}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"expected a temperature above 0, found {self.temperature}")

    @property
    def usable_alone(self) -> bool:
        """Whether it says how to use the set without a protocol: by its training or by its kernel."""
        return self.training is not None or self.kernel not in (None, TRAINED)

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes of learned numbers, of networks' weights, and of augmentations with their targets."""
        weights = {} if self.training is None else (self.training.start or {})
        networks = 0 if self.teacher is None else self.teacher.nbytes
        return {
            "rates": 0 if self.training is None else 8 * (len(self.training.rates) + 2),
            "networks": networks + sum(value.nbytes for value in weights.values()),
            "augmentations": 0 if self.augmentations is None else self.augmentations.nbytes,
        }

    def describe(self) -> dict[str, Any]:
        """All but tensors, as JSON holds it."""
        return {
            "loss": self.loss,
            "training": None if self.training is None else self.training.describe(),
            "kernel": self.kernel,
            "ridge": self.ridge,
            "teacher": None if self.teacher is None else self.teacher.architecture,
            "temperature": self.temperature,
            "augmentations": self.augmentations is not None,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Weights of its networks and augmentations, by part and name."""
        parts: dict[str, Mapping[str, Tensor]] = {}
        if self.training is not None and self.training.start is not None:
            parts["start"] = self.training.start
        if self.teacher is not None:
            parts["teacher"] = self.teacher.weights
        if self.augmentations is not None:
            parts["augmentations"] = {
                "parameters": self.augmentations.parameters,
                "targets": self.augmentations.targets,
            }
        return {f"{part}.{name}": value for part, held in parts.items() for name, value in held.items()}

    @classmethod
    def restore(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Recipe":
        """The inverse of :meth:`describe` and :meth:`tensors`."""
        training, teacher = facts["training"], facts["teacher"]
        if training is not None:
            start = under("start.", tensors) if training["start"] else None
            training = StoredTraining(**{**training, "rates": tuple(training["rates"]), "start": start})
        return cls(
            loss=facts["loss"],
            training=training,
            kernel=facts["kernel"],
            ridge=facts["ridge"],
            teacher=None if teacher is None else StoredNetwork(teacher, under("teacher.", tensors)),
            temperature=facts.get("temperature", 1.0),  # sets written before there was one
            augmentations=_augmentations(facts, tensors),
        )


def _augmentations(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> StoredAugmentations | None:
    """Those of a set; sets written before they were called so have them as ``views``."""
    name = "augmentations" if "augmentations" in facts else "views"
    return StoredAugmentations(**under(f"{name}.", tensors)) if facts[name] else None


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, by what follows."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
