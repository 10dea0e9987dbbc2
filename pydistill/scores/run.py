"""Computing scores: networks learn the training images, and what they make of each is written down."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydistill import nets, seeds, threads
from pydistill.data.identity import READ, data_identity
from pydistill.data.real import RealData
from pydistill.errors import CheckpointError, DivergenceError
from pydistill.events import Event, Progress
from pydistill.machine import resolve_device
from pydistill.modes import plain_modes
from pydistill.scores.embedding import features_of
from pydistill.scores.store import ROOT, Array, Scores
from pydistill.scores.training import ScoreTraining
from pydistill.storage.checkpoint import Checkpoint
from pydistill.storage.files import clear_leftovers
from pydistill.storage.identity import differences
from pydistill.tasks.base import chunks
from pydistill.training.jobs import TrainingJob
from pydistill.training.run import TrainingRun
from pydistill.training.samples import SplitSamples

State = dict[str, Any]

STAGE = "scores"
CHECKPOINT = "checkpoint.safetensors"
_AT_ONCE = 128
_LARGEST = float(np.finfo(np.float16).max)


def compute_scores(
    data: RealData,
    network: str = "auto",
    *,
    seed: int = 0,
    folder: Path | str | None = None,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
    **settings: Any,
) -> Scores:
    """Train networks on the training images and record, epoch by epoch, what they make of each.

    Args:
        data: The real data; its training images are scored.
        network: What :func:`pydistill.nets.build` takes; ``auto``: the task's usual one, of width 32.
        seed: Every draw derives from it: same seed, machine and version, same scores.
        folder: Where they are kept; scores that are there already are given back at once, and a computation
            that was interrupted goes on after its last epoch. None: in memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        on_event: Told of every epoch.
        **settings: Of :class:`ScoreTraining`: ``epochs``, ``networks``, ``folds``, ...

    Raises:
        TypeError, ValueError: A setting is unknown or out of range.
        CheckpointError: The folder holds other scores; in what they differ is named.
        FileFormatError: A file in it is damaged.
        OutputError: It cannot be written.
        DivergenceError: A loss is not finite.
    """
    where = None if folder is None else Path(folder)
    made = Scoring(data, ScoreTraining(network=network, **settings), seed, resolve_device(device), where)
    for event in made.run():
        if on_event is not None:
            on_event(event)
    return made.scores()


class Scoring:
    """A computation of scores in progress, kept after any epoch.

    Args:
        data: The real data.
        training: How networks are trained.
        seed: What they derive from.
        device: Where.
        folder: Where everything is kept; None: in memory, see :meth:`state`.

    Raises:
        CheckpointError: The folder holds other scores.
        FileFormatError: A file in it is damaged.
    """

    def __init__(
        self,
        data: RealData,
        training: ScoreTraining,
        seed: int,
        device: torch.device,
        folder: Path | None = None,
    ) -> None:
        self.data, self.seed, self.device, self.folder = data, seed, device, folder
        self.training = training.settled(data)
        count = len(data.train)
        if self.training.folds > count:
            raise ValueError(
                f"{self.training.folds} folds asked for, but there are {count} training images"
            )
        self._begun, self._seconds = time.perf_counter(), 0.0
        self._done = 0
        self._found: Scores | None = None
        self._run_state: State | None = None
        generator = seeds.generator(seed, "folds")
        self._fold = torch.randperm(count, generator=generator) % max(1, self.training.folds)
        self._identity = {
            "data": data.fingerprint,
            "training": self.training.record(),
            "seed": seed,
            **data_identity(data),
        }
        if folder is not None and (folder / ROOT).exists():
            self._found = self._kept(Scores.load(folder))
            return
        arrays = self._shapes()
        checkpoint = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            clear_leftovers(folder)
            if (folder / CHECKPOINT).exists():
                checkpoint = Checkpoint.load(folder / CHECKPOINT, device)
                checkpoint.require(self._identity, folder / CHECKPOINT, READ)
        self._arrays = {
            name: _array(folder, name, shape, fresh=checkpoint is None) for name, shape in arrays.items()
        }
        if checkpoint is not None:
            self._take_up(checkpoint.state)

    @property
    def total(self) -> int:
        """Epochs of all networks."""
        return len(self.training.trainings) * self.training.epochs

    def run(self) -> Iterator[Progress]:
        """Train what is left, epoch by epoch."""
        if self._found is not None:
            return
        each = self.training.epochs
        for at in range(self._done // each, len(self.training.trainings)):
            network, fold = self.training.trainings[at]
            yield from self._one(at, network, fold)
        self._seal()

    def state(self) -> State:
        """All that the epochs to come depend on, records included."""
        return {
            "done": self._done,
            "run": self._run_state,
            "seconds": self._spent(),
            "arrays": {name: torch.from_numpy(np.asarray(array)) for name, array in self._arrays.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of the same computation."""
        for name, array in self._arrays.items():
            array[...] = state["arrays"][name].cpu().numpy()
        self._take_up(state)

    def scores(self) -> Scores:
        """What was found, once :meth:`run` has ended."""
        assert self._found is not None
        return self._found

    # ---- one network ---------------------------------------------------------------------------------

    def _one(self, at: int, network: int, fold: int | None) -> Iterator[Progress]:
        """Train one network to its end."""
        data, training = self.data, self.training
        learned = torch.arange(len(data.train))
        if fold is not None:
            learned = learned[self._fold != fold]
        split = data.train if fold is None else data.train.take(learned)
        job = TrainingJob(
            SplitSamples(data, split, self.device),
            seeds.derive(self.seed, "scores", network, 0 if fold is None else fold),
            training.augment,
        )
        with plain_modes(gradients=True):
            run = TrainingRun(
                training.network, [job], data.task, training.training(data.task, len(split)), self.device
            )
            if self._run_state is not None:
                run.restore(self._run_state)
        own = self._recorded(learned, fold)
        for epoch in range(self._done - at * training.epochs, training.epochs):
            loss = self._epoch(run, network, epoch, learned, own)
            last = epoch + 1 == training.epochs
            if epoch + 1 == training.early and "grand" in self._arrays:
                self._look(run, network, learned[own], grand=True)
            if last:
                self._ended(run, network, fold, learned)
            self._done += 1
            self._run_state = None if last else run.state()
            self._keep()
            yield Progress(STAGE, self._done, self.total, f"network {at + 1}: loss {loss:.4g}")

    def _recorded(self, learned: Tensor, fold: int | None) -> Tensor:
        """(M,) bool: of which of its images a network's record is kept: every image is in one record."""
        if fold is None:
            return torch.ones(len(learned), dtype=torch.bool)
        return (self._fold[learned] + 1) % self.training.folds == fold

    @plain_modes(gradients=True)
    def _epoch(self, run: TrainingRun, network: int, epoch: int, learned: Tensor, own: Tensor) -> float:
        task, losses = self.data.task, []
        with threads.suited(run.work, self.device):
            for info in run.run():
                picked = info.indices(0)
                picked = torch.arange(len(learned)) if picked is None else picked
                kept = own[picked]
                with torch.no_grad():
                    measured = task.measure(info.outputs(0), info.targets(0))
                for name, value in measured.items():
                    row = self._arrays[f"{name}-{network}"][epoch]
                    row[learned[picked[kept]].numpy()] = _half(value.float().cpu()[kept])
                losses.append(float(info.losses))
                if info.ends_epoch:
                    break
        if not np.isfinite(losses[-1]):
            raise DivergenceError(
                f"the loss of {self.training.network} is {losses[-1]} in epoch {epoch + 1}: a smaller "
                "learning rate may help"
            )
        return float(np.mean(losses))

    def _ended(self, run: TrainingRun, network: int, fold: int | None, learned: Tensor) -> None:
        """What a network says after its training."""
        run.results()  # raises where parameters are not finite
        first = network == 0 and not fold
        if first:
            self._look(run, network, torch.arange(len(self.data.train)), grand=False)
        if fold is not None and "out_of_fold" in self._arrays:
            held = torch.nonzero(self._fold == fold).flatten()
            for part, outputs, _, _ in self._passed(run, held):
                said = self.data.task.probabilities(outputs).float().cpu()
                self._arrays["out_of_fold"][network, part.numpy()] = _half(said)

    def _look(self, run: TrainingRun, network: int, which: Tensor, *, grand: bool) -> None:
        """A pass over images: the gradients' lengths of the last layer, or embeddings and residuals."""
        for part, outputs, features, targets in self._passed(run, which):
            rows = part.numpy()
            if not grand:
                self._arrays["embedding"][rows] = _half(features)
            if "residual" not in self._arrays:
                continue
            residual = self.data.task.residuals(outputs, targets)
            if grand:
                length = residual.norm(dim=1).cpu() * (1 + features.square().sum(1)).sqrt()
                self._arrays["grand"][network, rows] = _half(length)
            else:
                self._arrays["residual"][rows] = _half(residual.cpu())

    @torch.no_grad()
    def _passed(self, run: TrainingRun, which: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """(positions, outputs, features on the CPU, targets) of images, some at a time."""
        network, data = run.module, self.data
        assert isinstance(network, nets.Network)
        training = network.training
        network.eval()
        try:
            for part in chunks(len(which), _AT_ONCE):
                rows = which[part]
                images = data.inputs(data.train, rows, self.device)
                targets = data.train.targets[rows].to(self.device)
                features = features_of(network, data.task, images, targets).cpu()
                yield rows, network(images), features, targets
        finally:
            network.train(training)

    # ---- what is kept --------------------------------------------------------------------------------

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all arrays by name."""
        data, count = self.data, len(self.data.train)
        training, task = self.training, data.task
        shapes: dict[str, tuple[int, ...]] = {
            f"{measure}-{network}": (training.epochs, count)
            for network in range(training.networks)
            for measure in task.measures
        }
        network = nets.build(training.network, data.shape, task.outputs, torch.Generator()).eval()
        with torch.no_grad():
            one = features_of(network, task, data.inputs(data.train, slice(0, 1)), data.train.targets[:1])
        shapes["embedding"] = (count, one.shape[1])
        if task.by_class:
            shapes["residual"] = (count, task.outputs)
            shapes["grand"] = (training.networks, count)
            if training.folds:
                shapes["out_of_fold"] = (training.networks, count, task.outputs)
        return shapes

    def _keep(self) -> None:
        if self.folder is None:
            return
        for array in self._arrays.values():
            if isinstance(array, np.memmap):
                array.flush()
        state = {key: value for key, value in self.state().items() if key != "arrays"}
        Checkpoint(self._identity, self._done, self._spent(), state).save(self.folder / CHECKPOINT)

    def _take_up(self, state: Mapping[str, Any]) -> None:
        self._done, self._run_state = state["done"], state["run"]
        self._begun, self._seconds = time.perf_counter(), state["seconds"]

    def _seal(self) -> None:
        data = self.data
        found = Scores(
            data.name,
            data.fingerprint,
            data_identity(data),
            self.training,
            self.seed,
            self._spent(),
            self._arrays,
        )
        if self.folder is not None:
            found.seal(self.folder)
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
            found = Scores.load(self.folder)
        self._found = found

    def _kept(self, found: Scores) -> Scores:
        """Scores that were there, where they are those that are asked for."""
        there = {
            "data": found.fingerprint,
            "training": found.training.record(),
            "seed": found.seed,
            **found.preprocess,
        }
        differing = differences(self._identity, there)
        if differing:
            raise CheckpointError(f"{self.folder} holds other scores: {'; '.join(differing)}")
        return found

    def _spent(self) -> float:
        return self._seconds + time.perf_counter() - self._begun


def _array(folder: Path | None, name: str, shape: tuple[int, ...], *, fresh: bool) -> Array:
    if folder is None:
        return np.zeros(shape, dtype=np.float16)
    path = folder / f"{name}.npy"
    if not fresh and path.exists():
        found: Array = np.lib.format.open_memmap(path, mode="r+")
        if found.shape == shape and found.dtype == np.float16:
            return found
    made: Array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    return made


def _half(values: Tensor) -> Array:
    found: Array = values.clamp(-_LARGEST, _LARGEST).numpy().astype(np.float16)
    return found
