"""How the networks are trained that images are scored by."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from pydistill import checks, nets
from pydistill.data.real import RealData
from pydistill.machine import AUTO
from pydistill.optim import Adam, Optimiser, Sgd
from pydistill.tasks import Task
from pydistill.training.jobs import Training

_EPOCHS, _MOST_EPOCHS, _LEAST_STEPS = 10, 100, 300
_OVERRIDES = ("optimiser", "learning_rate", "weight_decay", "batch_size")


@dataclass(frozen=True, kw_only=True)
class ScoreTraining:
    """Networks that learn the real training images while what they make of each is recorded.

    Attributes:
        network: What :func:`pydistill.nets.build` takes; ``auto``: the task's usual one, of width 32.
        epochs: Passes over the training images; 0: ten, where images are few as many as 300 steps take, at
            most 100.
        networks: Trained from different seeds; scores are means over them.
        folds: 0: every network learns all training images. From 2: for each of ``networks`` as many are
            trained, each without one fold, which it answers for afterwards: out-of-fold probabilities. The
            records of an image are then those of one of the networks that learned it.
        early: The epoch, counted from 1, of EL2N and GraNd, which are of early training; 0: a fifth of the
            epochs, at least one.
        batch_size: Images a step; None: what suits the task.
        learning_rate: The first rate, which falls to 0 by a cosine; None: what suits the task.
        augment: A description that :meth:`pydistill.augment.Augmentation.parse` takes; ``auto``: what suits
            the data; ``none``.

    Raises:
        TypeError, ValueError: A value is of the wrong type or out of range.
    """

    network: str = AUTO
    epochs: int = 0
    networks: int = 1
    folds: int = 0
    early: int = 0
    batch_size: int | None = None
    learning_rate: float | None = None
    augment: str = AUTO

    def __post_init__(self) -> None:
        for name, low in (("epochs", 0), ("networks", 1), ("folds", 0), ("early", 0)):
            checks.integer(name, getattr(self, name), low)
        if self.folds == 1:
            raise ValueError(
                "folds must be 0, or at least 2, got 1: an image is held out of one of several"
            )
        if self.epochs and self.early > self.epochs:
            raise ValueError(f"early must be at most {self.epochs}, the number of epochs, got {self.early}")
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size, 1)
        if self.learning_rate is not None:
            checks.number("learning_rate", self.learning_rate, above=0)

    def settled(self, data: RealData) -> "ScoreTraining":
        """The same with everything decided that was left to suit the data."""
        usual = _usual(data.task)
        batch_size = self.batch_size or usual["batch_size"]
        epochs = self.epochs or _epochs(-(-len(data.train) // batch_size))
        return dataclasses.replace(
            self,
            network=f"{data.task.network}:width=32"
            if self.network == AUTO
            else str(nets.parse(self.network)),
            epochs=epochs,
            early=min(epochs, self.early) or max(1, epochs // 5),
            batch_size=batch_size,
            learning_rate=self.learning_rate or usual["learning_rate"],
            augment=data.augment if self.augment == AUTO else self.augment,
        )

    @property
    def trainings(self) -> list[tuple[int, int | None]]:
        """(network, fold that is held out or None) of everything that is trained, in order."""
        folds: list[int | None] = list(range(self.folds)) if self.folds else [None]
        return [(network, fold) for network in range(self.networks) for fold in folds]

    def training(self, task: Task, images: int) -> Training:
        """How a network learns ``images`` images; of :meth:`settled` settings."""
        assert self.batch_size is not None
        assert self.learning_rate is not None
        return Training(
            steps=self.epochs * -(-images // self.batch_size),
            batch_size=self.batch_size,
            optimiser=_optimiser(_usual(task)),
            learning_rate=self.learning_rate,
            schedule="cosine",
        )

    def record(self) -> dict[str, Any]:
        """Every setting, as JSON holds it."""
        return dataclasses.asdict(self)


def _epochs(steps: int) -> int:
    """As many as suit, where a pass takes ``steps`` steps."""
    return max(_EPOCHS, min(_MOST_EPOCHS, -(-_LEAST_STEPS // steps)))


def _usual(task: Task) -> dict[str, Any]:
    """What suits a task: short trainings on real images, or what its quick protocol has."""
    own = (task.protocols or {}).get("quick", {})
    usual = {"optimiser": "sgd", "learning_rate": 0.05, "weight_decay": 5e-4, "batch_size": 128}
    return usual | {name: own[name] for name in _OVERRIDES if name in own}


def _optimiser(usual: dict[str, Any]) -> Optimiser:
    if usual["optimiser"] == "adam":
        return Adam(weight_decay=usual["weight_decay"])
    return Sgd(momentum=0.9, weight_decay=usual["weight_decay"])
