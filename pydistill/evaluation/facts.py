"""What an evaluation keeps: runs, the sets they were trained on, and answers class by class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydistill.tasks import Breakdown

Source: TypeAlias = Literal["distilled", "random", "whole"]
SOURCES: tuple[Source, ...] = ("distilled", "random", "whole")
SOURCE_NAMES: Mapping[Source, str] = {
    "distilled": "distilled images",
    "random": "random real images",
    "whole": "all training images",
}
"""What they are called where they are shown."""


def source_name(source: Source, selected: bool = False) -> str:
    """What networks were trained on, as it is shown; ``selected``: the set holds real images."""
    return "selected images" if selected and source == "distilled" else SOURCE_NAMES[source]


Regime: TypeAlias = Literal["classes", "stored"]
REGIMES: tuple[Regime, ...] = ("classes", "stored")
"""Which labels a set is used with. ``classes``: each image's class, under the task's own loss. ``stored``:
the set's own targets, its loss, its views, where those are others. Sets compare within a regime alone."""
REGIME_NAMES: Mapping[Regime, str] = {"classes": "classes", "stored": "as stored"}
"""What they are called where they are shown."""

OWN_TRAINING = "own training, "
REGRESSION = "kernel ridge, "
"""What names begin with where a network's description would stand: the training that the set was learned
through, and kernel machines."""


@dataclass(frozen=True)
class Run:
    """One network, trained from scratch and scored once.

    Attributes:
        architecture: Its description.
        source: What it was trained on: ``distilled``, ``random`` (a selection of real images) or ``whole``.
        draw: Which random selection, from 0; 0 elsewhere.
        seed: Which of the networks on that set, from 0. Networks of one number start from equal weights.
        value: The metric, a fraction in [0, 1], after the last step.
        loss: Training loss of its last batch.
        seconds: Wall time of its training.
        execution: ``loop`` or ``ensemble``: how it was trained; it does not change results beyond rounding.
        regime: Which labels it was trained with.
        reused: Whether it was trained by an earlier evaluation, as it would have been by this one.
        values: Every value of the metric by name, the headline first; empty in reports written before there
            was this.
        spread: Standard deviation of ``value`` over bootstrap samples of the test images; None where there
            are too few, or the report was written before there was this.
    """

    architecture: str
    source: Source
    draw: int
    seed: int
    value: float
    loss: float
    seconds: float
    execution: str
    regime: Regime = "classes"
    reused: bool = False
    values: Mapping[str, float] = field(default_factory=dict)
    spread: float | None = None


@dataclass(frozen=True)
class SetFacts:
    """A set that networks were trained on, in one regime.

    Attributes:
        images: How many networks see: views, where stored images are packed.
        nbytes: What it takes to keep it for this use: pixels, targets, weights and learned rates.
        learning_rate: The first rate of training on it.
        targets: ``classes``, ``probabilities``, ``values`` or ``augmentations`` (stored, with
            probabilities).
        loss: What it is called.
        labelled_by: The network kept with the distilled set that gave these targets; None: no network did,
            or the distillation itself.
        factor: Views along each side of a stored image.
        regime: Of its runs. Where a random selection would be trained alike in both regimes, its runs are
            those of ``classes`` and stand in both.
    """

    images: int
    nbytes: int
    learning_rate: float
    targets: str = "classes"
    loss: str = "cross-entropy"
    labelled_by: str | None = None
    factor: int = 1
    regime: Regime = "classes"

    @property
    def stored(self) -> int:
        """How many images it takes to keep it."""
        return self.images // self.factor**2

    @property
    def soft(self) -> bool:
        """Whether its targets are others than classes."""
        return self.targets != "classes"


@dataclass(frozen=True)
class Detail:
    """Answers class by class of the networks of one architecture on one kind of set, added up.

    Attributes:
        architecture: Their description.
        source: What they were trained on.
        regime: With which labels.
        networks: How many they are.
        classes: What they answered.
    """

    architecture: str
    source: Source
    regime: Regime
    networks: int
    classes: Breakdown
