"""What a command will take, found by timing a few steps of it; nothing is written and nothing kept."""

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydistill import nets
from pydistill.data.distilled import DistilledData
from pydistill.data.real import RealData
from pydistill.engine.method import Method, with_native_precision
from pydistill.engine.problem import make_problem
from pydistill.engine.run import collect
from pydistill.evaluation.machine import Meter
from pydistill.evaluation.protocol import STORED, Protocol, changed
from pydistill.evaluation.training_sets import gather
from pydistill.experts.run import needed_bytes
from pydistill.experts.store import expert_folders
from pydistill.experts.training import Expert, ExpertTraining
from pydistill.machine import resolve_device, resolve_precision
from pydistill.shown import duration, size
from pydistill.storage.checkpoint import CACHE, Checkpoint
from pydistill.training.scoring import score
from pydistill.training.trainer import TrainingJob, train

_TIMED_STEPS = 5
_TIMED_SECONDS = 20.0


@dataclass(frozen=True)
class Forecast:
    """What a command will take.

    Attributes:
        work: What is counted, for example ``iterations``.
        steps: How many there are to come.
        step_seconds: What one takes.
        other_seconds: What all else takes: the beginning, scores.
        memory: Bytes: the peak while the steps were timed, this process as it stands included.
        disk: Bytes that are kept, and while it runs; 0 where nothing is.
        timed: Steps that were timed.
    """

    work: str
    steps: int
    step_seconds: float
    other_seconds: float
    memory: int
    disk: int
    timed: int

    @property
    def seconds(self) -> float:
        """In all."""
        return self.steps * self.step_seconds + self.other_seconds

    def record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**dataclasses.asdict(self), "seconds": self.seconds}

    def lines(self, folder: Path) -> list[str]:
        """For a person, with what is free beside what is needed."""
        free = available_memory()
        memory = "" if free is None else f", {size(free)} are free"
        stands = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        room = shutil.disk_usage(stands)
        return [
            f"{self.steps:,} {self.work}",
            f"time    {duration(self.seconds)}: {self.step_seconds:.3g} s each, {self.timed} timed, and "
            f"{self.other_seconds:.3g} s beside them",
            f"memory  {size(self.memory)} at the peak{memory}",
            f"disk    {size(self.disk)}, {size(room.free)} are free in {folder}",
        ]


def of_distillation(
    data: RealData,
    method: Method,
    *,
    folder: Path,
    resume: bool = False,
    device: str = "auto",
    **stage: Any,
) -> Forecast:
    """Of ``distill``.

    Args:
        data: The real data.
        method: The method, configured.
        folder: Where the run is, or would be.
        resume: Whether it goes on from the checkpoint in ``folder``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        **stage: As :func:`~pydistill.engine.problem.make_problem` takes them.
    """
    problem = make_problem(data, device=device, **stage)
    method, done, path = with_native_precision(method, problem.device), 0, folder / "checkpoint.safetensors"
    if resume and path.exists():
        done = Checkpoint.load(path, torch.device("cpu")).index
    seconds: list[float] = []
    with Meter(problem.device) as meter:
        begun = time.perf_counter()
        state = method.start(problem)
        beginning = time.perf_counter() - begun
        for index in range(min(method.steps, _TIMED_STEPS)):
            at = time.perf_counter()
            for value in method.step(problem, state, index).values():
                float(value)  # until the device has done it
            seconds.append(time.perf_counter() - at)
            if sum(seconds) > _TIMED_SECONDS:
                break
    kept = collect(problem, method, state, 0.0).nbytes["total"]
    held = _bytes({key: value for key, value in state.items() if key != CACHE}) if method.steps else 0
    return Forecast(
        "iterations",
        method.steps - done,
        _typical(seconds),
        beginning,
        meter.peak_memory,
        2 * (kept + held),
        len(seconds),
    )


def of_evaluation(
    distilled: DistilledData, data: RealData, protocol: Protocol, *, device: str = "auto"
) -> Forecast:
    """Of ``evaluate``: of training networks by the protocol, one by one; stacked ones take less."""
    where = resolve_device(device)
    protocol = changed(protocol, precision=resolve_precision(protocol.precision, where))
    data = dataclasses.replace(data, preprocess=distilled.preprocess)
    augment = distilled.augment if protocol.augment == STORED else protocol.augment
    sets = gather(distilled, data, protocol, augment, where)
    networks = sum(each.repeats for group in sets.groups() for each in group)
    first, steps = sets.groups()[0][0], protocol.steps(len(distilled))
    total = scores = 0.0
    with Meter(where) as meter:
        for architecture in protocol.architectures:
            short = min(steps, _TIMED_STEPS)
            job = TrainingJob(
                first.samples, protocol.seed, augment, loss=first.loss, augmentations=first.augmentations
            )
            one, more = (
                _train_seconds(architecture, job, data, protocol, count, where) for count in (1, 1 + short)
            )
            total += max(more - one, 1e-9) / short
            network = nets.build(architecture, data.shape, data.task.outputs, torch.Generator(), where)
            begun = time.perf_counter()
            score(network, data, data.validation, where)  # test images are scored by evaluate alone
            scored = len(data.validation if protocol.split == "validation" else data.test)
            scores += (time.perf_counter() - begun) * scored / len(data.validation)
    count = max(1, len(protocol.architectures))
    return Forecast(
        f"steps: {networks * len(protocol.architectures)} networks of {steps:,}",
        networks * len(protocol.architectures) * steps,
        total / count,
        networks * scores,
        meter.peak_memory,
        0,
        _TIMED_STEPS * len(protocol.architectures),
    )


def of_experts(
    data: RealData,
    training: ExpertTraining,
    count: int,
    *,
    folder: Path,
    storage: str = "float32",
    device: str = "auto",
    processes: int = 1,
) -> Forecast:
    """Of ``train_experts``, of the experts that are not finished yet; of one process's work."""
    where = resolve_device(device)
    finished = sum((path / "expert.json").exists() for path in expert_folders(folder))
    own = -(-max(0, count - finished) // processes)
    steps = Expert(data, training, 0, where).steps
    few = torch.arange(min(len(data.train), training.batch_size * _TIMED_STEPS))
    part = dataclasses.replace(data, train=data.train.take(few))
    expert = Expert(part, dataclasses.replace(training, snapshots=1), 0, where)
    with Meter(where) as meter:
        state = expert.start()
        expert.epoch(state, 0)
        begun = time.perf_counter()
        expert.epoch(state, 1)
        took = (time.perf_counter() - begun) / expert.steps
    return Forecast(
        f"steps: {own} experts of {training.epochs} epochs, in each of {processes} processes",
        own * training.epochs * steps,
        took,
        0.0,
        meter.peak_memory * processes,
        needed_bytes(data, training, max(0, count - finished), storage),
        expert.steps,
    )


def available_memory() -> int | None:
    """Bytes that new work can have; None where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _typical(seconds: list[float]) -> float:
    """Of all but the first, which prepares what the others use."""
    later = seconds[1:] or seconds
    return sum(later) / max(1, len(later))


def _train_seconds(
    architecture: str,
    job: TrainingJob,
    data: RealData,
    protocol: Protocol,
    steps: int,
    device: torch.device,
) -> float:
    training = protocol.training(steps)
    begun = time.perf_counter()
    train(architecture, [job], data.task, training, device=device, execution="loop")
    return time.perf_counter() - begun


def _bytes(tree: Any) -> int:
    """Of every tensor in a state."""
    if isinstance(tree, Tensor):
        return tree.nbytes
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ()
    return sum(map(_bytes, parts))
