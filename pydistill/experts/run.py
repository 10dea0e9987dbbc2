"""Training experts into a folder: resumable at any point, over processes or ranks."""

import dataclasses
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from pydistill import checks
from pydistill.data.identity import READ
from pydistill.data.real import RealData
from pydistill.distributed import World
from pydistill.engine.preparation import Interim, Telling
from pydistill.errors import OutputError, PydistillError
from pydistill.events import Event, Progress
from pydistill.experts.store import (
    EXPERT,
    FACTS,
    MANIFEST,
    Experts,
    expert_folder,
    identity,
    load_experts,
    read_manifest,
    write_manifest,
)
from pydistill.experts.training import Expert, ExpertTraining, State
from pydistill.experts.trajectory import snapshot_path, write_snapshot
from pydistill.machine import resolve_device
from pydistill.modes import plain_modes
from pydistill.optim import Tensors
from pydistill.storage.checkpoint import Checkpoint
from pydistill.storage.files import clear_leftovers
from pydistill.storage.records import write_json
from pydistill.storage.run_folder import left_as_found

STORAGES = ("float32", "bfloat16")
_CHECKPOINT = "checkpoint.safetensors"
_STAGE = "experts"


@plain_modes(gradients=True)
def train_experts(
    data: RealData,
    folder: Path | str,
    count: int,
    training: ExpertTraining | None = None,
    *,
    storage: str = "float32",
    device: str = "auto",
    processes: int = 1,
    rank: int | None = None,
    ranks: int | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Experts:
    """Train ``count`` experts into a folder, or go on where an earlier call stopped, however it stopped.

    Expert i is trained by rank i mod ``ranks``; an expert does not depend on who trains it or on how often
    it was interrupted. Every snapshot is a file of its own, written whole or not at all.

    Args:
        data: The real data.
        folder: Where they go; made where it is missing.
        count: Experts in all, those there already included.
        training: How; None: the defaults.
        storage: Number format of snapshots: ``bfloat16`` takes half of the disk and rounds to three digits.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        processes: How many train side by side on this machine; the CPU's threads are shared out.
        rank: Which part is this process's; None: what ``torchrun`` says, or 0.
        ranks: How many parts there are; None: what ``torchrun`` says, or 1.
        on_event: Told of every epoch.

    Returns:
        All experts that lie in the folder, other ranks' included.

    Raises:
        ValueError: An argument is out of range.
        CheckpointError: The folder holds experts trained otherwise or on other data; differences are named.
        OutputError: The folder cannot be written, or the disk has no room for what is still to come.
        DivergenceError: A loss is not finite; what was written before stays.
    """
    training = training or ExpertTraining()
    world = World.of(rank=rank, ranks=ranks)
    for name, value in (("count", count), ("processes", processes)):
        checks.integer(name, value, 1)
    checks.choice("storage", storage, STORAGES)
    folder, where = Path(folder), resolve_device(device, world)
    shared = identity(data, training, storage)
    Expert(data, training, 0, torch.device("cpu"))  # refuses what does not fit before anything is written
    with left_as_found(folder, (MANIFEST,)):
        _open(folder, data.name, shared)
        _require_room(folder, needed_bytes(data, training, count, storage) - _held(folder))
        run, mine = _Run(data, folder, training, shared, where), list(range(world.rank, count, world.ranks))
        if processes == 1:
            for event in _train(run, mine):
                if on_event is not None:
                    on_event(event)
        else:
            _spawn(run, mine, processes, on_event)
    return load_experts(folder)


def keep_experts(
    data: RealData, count: int, training: ExpertTraining, device: torch.device, interim: Interim
) -> Telling[list[list[Tensors]]]:
    """Snapshots of experts in memory, for a method that trains a few of its own; told epoch by epoch.

    Args:
        data: The real data.
        count: How many.
        training: How.
        device: Where.
        interim: Where they are kept, and found where an earlier call had trained them.
    """
    held: State = interim.find(_STAGE) or {"snapshots": [], "epochs": 0, "expert": {}}
    total = count * training.epochs
    for done in range(held["epochs"], total):
        index, epoch = divmod(done, training.epochs)
        if epoch == 0 or done == held["epochs"]:
            expert = Expert(data, training, index, device)
        if epoch == 0:
            held["expert"] = expert.start()
            held["snapshots"].append([held["expert"]["weights"]])
        held["snapshots"][index] += expert.epoch(held["expert"], epoch)
        held["epochs"] = done + 1
        interim.keep(_STAGE, lambda: held, last=done + 1 == total)
        yield Progress(_STAGE, done + 1, total, _note(index, held["expert"]))
    snapshots: list[list[Tensors]] = held["snapshots"]
    return snapshots


def needed_bytes(data: RealData, training: ExpertTraining, count: int, storage: str = "float32") -> int:
    """Bytes on disk of ``count`` experts, to within the files' headers."""
    weights = Expert(data, training, 0, torch.device("cpu")).start()["weights"]
    size: int = getattr(torch, storage).itemsize
    each: int = sum(
        value.numel() * (size if value.is_floating_point() else value.itemsize)
        for value in weights.values()
    )
    return count * (1 + training.epochs * training.snapshots) * each


def _open(folder: Path, name: str, shared: dict[str, Any]) -> None:
    """Make the folder, or see that what it holds is of the same kind."""
    clear_leftovers(folder)
    if (folder / MANIFEST).exists():
        facts = read_manifest(folder)
        found = {key: facts[key] for key in shared if key in facts}
        Checkpoint(found, 0, 0.0, {}).require(shared, folder / MANIFEST, READ)
    else:
        write_manifest(folder, name, shared)


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"the experts still to come take {needed / 2**20:,.0f} MiB, {folder} has room for "
            f"{free / 2**20:,.0f} MiB: fewer experts, fewer epochs or bfloat16 storage take less"
        )


