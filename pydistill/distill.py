"""Running a method: events as it goes, checkpoints, resume, and the distilled set at the end."""

import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydistill._version import __version__
from pydistill.checkpoint import Checkpoint
from pydistill.data.distilled import DistilledData, Provenance
from pydistill.data.real import RealData
from pydistill.errors import DivergenceError, OutputError
from pydistill.events import Event, Saved, Snapshot, Step
from pydistill.files import clear_leftovers
from pydistill.method import Method, State, check_options, make_method
from pydistill.problem import Problem, make_problem

CHECKPOINT = "checkpoint.safetensors"


def distill(
    data: RealData,
    method: Method | str,
    *,
    ipc: int,
    seed: int = 0,
    device: str = "auto",
    max_batch: int | None = None,
    short_classes: str = "refuse",
    preset: str | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_every: int = 50,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> DistilledData:
    """Distil ``data`` into ``ipc`` images a class.

    Args:
        data: What :func:`pydistill.load_data` gives.
        method: A method's name, or a configured method.
        ipc: Stored images a class.
        seed: Every random draw derives from it: same seed, machine and version, same result.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        max_batch: Most real images in one pass of a network: bounds memory.
        short_classes: A class with fewer training images than the budget asks for: ``refuse``, or ``keep``
            to go on with what there is in it, which the set's provenance and every report then say.
        preset: One of the method's presets (``quick``, ``paper``), where ``method`` is a name.
        folder: Where checkpoints and the result are kept; None: nowhere.
        resume: Go on from the checkpoint in ``folder`` where there is one.
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
        data, ipc=ipc, seed=seed, device=device, max_batch=max_batch, short_classes=short_classes
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
    for event in run:
        if on_event is not None:
            on_event(event)
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
) -> Iterator[Event]:
    """:func:`distill` as a stream of events, the last of them a :class:`~pydistill.events.Snapshot`."""
    if checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, got {checkpoint_every}")
    identity = {
        "method": method.name,
        "options": method.config(),
        "ipc": problem.ipc,
        "seed": problem.seed,
        "data": problem.data.fingerprint,
    }
    path = None if folder is None else prepare(folder, resume=resume, overwrite=overwrite)
    if path is not None and resume and path.exists():
        checkpoint = Checkpoint.load(path, problem.device)
        checkpoint.require(identity, path)
    else:
        checkpoint = Checkpoint(identity, 0, 0.0, method.start(problem))
    state, seconds = checkpoint.state, checkpoint.seconds

    for index in range(checkpoint.index, method.steps):
        begun = time.perf_counter()
        try:
            metrics = _finite(method.step(problem, state, index))
        except DivergenceError as error:
            kept = f"; the last checkpoint is {path}" if path is not None and path.exists() else ""
            raise DivergenceError(f"in iteration {index}: {error}{kept}") from error
        took = time.perf_counter() - begun
        seconds += took
        yield Step(index + 1, method.steps, metrics, took)
        if path is not None and (index + 1) % checkpoint_every == 0 and index + 1 < method.steps:
            Checkpoint(identity, index + 1, seconds, state).save(path)
            yield Saved(index + 1, path)

    distilled = collect(problem, method, state, seconds, preset)
    if folder is not None and path is not None:
        distilled.save(folder)
        path.unlink(missing_ok=True)
    yield Snapshot(method.steps, distilled)


def prepare(folder: Path, *, resume: bool, overwrite: bool) -> Path:
    """The checkpoint's path in ``folder``, made and found writable before any work is done.

    Raises:
        ValueError: It holds a run already and neither ``resume`` nor ``overwrite`` was asked for.
        OutputError: It cannot be written.
    """
    path = folder / CHECKPOINT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
    if not (resume or overwrite) and (path.exists() or (folder / "distilled.json").exists()):
        raise ValueError(
            f"{folder} holds a run already: resume it (--resume), replace it (--overwrite) "
            "or name another folder"
        )
    if overwrite and not resume:
        path.unlink(missing_ok=True)
    return path


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
        provenance=Provenance(
            method=method.name,
            config=method.config(),
            ipc=problem.ipc,
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
            short_classes=problem.groups.short(problem.ipc * made.factor**2),
        ),
    )


def _finite(metrics: Any) -> dict[str, float]:
    values = {name: float(value) if isinstance(value, Tensor) else value for name, value in metrics.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            raise DivergenceError(f"{name} is {value}: a smaller learning_rate may help")
    return values
