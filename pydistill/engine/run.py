"""Running a method: events as it goes, checkpoints, resume, and the distilled set at the end."""

import contextlib
import math
import platform
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pydistill import checks
from pydistill._version import __version__
from pydistill.budget import Budget
from pydistill.data.distilled import DistilledData
from pydistill.data.identity import EARLIER, READ, data_identity, preprocess_values
from pydistill.data.provenance import Provenance
from pydistill.data.real import RealData
from pydistill.engine.clamp import clamp_state
from pydistill.engine.method import (
    Method,
    State,
    Synthetic,
    check_options,
    make_method,
    notices,
    require_task,
    with_native_precision,
)
from pydistill.engine.preparation import Interim, told
from pydistill.engine.problem import Problem, make_problem
from pydistill.errors import DivergenceError
from pydistill.events import Event, Notice, Saved, Snapshot, Started, Step
from pydistill.machine import tell
from pydistill.modes import plain_modes
from pydistill.storage.checkpoint import Checkpoint
from pydistill.storage.history import History
from pydistill.storage.records import renamed
from pydistill.storage.run_folder import (
    CHECKPOINT,
    PREPARATION,
    RESULT,
    left_as_found,
    prepare,
    read_run,
    write_run,
)
from pydistill.tasks import Task


def distill(
    data: RealData,
    method: Method | str,
    *,
    ipc: int | None = None,
    images: int | None = None,
    fraction: float | str | None = None,
    nbytes: int | str | None = None,
    seed: int = 0,
    device: str = "auto",
    max_batch: int | None = None,
    short_classes: str = "refuse",
    clamp: bool = False,
    preset: str | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 50,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> DistilledData:
    """Distil ``data`` into a few images, as many as one of four budgets says.

    Args:
        data: What :func:`pydistill.load_data` gives.
        method: A method's name, or a configured method.
        ipc: Stored images a class.
        images: Stored images in all; classes get equally many, the first ones one more where it does not
            come out even.
        fraction: Stored images as a share of the training images, such as ``1%``.
        nbytes: Bytes that stored images and targets take, such as ``300kB``.
        seed: Every random draw derives from it: same seed, machine and version, same result.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        max_batch: Most real images in one pass of a network: bounds memory.
        short_classes: A class with fewer training images than the budget asks for: ``refuse``, or ``keep``
            to go on with what there is in it, which the set's provenance and every report then say.
        clamp: Keep learned images within the range of pixels, so that pictures show them as they are: after
            every step pixels that left [0, 1] are put back to its ends.
        preset: One of the method's presets (``quick``, ``paper``), where ``method`` is a name.
        folder: Where checkpoints, the loss history and the result are kept; None: nowhere.
        resume: Go on from the checkpoint in ``folder`` where there is one; a finished run's set is given
            back at once.
        overwrite: Replace a run that ``folder`` holds already.
        checkpoint_every: Iterations between checkpoints.
        on_event: Told of every :data:`~pydistill.events.Event`.
        **options: The method's options, where ``method`` is a name.

    Returns:
        The distilled set; with ``folder`` it is saved there too.

    Raises:
        ValueError, TypeError: An argument is wrong; the message says which and what was expected.
        CheckpointError: The checkpoint is of another run.
        FileFormatError: The checkpoint is damaged.
        OutputError: ``folder`` cannot be written.
        DivergenceError: A loss is not finite; the last checkpoint stays.
    """
    if isinstance(method, str):
        method = make_method(method, preset, **options)
    elif options or preset is not None:
        raise TypeError("options and preset go with a method's name; configure the method itself instead")
    check_options(method)
    problem = make_problem(
        data,
        budget=Budget.of(ipc=ipc, images=images, fraction=fraction, nbytes=nbytes),
        seed=seed,
        device=device,
        max_batch=max_batch,
        short_classes=short_classes,
        clamp=clamp,
    )
    run = distillation(
        problem,
        method,
        folder=None if folder is None else Path(folder),
        resume=resume,
        overwrite=overwrite,
        checkpoint_every=checkpoint_every,
        preset=preset,
    )
    with contextlib.closing(run):
        for event in run:
            if on_event is not None:
                on_event(event)
            elif isinstance(event, Notice):
                tell(None, event.text)
    if not isinstance(event, Snapshot):
        raise AssertionError("a run ends with a snapshot")
    return event.distilled


def distillation(
    problem: Problem,
    method: Method,
    *,
    folder: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 50,
    preset: str | None = None,
) -> Generator[Event, None, None]:
    """:func:`distill` as a stream of events, the last of them a :class:`~pydistill.events.Snapshot`.

    Whoever closes the stream between two iterations leaves a checkpoint of the last one in ``folder``.
    """
    checks.integer("checkpoint_every", checkpoint_every, 1)
    with left_as_found(folder):
        path = None if folder is None else prepare(folder, resume=resume, overwrite=overwrite)
        earlier = _earlier(folder, problem.device, method) if folder is not None and resume else None
        require_task(method, problem)
        method = with_native_precision(
            method, problem.device, earlier and earlier.checkpoint.identity.get("options")
        )
        identity = _identity(problem, method)
        if earlier is not None:
            earlier.checkpoint.require(identity, earlier.path, READ)
            if earlier.distilled is not None:
                yield Snapshot(method.steps, earlier.distilled)
                return
        for text in notices(method, problem.device):
            yield Notice(text)
        taken_up = earlier is not None and earlier.path == path
        interim = Interim(
            None if folder is None else folder / PREPARATION,
            identity,
            None if earlier is None or taken_up else earlier.checkpoint.state,
            replaces=None if resume else path,
        )
        if earlier is not None and taken_up:
            checkpoint = earlier.checkpoint
        else:
            state = yield from told(method.prepare(problem, interim), interim)
            with plain_modes(gradients=True):
                checkpoint = Checkpoint(identity, 0, 0.0, _within(problem, state))
        yield Started(checkpoint.index, method.steps)
        keeper = _Keeper(folder, path, checkpoint, method.steps, preset, taken_up=taken_up)
        if interim.used and path is not None:
            keeper.save(first=True)
            yield Saved(0, path)
        interim.remove()
        for index in range(checkpoint.index, method.steps):
            begun = time.perf_counter()
            try:
                with plain_modes(gradients=True):
                    metrics = _finite(method.step(problem, checkpoint.state, index))
                    _within(problem, checkpoint.state)
            except DivergenceError as error:
                kept = f"; the last checkpoint is {path}" if path is not None and path.exists() else ""
                raise DivergenceError(f"in iteration {index}: {error}{kept}") from error
            keeper.done(index + 1, metrics, took := time.perf_counter() - begun)
            try:
                yield Step(index + 1, method.steps, metrics, took)
            except GeneratorExit:
                keeper.save()
                raise
            if path is not None and (index + 1) % checkpoint_every == 0 and index + 1 < method.steps:
                keeper.save()
                yield Saved(index + 1, path)
        with plain_modes(gradients=True):
            distilled = collect(problem, method, checkpoint.state, keeper.seconds, preset)
        if folder is not None and path is not None:
            keeper.save_history()
            distilled.save(folder)
            path.unlink(missing_ok=True)
    yield Snapshot(method.steps, distilled)


class _Keeper:
    """Writes down how far a run has come, history first: it reaches at least as far as the checkpoint."""

    def __init__(
        self,
        folder: Path | None,
        path: Path | None,
        begun: Checkpoint,
        total: int,
        preset: str | None,
        *,
        taken_up: bool,
    ) -> None:
        self.folder, self.path, self.begun = folder, path, begun
        self.index, self.seconds, self.saved = begun.index, begun.seconds, begun.index
        self.history = History(total)
        if folder is None or path is None:
            return
        if begun.index:
            self.history = History.load(folder, total, begun.index)
        else:
            if not taken_up:
                path.unlink(missing_ok=True)  # of a run that this one replaces
            self.save_history()
        facts = {"pydistill": __version__, "preset": preset, "identity": begun.identity}
        write_run(folder, facts)

    def done(self, index: int, metrics: Mapping[str, float], seconds: float) -> None:
        """An iteration is done."""
        self.index, self.seconds = index, self.seconds + seconds
        self.history.add(index, metrics, self.seconds)

    def save(self, *, first: bool = False) -> None:
        """The run as it stands, where it has changed or there is no checkpoint yet."""
        if self.path is not None and (first or self.saved != self.index):
            self.save_history()
            replace(self.begun, index=self.index, seconds=self.seconds).save(self.path)
            self.saved = self.index

    def save_history(self) -> None:
        """The history alone."""
        if self.folder is not None:
            self.history.save(self.folder)


def _identity(problem: Problem, method: Method) -> dict[str, Any]:
    """What makes two runs the same: sizes of working batches do not."""
    return {
        "method": method.name,
        "options": method.deciding(method.config()),
        "budget": problem.budget.record(),
        "seed": problem.seed,
        "data": problem.data.fingerprint,
        **data_identity(problem.data),
        **({"clamp": True} if problem.clamp else {}),
    }


class _Earlier(NamedTuple):
    """A run that is taken up: where it stands, and the set if it has ended."""

    checkpoint: Checkpoint
    path: Path
    distilled: DistilledData | None = None


def _earlier(folder: Path, device: torch.device, method: Method) -> _Earlier | None:
    """The run in ``folder``, None where there is none.

    Raises:
        FileFormatError: It is damaged.
    """
    for path in (folder / CHECKPOINT, folder / PREPARATION):
        if path.exists():
            return _Earlier(Checkpoint.load(path, device), path)
    if not (folder / RESULT).exists():
        return None
    found = DistilledData.load(folder)
    made, recorded = found.provenance, renamed(read_run(folder).get("identity", {}), EARLIER)
    there = {
        "method": made.method,
        "options": method.deciding(made.config),
        "budget": dict(made.budget) or {"ipc": made.ipc},
        "seed": made.seed,
        "data": made.fingerprint,
        "preprocess": found.preprocess.name,
        "preprocess_values": preprocess_values(found.preprocess),
        "shape": list(found.shape),
    }
    if made.clamp:
        there["clamp"] = True
    if "horizontal_flip" in recorded:
        there["horizontal_flip"] = recorded["horizontal_flip"]
    return _Earlier(Checkpoint(there, made.steps, made.seconds, {}), folder, found)


def collect(
    problem: Problem, method: Method, state: State, seconds: float, preset: str | None = None
) -> DistilledData:
    """What ``state`` holds, as a set on the CPU with all that a user needs to train on it."""
    made, data = method.result(problem, state), problem.data
    return DistilledData(
        images=made.images.detach().float().cpu().contiguous(),
        targets=made.targets.detach().cpu().contiguous(),
        task=data.task,
        preprocess=data.preprocess,
        augment=data.augment if made.augment is None else made.augment,
        learning_rate=made.learning_rate,
        factor=made.factor,
        recipe=made.recipe,
        origin=_origin(made, data.task),
        weights=None if made.weights is None else made.weights.detach().float().cpu().contiguous(),
        indices=None if made.indices is None else made.indices.cpu().contiguous(),
        provenance=Provenance(
            method=method.name,
            config=method.config(),
            ipc=problem.ipc,
            budget=problem.budget.record(),
            seed=problem.seed,
            data=data.name,
            fingerprint=data.fingerprint,
            versions={
                "pydistill": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            seconds=seconds,
            steps=method.steps,
            preset=preset,
            clamp=problem.clamp,
            short_classes=problem.groups.short(problem.each, made.factor**2),
            dropped=data.dropped,
        ),
    )


def _within(problem: Problem, state: State) -> State:
    """``state``, its images within the range of pixels where that is asked for."""
    if problem.clamp:
        clamp_state(state, problem.preprocess)
    return state


def _origin(made: Synthetic, task: Task) -> Tensor | None:
    """The class that each image was made for, where its target does not say so."""
    if not task.soft(made.targets):
        return None
    if made.origin is None:
        raise AssertionError("a method that learns targets says which class each image was made for")
    return made.origin.detach().cpu().contiguous()


def _finite(metrics: Any) -> dict[str, float]:
    values = {name: float(value) if isinstance(value, Tensor) else value for name, value in metrics.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergenceError(f"{name} is {value}: a smaller learning_rate may help")
    return values
