"""What algorithms tell while they run. They yield events; whoever listens draws bars, logs or saves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData


@dataclass(frozen=True)
class Progress:
    """Some of a known amount of work is done.

    Attributes:
        stage: What is being done, for example ``"train random"``.
        done: Units finished.
        total: Units in all.
        detail: A few words on the newest unit; may be empty.
    """

    stage: str
    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True)
class Started:
    """The first iteration of this call begins: ``index`` are done, of ``total``."""

    index: int
    total: int


@dataclass(frozen=True)
class Notice:
    """Something a person should know while it can still be changed, as one sentence."""

    text: str


@dataclass(frozen=True)
class Step:
    """One iteration of a method is done.

    Attributes:
        index: How many iterations are done now.
        total: Iterations in all.
        metrics: What the method measured in it, by name, for example ``{"loss": 3.1}``.
        seconds: Wall time of this iteration.
    """

    index: int
    total: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written: a run killed from here on resumes at ``index``."""

    index: int
    path: Path


@dataclass(frozen=True)
class Snapshot:
    """The distilled set as it stands after ``index`` iterations."""

    index: int
    distilled: "DistilledData"


Event = Progress | Started | Notice | Step | Saved | Snapshot
