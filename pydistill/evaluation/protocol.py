"""How a set is evaluated: one frozen record, the same for every set that a report compares.

Published figures differ by more from protocol to protocol than from method to method (steps, width,
augmentation, number of networks), so a report always carries its protocol.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydistill import checks, nets
from pydistill.data.recipe import TRAINED
from pydistill.errors import did_you_mean
from pydistill.kernels.functions import parse_kernel
from pydistill.machine import AUTO, PRECISIONS
from pydistill.optim import Adam, Optimiser, Sgd
from pydistill.optim.schedules import SCHEDULES
from pydistill.tasks import Task
from pydistill.training.jobs import Training
from pydistill.training.mixing import NONE, parse_mixing

STORED = "stored"
"""The value of :attr:`Protocol.augment` that means the distilled set's own augmentation."""

_OPTIMISERS = ("sgd", "adam", "adamw")
_SPLITS = ("test", "validation")
LABELS = ("both", "classes", "stored")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimiser": _OPTIMISERS,
    "schedule": tuple(SCHEDULES),
    "precision": (AUTO, *PRECISIONS),
    "labels": LABELS,
    "split": _SPLITS,
}
"""Settings of a protocol that are one of some texts."""

LATER: Mapping[str, Any] = {"mix": NONE, "average": 0.0}
"""Settings that there were not always, with what was done then: records of protocols leave them out where
they are so, and equal those that were written before."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Networks are trained from scratch, for the same number of steps on every set, and scored once.

    Attributes:
        architectures: Networks by description, such as ``("convnet", "mlp:width=64")``; a table row each.
            ``auto``: the task's usual one, ``convnet`` for classification. None: the set is scored by its
            own training and by kernels alone.
        kernels: Kernels, as text, whose ridge regression on the set is scored beside the networks; where
            none is named, the one that the set was made for. ``trained``: of features in each network.
        repeats: Networks trained from scratch on the distilled set and on the whole data, an architecture.
        epochs: Passes over the distilled set; ``epochs * ceil(n / batch_size)`` steps for the n images that
            networks see of it: its views, where stored images are packed. Every other set is trained for as
            many steps.
        batch_size: Images a step; a smaller set is taken whole.
        optimiser: ``sgd``, ``adam`` or ``adamw``.
        learning_rate: The first rate; a rate that the distilled set has learned replaces it there, with the
            labels that it was learned with.
        momentum: Of ``sgd``.
        weight_decay: L2 penalty (decoupled for ``adamw``).
        schedule: ``step`` (a tenth from half-way on), ``cosine`` (ends at 0) or ``constant``.
        precision: ``float32``, or ``bfloat16`` for training under autocast; scores are taken in float32.
            ``auto``: bfloat16 where the device multiplies it natively, else float32; a report names which.
        augment: ``stored`` (the distilled set's own, for every set), ``none``, or a description.
        mix: ``none``, ``cutmix:alpha=1,probability=0.5`` or ``mixup:alpha=0.2``: after augmentation the
            images of a batch are mixed, and their targets with them.
        average: Decay of a moving average of the weights over steps, which is what is scored; 0: the last
            weights are. Statistics of batch normalisation are those of the last step.
        split: What is scored: ``test``, or ``validation`` for choices that must not see test data.
        random_draws: Random selections of the same stored images a class, packed alike; 0 for none.
        random_repeats: Networks trained from scratch on each of them. One is best: at equal cost, more
            draws say more about random selection than more networks a draw.
        whole: Whether to train on the whole training data as well.
        labels: Which labels sets are trained with: ``classes`` (each image's class, under the task's own
            loss), ``stored`` (the set's own targets, loss and views) or ``both``, side by side. Of a set
            whose own targets are classes all three are the same.
        seed: Every draw derives from it.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range or unknown.
    """

    architectures: tuple[str, ...] = (AUTO,)
    kernels: tuple[str, ...] = ()
    repeats: int = 3
    epochs: int = 300
    batch_size: int = 256
    optimiser: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "step"
    precision: str = "float32"
    augment: str = STORED
    mix: str = NONE
    average: float = 0.0
    split: str = "test"
    random_draws: int = 5
    random_repeats: int = 1
    whole: bool = True
    labels: str = "both"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.architectures, str) or not isinstance(self.architectures, tuple):
            raise TypeError(
                f"architectures must be a tuple of descriptions, got {self.architectures!r}; "
                'write ("convnet",) for one'
            )
        if not all(isinstance(a, str) and a for a in self.architectures):
            raise ValueError(f"expected descriptions, all texts, got {self.architectures!r}")
        if len(set(self.architectures)) < len(self.architectures):
            raise ValueError(f"architectures names one twice: {', '.join(self.architectures)}")
        if not isinstance(self.kernels, tuple):
            raise TypeError(f"kernels must be a tuple of texts, got {self.kernels!r}")
        for text in self.kernels:
            if text != TRAINED and not text.startswith("teacher"):
                parse_kernel(text)
        for name, low in (("repeats", 1), ("epochs", 1), ("batch_size", 1), ("random_repeats", 1)):
            checks.integer(name, getattr(self, name), low)
        for name in ("random_draws", "seed"):
            checks.integer(name, getattr(self, name), 0)
        checks.number("learning_rate", self.learning_rate, above=0)
        checks.number("weight_decay", self.weight_decay, low=0)
        for name, known in CHOICES.items():
            checks.choice(name, getattr(self, name), known)
        parse_mixing(self.mix)
        checks.number("average", self.average, low=0, below=1)
        _make_optimiser(self)

    def make_optimiser(self) -> Optimiser:
        """The optimiser that the protocol describes."""
        return _make_optimiser(self)

    def steps(self, images: int) -> int:
        """Training steps for a distilled set that shows networks ``images`` images."""
        return self.epochs * -(-images // self.batch_size)

    def training(self, steps: int) -> Training:
        """How networks are trained in ``steps`` steps."""
        return Training(
            steps=steps,
            batch_size=self.batch_size,
            optimiser=self.make_optimiser(),
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            precision=self.precision,
            mix=self.mix,
            average=self.average,
        )

    def record(self) -> dict[str, Any]:
        """Every setting, as JSON can hold it; those of :data:`LATER` where they are not as they were."""
        made = dataclasses.asdict(self)
        made["architectures"], made["kernels"] = list(self.architectures), list(self.kernels)
        return {name: value for name, value in made.items() if LATER.get(name, ...) != value}


def _make_optimiser(protocol: Protocol) -> Optimiser:
    if protocol.optimiser == "sgd":
        return Sgd(momentum=protocol.momentum, weight_decay=protocol.weight_decay)
    return Adam(weight_decay=protocol.weight_decay, decoupled=protocol.optimiser == "adamw")


PROTOCOLS: Mapping[str, Protocol] = {
    # A rate five times the papers' with a cosine: 300 steps then suffice for small networks to converge, on
    # all of the digits too, where the papers' schedule leaves them far from it. At 0.1, ConvNets of width
    # 128 did not always survive the first steps on CIFAR-10; 0.03 left small ones short of what they reach.
    "quick": Protocol(learning_rate=0.05, schedule="cosine"),
    # The evaluation of the DC, DSA and DM papers as their common public code does it (arXiv 2006.05929,
    # 2102.08259, 2110.04181): networks, batch, rates, steps with augmentation and the tenth at half-way
    # were read in that code. It runs one epoch more than it says and restarts the momentum when the rate
    # falls; neither is copied. Random selection is not part of it; whole data is trained longer there.
    "dc": Protocol(repeats=20, epochs=1000, random_draws=10, random_repeats=2),
    # The same without augmentation, for which that code takes 300 epochs.
    "dc-plain": Protocol(repeats=20, epochs=300, augment="none", random_draws=10, random_repeats=2),
}
"""Protocols by name, as they are for classification."""


def named(name: str, task: Task | None = None, **changes: Any) -> Protocol:
    """A protocol of :data:`PROTOCOLS`, with ``changes`` to single settings.

    Args:
        name: Its name.
        task: What it is for; None: classification.
        **changes: Single settings.

    Raises:
        ValueError: The name or a setting is unknown, the protocol is not for the task, or a value is out of
            range.
        TypeError: A value is of the wrong type.
    """
    if name not in PROTOCOLS:
        near = did_you_mean(name, PROTOCOLS, 0.5)
        raise ValueError(f"unknown protocol {name!r}{near}; known: {', '.join(PROTOCOLS)}")
    own: Mapping[str, Any] = {}
    if task is not None and task.protocols is not None:
        if name not in task.protocols:
            raise ValueError(f"the protocol {name} is not for {task.name}: {', '.join(task.protocols)} is")
        own = task.protocols[name]
    return changed(PROTOCOLS[name], **{**own, **changes})


def suited(protocol: Protocol | str, task: Task, **changes: Any) -> Protocol:
    """A protocol, by itself or by name, for a task: its usual network where none is named.

    Networks' descriptions are checked, those of a user's own (which are none) are left as they are.

    Raises:
        ValueError: As :func:`named`; or a network is not for the task.
        TypeError: ``protocol`` is neither a protocol nor a name, or a value is of the wrong type.
    """
    if not isinstance(protocol, Protocol | str):
        raise TypeError(f"protocol must be a Protocol or a name, got {type(protocol).__name__}")
    made = named(protocol, task, **changes) if isinstance(protocol, str) else changed(protocol, **changes)
    return changed(
        made, architectures=tuple(task.network if each == AUTO else each for each in made.architectures)
    )


def require_network(architecture: str, task: Task) -> None:
    """Raise ``ValueError`` where a described network is not for a task."""
    spec = nets.parse(architecture)
    if not {*task.kinds()} & {*spec.tasks}:
        fit = [name for name, kind in nets.architectures().items() if {*task.kinds()} & {*kind.tasks}]
        raise ValueError(
            f"the network {architecture} is for {', '.join(spec.tasks)}, the data for {task.name}: use "
            f"{', '.join(fit)}"
        )


def changed(protocol: Protocol, **changes: Any) -> Protocol:
    """A protocol with ``changes`` to single settings.

    Raises:
        ValueError: A setting is unknown, or a value is out of range.
        TypeError: A value is of the wrong type.
    """
    known = [f.name for f in dataclasses.fields(Protocol)]
    for change in changes:
        if change not in known:
            near = did_you_mean(change, known, 0.5)
            raise ValueError(f"a protocol has no setting {change!r}{near}; it has: {', '.join(known)}")
    return dataclasses.replace(protocol, **changes)
