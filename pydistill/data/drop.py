"""Training images that are left out of a data set, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from pydistill.data.real import Split
from pydistill.tasks import Task


@dataclass(frozen=True)
class Drop:
    """Which training images of one data set to leave out.

    Attributes:
        fingerprint: Of the data that the positions are of.
        reasons: Positions in its training split, from 0, by the name of what speaks against them; one may
            be under several.
    """

    fingerprint: str
    reasons: Mapping[str, tuple[int, ...]]

    @property
    def positions(self) -> tuple[int, ...]:
        """Every position once, ascending."""
        return tuple(sorted({at for each in self.reasons.values() for at in each}))

    def drop_record(self) -> "Drop":
        """Itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        reasons = {name: list(positions) for name, positions in self.reasons.items()}
        return {"fingerprint": self.fingerprint, "reasons": reasons}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Drop":
        """The inverse of :meth:`to_json`."""
        return cls(facts["fingerprint"], {name: tuple(each) for name, each in facts["reasons"].items()})


@runtime_checkable
class Droppable(Protocol):
    """What says which images to leave out: a :class:`Drop`, or an analysis."""

    def drop_record(self) -> Drop:
        """The images."""


def leave_out(train: Split, task: Task, drop: Drop, fingerprint: str) -> tuple[Split, dict[str, Any], str]:
    """Training images without those of ``drop``.

    Args:
        train: All of them.
        task: What targets are.
        drop: Which to leave out.
        fingerprint: Of the data as it was read, all splits.

    Returns:
        What is left; what was left out, as provenance keeps it; the same as a sentence.

    Raises:
        ValueError: ``drop`` is of other data, or leaves nothing, or nothing of a class.
    """
    if drop.fingerprint != fingerprint:
        raise ValueError(
            f"drop is of data with fingerprint {drop.fingerprint[:16]}, this data has {fingerprint[:16]}: "
            "read it "
            "with the options that it was analysed with (seed, validation, size), or analyse it again"
        )
    positions = drop.positions
    if positions and not 0 <= positions[0] <= positions[-1] < len(train):
        wrong = positions[0] if positions[0] < 0 else positions[-1]
        raise ValueError(f"drop names training image {wrong}, but there are {len(train)}, numbered from 0")
    kept = torch.ones(len(train), dtype=torch.bool)
    kept[list(positions)] = False
    left = train.take(torch.nonzero(kept).flatten())
    _require_some(left, train, task)
    counts = {name: len(set(each)) for name, each in drop.reasons.items()}
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    facts = {"fingerprint": fingerprint, "images": len(positions), "reasons": counts}
    return left, facts, f"{len(positions):,} training images are left out as asked for ({told or 'none'})"


def _require_some(left: Split, train: Split, task: Task) -> None:
    if not len(left):
        raise ValueError(f"drop leaves none of the {len(train)} training images")
    if not task.by_class:
        return
    groups = task.groups(left.targets)
    empty: Sequence[str] = [
        name for name, member in zip(groups.names, groups.members, strict=True) if not len(member)
    ]
    if empty:
        raise ValueError(f"drop leaves no training image of class {empty[0]!r}: name fewer findings")
