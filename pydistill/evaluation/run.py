"""Evaluating a distilled set: train on it, on random real images and on everything, score each once."""

import dataclasses
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pydistill import nets, seeds
from pydistill.data.distilled import DistilledData
from pydistill.data.formation import Packed
from pydistill.data.pictures import grid, rows
from pydistill.data.real import RealData
from pydistill.data.recipe import TRAINED
from pydistill.evaluation.as_learned import regress, train_as_learned
from pydistill.evaluation.chosen import chosen, is_chosen
from pydistill.evaluation.facts import OWN_TRAINING, REGRESSION, Detail, Regime, Run, Source
from pydistill.evaluation.kept import KeptScore, Memory, key_of, scored_on
from pydistill.evaluation.machine import Meter, describe
from pydistill.evaluation.notes import notes_on, reuse
from pydistill.evaluation.own_network import OwnNetwork, take
from pydistill.evaluation.protocol import STORED, Protocol, changed, require_network, suited
from pydistill.evaluation.report import Report
from pydistill.evaluation.training_sets import TrainingSet, gather
from pydistill.events import Event, Progress
from pydistill.kernels.functions import Features, Kernel, layered, parse_kernel
from pydistill.machine import resolve_device, resolve_precision, slow_precision, tell
from pydistill.modes import plain_modes
from pydistill.tasks import Breakdown, parse_loss
from pydistill.training.descent import Objective
from pydistill.training.scoring import Scored, assess
from pydistill.training.trainer import Execution, StepInfo, Trained, TrainingJob, choose, train

_SHOWN_CLASSES = 20
_SHOWN_COLUMNS = 10
_SHOWN_PIXELS = 640
"""Width of a row of images that are of no one class."""
_EVENTS_A_NETWORK = 20


@plain_modes(gradients=True)
def evaluate(
    distilled: DistilledData,
    data: RealData,
    protocol: Protocol | str = "quick",
    *,
    device: str = "auto",
    allow_other_data: bool = False,
    execution: Execution = "auto",
    baselines: Path | str | None = None,
    unfinished: Path | str | None = None,
    on_event: Callable[[Event], None] | None = None,
    **changes: Any,
) -> Report:
    """Train networks from scratch on a distilled set and on its baselines, and score each network once.

    Baselines: random selections of as many real images a class, and the whole training data. Where the
    set's stored images are packed, random selections are packed and trained on in the same way. Every
    network is trained for the same number of steps by the same protocol, on images preprocessed as the
    distilled set's were, and scored after its last step; nothing is chosen by a score. Networks of the same
    number start from the same weights on every set.

    Every set is trained on with class labels under the task's own loss, which is where sets of all methods
    compare. Where the distilled set's own targets, loss or views are others, it is also trained on as it is
    stored, beside random selections with the same loss and, where a network that is kept with the set can
    give them, the same kind of targets; the protocol's ``labels`` asks for one of the two alone.

    Args:
        distilled: What to evaluate.
        data: The real data that it was distilled from.
        protocol: How, or the name of one of :data:`~pydistill.evaluation.protocol.PROTOCOLS`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        allow_other_data: Take real data of another fingerprint than the set was distilled from.
        execution: How networks are trained: one by one, stacked, or whichever is faster.
        baselines: Folder where scores of random selections and of whole data are kept: those that are there
            are not trained again, and the report says which. They depend on data, budget, protocol and
            version alone. None: every network is trained.
        unfinished: Folder where every score is kept until the evaluation ends, so that one that was ended
            goes on where it was; it is removed then. None: nothing is kept on the way.
        on_event: Told of :class:`~pydistill.events.Progress`.
        **changes: To single settings of the protocol, such as ``architectures=("convnet:width=32",)``. Here
            a network may also be a ``torch.nn.Module`` of one's own, or a function or class that makes one,
            and ``architectures`` a mapping of names for reports to such networks. Weights are drawn anew
            from the seed for each training, by ``reset_parameters`` or by making the network again; it is
            trained in a loop.

    Raises:
        ValueError: The set does not fit the data, or an argument is wrong; the message says which.
        TypeError: ``protocol`` is neither a protocol nor a name, or the weights of a network of one's own
            cannot be drawn anew.
        DivergenceError: A network's training diverged.
    """
    own: dict[str, OwnNetwork] = {}
    if "architectures" in changes:
        changes["architectures"], own = take(changes["architectures"])
    protocol = suited(protocol, data.task, **changes)
    for architecture in protocol.architectures:
        if architecture not in own:
            require_network(architecture, data.task)
    if own and TRAINED in protocol.kernels:
        raise ValueError(f"the kernel {TRAINED!r} is not of networks of your own: {', '.join(own)}")
    if protocol.kernels:
        data.task.require_by_class("kernel ridge regression")
    _require_match(distilled, data, allow_other_data)
    data = dataclasses.replace(data, preprocess=distilled.preprocess)
    where = resolve_device(device)
    protocol = changed(protocol, precision=resolve_precision(protocol.precision, where))
    if protocol.architectures:
        tell(on_event, slow_precision(protocol.precision, where))
    if not (protocol.architectures or protocol.kernels or distilled.recipe.usable_alone):
        raise ValueError("nothing to score: no network, no kernel, and the set was not learned for one")
    with Meter(where) as meter:
        memory = Memory(baselines, unfinished)
        running = _Evaluation(distilled, data, protocol, where, execution, on_event, own, memory)
        runs = [
            run
            for architecture in protocol.architectures
            for training_sets in running.sets.groups()
            for run in running.run(architecture, training_sets)
        ]
        runs += [*running.own_trainings(), *running.regressions()]
    report = Report(
        data=data.name,
        task=data.task.name,
        metric=data.task.metric,
        runs=tuple(runs),
        sets=running.sets.facts(),
        steps=running.training.steps,
        augment=running.augment,
        protocol=protocol.record(),
        provenance=dataclasses.asdict(distilled.provenance),
        machine=describe(where),
        seconds=meter.seconds,
        peak_memory=meter.peak_memory,
        notes=(
            *notes_on(distilled, data, protocol, running.sets.facts()),
            *reuse(runs, is_chosen(distilled, data)),
        ),
        class_names=data.task.class_names,
        details=running.detailed(),
        size=_size(distilled, data),
        selection=chosen(distilled, data),
        pictures=_pictures(distilled, data, running.sets.random[:1]),
    )
    memory.ended()
    return report


