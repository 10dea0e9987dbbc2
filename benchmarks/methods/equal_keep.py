"""Finished sets of a table, kept so that a row whose scoring changed is only scored again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydistill.data.distilled import DistilledData
from pydistill.storage.files import write_text

FACTS = "kept.json"


@dataclass(frozen=True)
class Distilled:
    """A finished set and how it came about.

    Attributes:
        made: The set.
        preparing: Seconds before the first step.
        seconds: Seconds in all, preparing included.
        early: (seconds, steps, set) on the way.
        processor: What it was distilled on: level, and whether bfloat16 is native.
    """

    made: DistilledData
    preparing: float
    seconds: float
    early: Sequence[tuple[float, int, DistilledData]]
    processor: Mapping[str, str]


def keep(folder: Path, identity: Mapping[str, Any], done: Distilled) -> None:
    """Write a set, those on its way, and what tells that they are still good."""
    done.made.save(folder / "made")
    for at, (_, _, made) in enumerate(done.early):
        made.save(folder / f"early{at}")
    facts = {
        "identity": identity,
        "preparing": done.preparing,
        "seconds": done.seconds,
        "processor": done.processor,
        "early": [[seconds, steps] for seconds, steps, _ in done.early],
    }
    write_text(folder / FACTS, json.dumps(facts, indent=1) + "\n")  # last: what it tells of is there


def kept(folder: Path, identity: Mapping[str, Any]) -> Distilled | None:
    """What :func:`keep` wrote of the same row, seed, data and code; None: nothing, or of another."""
    if not (folder / FACTS).exists():
        return None
    facts = json.loads((folder / FACTS).read_text())
    if facts["identity"] != json.loads(json.dumps(identity)):
        return None
    early = [
        (seconds, steps, DistilledData.load(folder / f"early{at}"))
        for at, (seconds, steps) in enumerate(facts["early"])
    ]
    made = DistilledData.load(folder / "made")
    return Distilled(made, facts["preparing"], facts["seconds"], early, facts["processor"])
