"""What a method trains before its first iteration: told as it goes, and kept to be taken up again."""

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch

from pydistill.events import Event, Progress
from pydistill.modes import plain_modes
from pydistill.storage.checkpoint import Checkpoint
from pydistill.tasks import Task
from pydistill.training.jobs import Trained, Training, TrainingJob
from pydistill.training.run import TrainingRun

State: TypeAlias = dict[str, Any]
T = TypeVar("T")
Telling: TypeAlias = Generator[Event, None, T]
"""Work that yields events and returns what it made."""

EVERY = 5.0
"""Seconds between two writes, where epochs are shorter: a kill loses no more than that, or one epoch."""


class Interim:
    """What a run keeps of its preparation, part by part, until its first checkpoint.

    It is written at the end of epochs, not more often than every :data:`EVERY` seconds, and where the
    stream of events is closed.

    Args:
        path: The file; None: nothing is kept.
        identity: What the run is.
        found: Parts by name that an earlier call of the run had kept.
        replaces: A file of a run that this one takes the place of; removed before the first write.
    """

    def __init__(
        self,
        path: Path | None = None,
        identity: State | None = None,
        found: State | None = None,
        replaces: Path | None = None,
    ) -> None:
        self._path, self._identity, self._replaces = path, identity or {}, replaces
        self._parts: dict[str, Callable[[], State]] = {}
        self._found = found or {}
        self._changed, self._written = False, time.monotonic()

    @property
    def used(self) -> bool:
        """Whether anything was trained, in this call or before."""
        return bool(self._parts or self._found)

    def find(self, part: str) -> State | None:
        """What was kept of a part; None: nothing."""
        found: State | None = self._found.get(part)
        return found

    def keep(self, part: str, state: Callable[[], State], *, last: bool = False) -> None:
        """A part is at the end of an epoch.

        Args:
            part: Its name.
            state: Gives what is to be kept, until the next call: a tree as a method's state is.
            last: Whether the part is finished, which is always written.

        Raises:
            OutputError: It could not be written.
        """
        self._parts[part], self._changed = state, True
        if last or time.monotonic() - self._written >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Write what has changed since the last write; only where no part is in the middle of an epoch.

        Raises:
            OutputError: It could not be written.
        """
        if self._path is None or not self._changed:
            return
        if self._replaces is not None:
            self._replaces.unlink(missing_ok=True)
        held = self._found | {part: state() for part, state in self._parts.items()}
        Checkpoint(self._identity, 0, 0.0, held).save(self._path)
        self._changed, self._written = False, time.monotonic()

    def remove(self) -> None:
        """Remove the file and forget what was in it: the run has a checkpoint of its own, or needs none."""
        self._parts, self._found = {}, {}
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def told(work: Telling[T], interim: Interim) -> Telling[T]:
    """``work`` under torch's plain modes, whatever the listener has set; closed, it is kept.

    Its events are yielded outside of the modes.
    """
    try:
        while True:
            try:
                with plain_modes(gradients=True):
                    event = next(work)
            except StopIteration as done:
                made: T = done.value
                return made
            try:
                yield event
            except GeneratorExit:
                interim.flush()
                raise
    finally:
        work.close()


def unheard(work: Telling[T]) -> T:
    """What work makes, its events left unheard."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            made: T = done.value
            return made


def trained_network(
    architecture: str,
    job: TrainingJob,
    task: Task,
    training: Training,
    device: torch.device,
    interim: Interim,
    part: str,
) -> Telling[Trained]:
    """A network, trained as :func:`pydistill.training.trainer.train` does it, epoch by epoch.

    Args:
        architecture: What :func:`pydistill.nets.build` takes.
        job: What it is trained on.
        task: What targets are.
        training: How.
        device: Where.
        interim: Where it is kept.
        part: What it is called there and in events.

    Raises:
        DivergenceError: Its loss or parameters are no longer finite.
    """
    with plain_modes(gradients=True):
        run = TrainingRun(architecture, [job], task, training, device)
    kept = interim.find(part)
    if kept is not None:
        run.restore(kept)
    while (info := run.epoch()) is not None:
        interim.keep(part, run.state, last=info.step == info.steps)
        yield Progress(part, info.step, info.steps, f"loss {float(info.losses):.4g}")
    (trained,) = run.results()
    return trained