class _Evaluation:
    """What all networks of one evaluation share."""

    def __init__(
        self,
        distilled: DistilledData,
        data: RealData,
        protocol: Protocol,
        device: torch.device,
        execution: Execution,
        on_event: Callable[[Event], None] | None,
        own: Mapping[str, OwnNetwork],
        memory: Memory,
    ) -> None:
        for network in own.values():
            network.check(data.shape, data.task)
        self.own, self.memory = own, memory
        self.distilled, self.data, self.protocol = distilled, data, protocol
        self.device, self.execution, self.on_event = device, execution, on_event
        self.augment = distilled.augment if protocol.augment == STORED else protocol.augment
        self.split = data.validation if protocol.split == "validation" else data.test
        self.training = protocol.training(protocol.steps(len(distilled)))
        kernel = distilled.recipe.kernel
        self.kernels = {
            text: None if text == TRAINED else parse_kernel(text, distilled.teacher(device))
            for text in protocol.kernels or ((kernel,) if kernel else ())
        }
        self.sets = gather(distilled, data, protocol, self.augment, device)
        self.details: dict[tuple[str, Source, Regime], list[Breakdown]] = {}

    def run(self, architecture: str, training_sets: Sequence[TrainingSet]) -> list[Run]:
        """Train on sets of one source and regime and score."""
        plan = [(each, repeat) for each in training_sets for repeat in range(each.repeats)]
        jobs = [
            TrainingJob(
                each.samples,
                seeds.derive(self.protocol.seed, "network", repeat),
                self.augment,
                each.facts.learning_rate,
                loss=each.loss,
                augmentations=each.augmentations,
            )
            for each, repeat in plan
        ]
        stage, runs = _stage(training_sets[0]), []
        keys = [self._key(architecture, each, job) for (each, _), job in zip(plan, jobs, strict=True)]
        kept = [self.memory.find(key, each.source) for (each, _), key in zip(plan, keys, strict=True)]
        missing = [job for job, found in zip(jobs, kept, strict=True) if found is None]
        trained = self._trained(architecture, stage, missing)
        for done, ((each, repeat), key, found) in enumerate(zip(plan, keys, kept, strict=True), 1):
            network: nn.Module | None = None
            if found is None:
                network, result = next(trained)
                scored = assess(network, self.data, self.split, self.device)
                found = KeptScore.of(scored, result), False
                self.memory.keep(key, each.source, found[0])
            score, reused = found
            measured = (score.loss, score.seconds, score.execution)
            runs.append(self._run(architecture, each, repeat, score.scored, *measured, reused=reused))
            told = f"{architecture} {100 * score.scored.value:.1f} %"
            self._tell(f"score {stage}", done, len(plan), told)
            if TRAINED in self.kernels and each.source != "whole" and isinstance(network, nets.Network):
                kernel = Features([layered(network.eval())])
                runs += self._regressed(f"features of trained {architecture}", kernel, [each], repeat)
        return runs

    def _key(self, architecture: str, each: TrainingSet, job: TrainingJob) -> str | None:
        """Under which a network's score is kept; None: it is not, since the network itself is needed."""
        if not self.memory or architecture in self.own:
            return None
        if TRAINED in self.kernels and each.source != "whole":
            return None
        return key_of(each, job, architecture, self.training, self._scored_on, self.device)

    @cached_property
    def _scored_on(self) -> Mapping[str, Any]:
        return scored_on(self.data, self.protocol.split)

    def _trained(
        self, architecture: str, stage: str, jobs: Sequence[TrainingJob]
    ) -> Iterator[tuple[nn.Module, Trained]]:
        """Each job's network when it is trained; one module holds the weights of one after another."""
        own, callback = self.own.get(architecture), self._callback(architecture, stage, len(jobs))
        if own is None:
            network = self._empty(architecture)
            for part in self._parts(network, jobs):
                for result in train(
                    architecture,
                    part,
                    self.data.task,
                    self.training,
                    device=self.device,
                    execution=self.execution,
                    callback=callback,
                ):
                    network.load_state_dict({**result.parameters, **result.buffers})
                    yield network, result
            return
        for job in jobs:
            module = own.build(seeds.generator(job.seed, "initial weights"), self.device)
            (result,) = train(
                module,
                [job],
                self.data.task,
                self.training,
                device=self.device,
                execution="loop",
                callback=callback,
            )
            yield module, result

    def _parts(self, network: nets.Network, jobs: Sequence[TrainingJob]) -> list[Sequence[TrainingJob]]:
        """What is trained in one call: all jobs, or each alone where scores are kept one by one."""
        mode = self.execution
        if self.memory and jobs and mode == "auto":
            mode = choose(network, jobs[0], self.training, len(jobs))
        return [[job] for job in jobs] if self.memory and mode == "loop" else [jobs] if jobs else []

    def own_trainings(self) -> list[Run]:
        """The training that the set was learned through, on it and on random selections."""
        training, runs = self.distilled.recipe.training, []
        if training is None:
            return []
        name = f"{OWN_TRAINING}{training.architecture}"
        for each in self.sets.own():
            for repeat in range(1 if training.repeats_exactly else each.repeats):
                begun, seed = time.perf_counter(), seeds.derive(self.protocol.seed, "network", repeat)
                network = self._empty(training.architecture, seeds.generator(seed, "initial weights"))
                loss = train_as_learned(
                    training, network, each.samples, Objective(self.data.task, parse_loss(each.loss)), seed
                )
                seconds = time.perf_counter() - begun
                scored = assess(network, self.data, self.split, self.device)
                runs.append(self._run(name, each, repeat, scored, loss, seconds, "loop"))
                told = f"{name} {100 * scored.value:.1f} %"
                self._tell(f"score {_stage(each)}", repeat + 1, each.repeats, told)
        return runs

    def regressions(self) -> list[Run]:
        """Kernel ridge regression on the distilled set and on random selections; nothing in it is drawn."""
        runs = []
        for text, kernel in self.kernels.items():
            if kernel is not None:
                runs += self._regressed(text, kernel, self.sets.own(), 0)
        return runs

    def _regressed(self, text: str, kernel: Kernel, sets: Sequence[TrainingSet], repeat: int) -> list[Run]:
        """On several sets, with one kernel."""
        pairs = [(each.samples.batch(None)[0], self._values(each)) for each in sets]
        ridge, name = self.distilled.recipe.ridge, f"{REGRESSION}{text}"
        runs = []
        for each, made in zip(
            sets, regress(kernel, ridge, pairs, self.data, self.split, self.device), strict=True
        ):
            measured = (made.loss, made.seconds, "closed form")
            runs.append(self._run(name, each, repeat, made.scored, *measured))
            told = f"{name} {100 * made.scored.value:.1f} %"
            self._tell(f"score {_stage(each)}", len(runs), len(sets), told)
        return runs

    def detailed(self) -> tuple[Detail, ...]:
        """Answers class by class, of all networks of one architecture on one kind of set."""
        found = []
        for key, several in self.details.items():
            found.append(Detail(*key, len(several), Breakdown.mean(several)))
        return tuple(found)

    def _run(
        self,
        name: str,
        each: TrainingSet,
        repeat: int,
        scored: Scored,
        loss: float,
        seconds: float,
        execution: str,
        *,
        reused: bool = False,
    ) -> Run:
        """A run, its answers class by class added to those of its kind."""
        regime = each.facts.regime
        if scored.breakdown is not None:
            self.details.setdefault((name, each.source, regime), []).append(scored.breakdown)
        facts = (scored.value, loss, seconds, execution, regime, reused, scored.values, scored.spread)
        return Run(name, each.source, each.draw, repeat, *facts)

    def _values(self, training_set: TrainingSet) -> Tensor:
        """What is regressed for a set's targets."""
        targets = training_set.samples.batch(None)[1]
        return targets if training_set.loss == "squared" else self.data.task.values(targets)

    def _empty(self, architecture: str, generator: torch.Generator | None = None) -> nets.Network:
        """A network for the data."""
        generator = generator or torch.Generator()
        return nets.build(architecture, self.data.shape, self.data.task.outputs, generator, self.device)

    def _callback(self, architecture: str, stage: str, networks: int) -> Callable[[StepInfo], None] | None:
        if self.on_event is None:
            return None
        finished, every = 0, max(1, self.training.steps // _EVENTS_A_NETWORK)

        def callback(info: StepInfo) -> None:
            nonlocal finished
            count, last = len(info.jobs), info.step == info.steps
            if last or info.step % every == 0:
                done = finished * info.steps + info.step * count
                loss = float(info.losses.mean())
                self._tell(f"train {stage}", done, networks * info.steps, f"{architecture} loss {loss:.3f}")
            finished += count if last else 0

        return callback

    def _tell(self, stage: str, done: int, total: int, detail: str) -> None:
        if self.on_event is not None:
            self.on_event(Progress(stage, done, total, detail))


def _stage(training_set: TrainingSet) -> str:
    """What progress calls a set."""
    return training_set.source + (" as stored" if training_set.facts.regime == "stored" else "")


def _size(distilled: DistilledData, data: RealData) -> dict[str, Any]:
    """A set's size as every budget counts it, see :attr:`Report.size`."""
    counts = distilled.images_a_class
    return {
        "images_a_class": [min(counts), max(counts)],
        "by_class": distilled.task.by_class,
        "images": len(distilled.images),
        "fraction": len(distilled.images) / len(data.train),
        "nbytes": distilled.nbytes["total"],
    }


def _require_match(distilled: DistilledData, data: RealData, allow_other_data: bool) -> None:
    theirs, ours = distilled.task, data.task
    if (theirs.name, theirs.class_names) != (ours.name, ours.class_names):
        raise ValueError(
            f"the distilled set is for {theirs.name} with {len(theirs.class_names)} classes "
            f"({_few(theirs.class_names)}), the data {data.name!r} for {ours.name} with "
            f"{len(ours.class_names)} ({_few(ours.class_names)})"
        )
    if distilled.shape != data.shape:
        raise ValueError(
            f"the distilled set has images of shape {distilled.shape}, the data {data.name!r} {data.shape}"
        )
    made = distilled.provenance
    if made.fingerprint != data.fingerprint and not allow_other_data:
        raise ValueError(
            f"the set was distilled from {made.data!r} with fingerprint {made.fingerprint[:12]}, but "
            f"{data.name!r} has {data.fingerprint[:12]}: load the same data with the same validation "
            "fraction and seed, or pass allow_other_data=True"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _pictures(distilled: DistilledData, data: RealData, random: Sequence[Packed]) -> dict[str, bytes]:
    """Of what is stored."""
    task = data.task
    columns = _SHOWN_COLUMNS if task.by_class else max(2, _SHOWN_PIXELS // data.shape[2])
    shown = {"distilled": (distilled.pixels(), distilled.hard_targets)}
    for packed in random:
        shown["random"] = (data.preprocess.invert(packed.images), packed.targets)
    pictures = {}
    for source, (pixels, targets) in shown.items():
        file = io.BytesIO()
        found = rows(task, pixels, targets, columns=columns, most=_SHOWN_CLASSES)
        grid(found, columns=columns).save(file, format="PNG")
        pictures[source] = file.getvalue()
    return pictures