def _held(folder: Path) -> int:
    """Bytes of snapshots there already."""
    return sum(path.stat().st_size for path in folder.glob("[0-9]*/[0-9]*.safetensors"))


@dataclass(frozen=True)
class _Run:
    """What all experts of a call share; ``shared`` is their :func:`identity`."""

    data: RealData
    folder: Path
    training: ExpertTraining
    shared: dict[str, Any]
    device: torch.device


def _train(run: _Run, mine: list[int]) -> Iterator[Progress]:
    training, shared = run.training, run.shared
    total = len(mine) * training.epochs
    for place, index in enumerate(mine):
        own = expert_folder(run.folder, index)
        clear_leftovers(own)
        done = place * training.epochs
        if (own / FACTS).exists():
            yield Progress(_STAGE, done + training.epochs, total, f"expert {index} is there")
            continue
        expert, path = Expert(run.data, training, index, run.device), own / _CHECKPOINT
        checkpoint = _taken_up(expert, own, path, {**shared, "expert": index}, shared["storage"])
        state, seconds = checkpoint.state, checkpoint.seconds
        for epoch in range(checkpoint.index, training.epochs):
            begun = time.perf_counter()
            snapshots = expert.epoch(state, epoch)
            first = 1 + epoch * training.snapshots
            _write(own, first, snapshots, shared["storage"])
            seconds += time.perf_counter() - begun
            dataclasses.replace(checkpoint, index=epoch + 1, seconds=seconds, state=state).save(path)
            yield Progress(_STAGE, done + epoch + 1, total, _note(index, state))
        facts = {
            "snapshots": 1 + training.epochs * training.snapshots,
            "losses": state["losses"],
            "validation": expert.score(state),
            "seconds": seconds,
        }
        write_json(own / FACTS, EXPERT, facts)
        path.unlink(missing_ok=True)
        write_manifest(run.folder, run.data.name, shared)


def _note(index: int, state: State) -> str:
    return f"expert {index}: loss {state['losses'][-1]:.4g}"


def _taken_up(expert: Expert, own: Path, path: Path, identity: dict[str, Any], storage: str) -> Checkpoint:
    """Where an expert stands: its checkpoint, or its start, which is written."""
    if path.exists():
        found = Checkpoint.load(path, expert.device)
        found.require(identity, path, READ)
        return found
    state: State = expert.start()
    _write(own, 0, [state["weights"]], storage)
    return Checkpoint(identity, 0, 0.0, state)


def _write(own: Path, first: int, snapshots: list[Tensors], storage: str) -> None:
    for at, weights in enumerate(snapshots):
        write_snapshot(snapshot_path(own, first + at), weights, getattr(torch, storage))


# ---- several processes -------------------------------------------------------------------------------


def _spawn(run: _Run, mine: list[int], processes: int, on_event: Callable[[Event], None] | None) -> None:
    """Share ``mine`` out among fresh processes and pass their events on."""
    threads = max(1, torch.get_num_threads() // processes)
    _start_tracker()
    queue = get_context("spawn").SimpleQueue()
    context = spawn(  # type: ignore[no-untyped-call]
        _work,
        (run, [mine[worker::processes] for worker in range(processes)], threads, queue),
        nprocs=processes,
        join=False,
    )
    done, total, finished = [0] * processes, len(mine) * run.training.epochs, False
    try:
        while not finished:
            finished = context.join(timeout=0.2)
            for worker, told in _told(queue):
                done[worker] = told.done
                if on_event is not None:
                    on_event(dataclasses.replace(told, done=sum(done), total=total))
    except ProcessExitedException as error:
        raise PydistillError(f"{error}: the same call goes on from what was written") from error
    finally:
        for process in context.processes:
            process.kill()
        for process in context.processes:
            process.join()


def _start_tracker() -> None:
    """Start the process that removes shared resources so that a terminal that closes does not end it.

    It ignores SIGINT and SIGTERM by itself; SIGHUP, which reaches a whole group too, stays blocked in it.
    """
    if not hasattr(signal, "SIGHUP"):
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _told(queue: Any) -> Iterator[tuple[int, Progress]]:
    """What workers have told since; their errors are raised."""
    while not queue.empty():
        worker, told = queue.get()
        if isinstance(told, PydistillError):
            raise told
        yield worker, told


def _work(worker: int, run: _Run, shares: list[list[int]], threads: int, queue: Any) -> None:
    torch.set_num_threads(threads)
    if run.device == torch.device("cuda"):  # no number was asked for: GPUs are shared out
        run = dataclasses.replace(run, device=torch.device("cuda", worker % torch.cuda.device_count()))
    try:
        for event in _train(run, shares[worker]):
            queue.put((worker, event))
    except PydistillError as error:
        queue.put((worker, error))
