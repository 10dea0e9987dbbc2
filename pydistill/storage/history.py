"""What a run measured along the way, kept beside its result in ``history.json``.

```
{"steps": [1, 2, ...], "metrics": {"loss": [...], ...}, "seconds": [...], ...}
```

Written whole before every checkpoint, so that it reaches at least as far as the checkpoint does; taken up
again, what lies behind the checkpoint is cut off. So a killed run goes on without a gap or a step twice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydistill.errors import FileFormatError
from pydistill.storage.records import Kind, read_json, write_json

HISTORY = "history.json"
RECORD = Kind("pydistill.history", 1, "a history of a run", "remove it, the run goes on")
LARGEST = 2000
"""Most points that are kept of a run; a longer one keeps its first step, every k-th and its last."""


@dataclass
class History:
    """Points of a run.

    Attributes:
        total: Iterations of the whole run: they decide which of them are kept.
        steps: Iterations done, ascending.
        metrics: What was measured in each of these, by name; None where it was not measured.
        seconds: Wall time of the run up to each, over all calls that took part.
    """

    total: int
    steps: list[int] = field(default_factory=list)
    metrics: dict[str, list[float | None]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def add(self, step: int, measured: Mapping[str, float], seconds: float) -> None:
        """Keep the measurements of a step, where it is one of those that are kept."""
        if step not in (1, self.total) and step % max(1, math.ceil(self.total / LARGEST)):
            return
        for name in measured.keys() - self.metrics.keys():
            self.metrics[name] = [None] * len(self.steps)
        for name, values in self.metrics.items():
            values.append(measured.get(name))
        self.steps.append(step)
        self.seconds.append(seconds)

    def record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "steps": self.steps,
            "metrics": dict(sorted(self.metrics.items())),
            "seconds": [round(value, 3) for value in self.seconds],
        }

    def save(self, folder: Path) -> None:
        """Write it into a run's folder; an older one is replaced as a whole or not at all.

        Raises:
            OutputError: It could not be written.
        """
        write_json(folder / HISTORY, RECORD, self.record())

    @classmethod
    def load(cls, folder: Path, total: int, until: int | None = None) -> Self:
        """What was kept of the run in ``folder``, empty where nothing was.

        Args:
            folder: The run's.
            total: Iterations of the whole run.
            until: Leave out what lies behind this iteration.

        Raises:
            FileFormatError: The file is damaged.
        """
        found = read_history(folder)
        if found is None:
            return cls(total)
        keep = sum(1 for step in found["steps"] if until is None or step <= until)
        metrics = {name: values[:keep] for name, values in found["metrics"].items()}
        return cls(total, found["steps"][:keep], metrics, found["seconds"][:keep])


def read_history(folder: Path) -> dict[str, Any] | None:
    """What ``history.json`` in ``folder`` holds, or None where there is none.

    Raises:
        FileFormatError: The file is damaged.
    """
    path = folder / HISTORY
    if not path.exists():
        return None
    found = read_json(path, RECORD)
    try:
        count = len(found["steps"])
        columns = [found["seconds"], *found["metrics"].values()]
        if any(len(column) != count for column in columns):
            raise ValueError("its columns differ in length")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} cannot be read ({error!r}): remove it, the run goes on") from error
    return {name: found[name] for name in ("steps", "metrics", "seconds")}
