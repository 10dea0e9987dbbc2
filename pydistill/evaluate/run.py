"""Evaluating a distilled set: train on it, on random real images and on everything, score each once."""

import dataclasses
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pydistill import nets, seeds
from pydistill.data.distilled import DistilledData
from pydistill.data.formation import Packed, pack
from pydistill.data.real import RealData
from pydistill.data.recipe import TRAINED, Recipe
from pydistill.evaluate.as_learned import regress, train_as_learned
from pydistill.evaluate.machine import Meter, describe
from pydistill.evaluate.protocol import STORED, Protocol, changed, named
from pydistill.evaluate.report import Report, Run, Source, TrainingSet
from pydistill.evaluate.samples import Samples, SplitSamples, TensorSamples
from pydistill.evaluate.scoring import score
from pydistill.evaluate.train import Execution, Lesson, Moment, Trained, Training, train
from pydistill.events import Event, Progress
from pydistill.kernels import Features, Kernel, layered, parse_kernel
from pydistill.machine import resolve_precision, slow_precision, tell
from pydistill.pictures import grid
from pydistill.problem import resolve_device
from pydistill.tasks.classification import regressed

_SHOWN_CLASSES = 20
_SHOWN_COLUMNS = 10
_EVENTS_A_NETWORK = 20
OWN_TRAINING = "own training, "
REGRESSION = "kernel ridge, "
"""What names begin with where a network's description would stand: the training that the set was learned
through, and kernel machines."""


def evaluate(
    distilled: DistilledData,
    data: RealData,
    protocol: Protocol | str = "quick",
    *,
    device: str = "auto",
    allow_other_data: bool = False,
    execution: Execution = "auto",
    on_event: Callable[[Event], None] | None = None,
    **changes: Any,
) -> Report:
    """Train networks from scratch on a distilled set and on its baselines, and score each network once.

    Baselines: random selections of as many real images a class, and the whole training data. Where the
    set's stored images are packed, random selections are packed and trained on in the same way. Every
    network is trained for the same number of steps by the same protocol, on images preprocessed as the
    distilled set's were, and scored after its last step; nothing is chosen by a score. Networks of the same
    number start from the same weights on every set.

    Args:
        distilled: What to evaluate.
        data: The real data that it was distilled from.
        protocol: How, or the name of one of :data:`~pydistill.evaluate.protocol.PROTOCOLS`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        allow_other_data: Take real data of another fingerprint than the set was distilled from.
        execution: How networks are trained: one by one, stacked, or whichever is faster.
        on_event: Told of :class:`~pydistill.events.Progress`.
        **changes: To single settings of the protocol, such as ``architectures=("convnet:width=32",)``.

    Raises:
        ValueError: The set does not fit the data, or an argument is wrong; the message says which.
        TypeError: ``protocol`` is neither a protocol nor a name.
        DivergenceError: A network's training diverged.
    """
    if not isinstance(protocol, Protocol | str):
        raise TypeError(f"protocol must be a Protocol or a name, got {type(protocol).__name__}")
    protocol = changed(named(protocol) if isinstance(protocol, str) else protocol, **changes)
    _require_match(distilled, data, allow_other_data)
    data = dataclasses.replace(data, preprocess=distilled.preprocess)
    where = resolve_device(device)
    protocol = changed(protocol, precision=resolve_precision(protocol.precision, where))
    if protocol.architectures:
        tell(on_event, slow_precision(protocol.precision, where))
    if not (protocol.architectures or protocol.kernels or distilled.recipe.usable_alone):
        raise ValueError("nothing to score: no network, no kernel, and the set was not learned for one")
    with Meter(where) as meter:
        bench = _Bench(distilled, data, protocol, where, execution, on_event)
        sets = bench.sets()
        runs = [
            run
            for architecture in protocol.architectures
            for candidates in _by_source(sets)
            for run in bench.run(architecture, candidates)
        ]
        runs += [*bench.own_trainings(sets), *bench.regressions(sets)]
    return Report(
        data=data.name,
        task=data.task.name,
        metric=data.task.metric,
        runs=tuple(runs),
        sets={each.source: each.facts for each in reversed(sets)},
        steps=bench.training.steps,
        augment=bench.augment,
        protocol=protocol.record(),
        provenance=dataclasses.asdict(distilled.provenance),
        machine=describe(where),
        seconds=meter.seconds,
        peak_memory=meter.peak_memory,
        notes=_notes(distilled, data, protocol, {each.source: each.facts for each in sets}),
        pictures=_pictures(distilled, data, bench.random[:1]),
    )


@dataclass(frozen=True)
class _Candidate:
    """A set to train on: what it is, and how many networks it gets."""

    source: Source
    draw: int
    samples: Samples
    repeats: int
    facts: TrainingSet


class _Bench:
    """What all networks of one evaluation share."""

    def __init__(
        self,
        distilled: DistilledData,
        data: RealData,
        protocol: Protocol,
        device: torch.device,
        execution: Execution,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self.distilled, self.data, self.protocol = distilled, data, protocol
        self.device, self.execution, self.on_event = device, execution, on_event
        self.augment = distilled.augment if protocol.augment == STORED else protocol.augment
        self.split = data.validation if protocol.split == "validation" else data.test
        self.training = Training(
            steps=protocol.steps(len(distilled)),
            batch_size=protocol.batch_size,
            optimiser=protocol.make_optimiser(),
            learning_rate=protocol.learning_rate,
            schedule=protocol.schedule,
            precision=protocol.precision,
        )
        groups = data.task.groups(data.train.targets)
        own = distilled.recipe.kernel
        self.kernels = {
            text: None if text == TRAINED else parse_kernel(text, distilled.teacher(device))
            for text in protocol.kernels or ((own,) if own else ())
        }
        self.random = [
            pack(
                data,
                groups.draw(
                    distilled.provenance.ipc,
                    seeds.generator(protocol.seed, "random", at),
                    strict=False,
                    packed=distilled.factor**2,
                ),
                distilled.factor,
            )
            for at in range(protocol.random_draws)
        ]

    def sets(self) -> list[_Candidate]:
        """The distilled set, the random selections, the whole data."""
        distilled, data, protocol = self.distilled, self.data, self.protocol
        rate = protocol.learning_rate if distilled.learning_rate is None else distilled.learning_rate
        soft = distilled.targets.is_floating_point()
        nbytes = distilled.nbytes["total"] - distilled.nbytes["preprocess"]
        samples = self._stored(distilled.images, distilled.targets)
        facts = TrainingSet(len(samples), nbytes, rate, soft, distilled.factor)
        found = [_Candidate("distilled", 0, samples, protocol.repeats, facts)]
        for at, packed in enumerate(self.random):
            samples = self._stored(packed.images, packed.targets)
            nbytes = packed.images.nbytes + packed.targets.nbytes
            facts = TrainingSet(len(samples), nbytes, protocol.learning_rate, factor=distilled.factor)
            found.append(_Candidate("random", at, samples, protocol.random_repeats, facts))
        if protocol.whole:
            train = data.train
            nbytes = train.images.nbytes + train.targets.nbytes
            facts = TrainingSet(len(train), nbytes, protocol.learning_rate)
            whole = SplitSamples(data, train, self.device)
            found.append(_Candidate("whole", 0, whole, protocol.repeats, facts))
        return found

    def _stored(self, images: Tensor, targets: Tensor) -> TensorSamples:
        """Views of stored images: the same for the distilled set and for random selection."""
        return TensorSamples(images, targets, self.device, factor=self.distilled.factor)

    def run(self, architecture: str, candidates: Sequence[_Candidate]) -> list[Run]:
        """Train on sets of one source and score."""
        plan = [(each, repeat) for each in candidates for repeat in range(each.repeats)]
        lessons = [
            Lesson(
                each.samples,
                seeds.derive(self.protocol.seed, "network", repeat),
                self.augment,
                each.facts.learning_rate,
                loss=self.distilled.recipe.loss if each.source == "distilled" else "task",
                views=self.distilled.recipe.views if each.source == "distilled" else None,
            )
            for each, repeat in plan
        ]
        source = candidates[0].source
        trained = train(
            architecture,
            lessons,
            self.data.task,
            self.training,
            device=self.device,
            execution=self.execution,
            watch=self._watch(architecture, source, len(lessons)),
        )
        network, runs = self._empty(architecture), []
        for done, ((each, repeat), result) in enumerate(zip(plan, trained, strict=True), 1):
            value = self._score(network, result)
            measured = (value, result.loss, result.seconds, result.execution)
            runs.append(Run(architecture, source, each.draw, repeat, *measured))
            self._tell(f"score {source}", done, len(plan), f"{architecture} {100 * value:.1f} %")
            if TRAINED in self.kernels and source != "whole":
                kernel = Features([layered(network.eval())])
                runs += self._regressed(f"features of trained {architecture}", kernel, [each], repeat)
        return runs

    def own_trainings(self, sets: Sequence[_Candidate]) -> list[Run]:
        """The training that the set was learned through, on it and on random selections."""
        training, runs = self.distilled.recipe.training, []
        if training is None:
            return []
        name = f"{OWN_TRAINING}{training.architecture}"
        for each in (each for each in sets if each.source != "whole"):
            kind = self.distilled.recipe.loss if each.source == "distilled" else "task"
            for repeat in range(1 if training.repeats_exactly else each.repeats):
                begun, seed = time.perf_counter(), seeds.derive(self.protocol.seed, "network", repeat)
                network = self._empty(training.architecture, seeds.generator(seed, "initial weights"))
                loss = train_as_learned(
                    training, network, each.samples, partial(self.data.task.error, kind=kind), seed
                )
                seconds = time.perf_counter() - begun
                value = score(network, self.data, self.split, self.device)
                runs.append(Run(name, each.source, each.draw, repeat, value, loss, seconds, "loop"))
                self._tell(f"score {each.source}", repeat + 1, each.repeats, f"{name} {100 * value:.1f} %")
        return runs

    def regressions(self, sets: Sequence[_Candidate]) -> list[Run]:
        """Kernel ridge regression on the distilled set and on random selections; nothing in it is drawn."""
        runs = []
        for text, kernel in self.kernels.items():
            if kernel is not None:
                runs += self._regressed(text, kernel, [each for each in sets if each.source != "whole"], 0)
        return runs

    def _regressed(self, text: str, kernel: Kernel, sets: Sequence[_Candidate], repeat: int) -> list[Run]:
        """On several sets, with one kernel."""
        pairs = [(each.samples.batch(None)[0], self._values(each)) for each in sets]
        ridge, name = self.distilled.recipe.ridge, f"{REGRESSION}{text}"
        runs = []
        for each, made in zip(
            sets, regress(kernel, ridge, pairs, self.data, self.split, self.device), strict=True
        ):
            measured = (made.value, made.loss, made.seconds, "closed form")
            runs.append(Run(name, each.source, each.draw, repeat, *measured))
            self._tell(f"score {each.source}", len(runs), len(sets), f"{name} {100 * made.value:.1f} %")
        return runs

    def _values(self, candidate: _Candidate) -> Tensor:
        """What is regressed for a set's targets."""
        if candidate.source == "distilled":
            return self.distilled.regressed().to(self.device)
        return regressed(candidate.samples.batch(None)[1], self.data.task.outputs)

    def _empty(self, architecture: str, generator: torch.Generator | None = None) -> nets.Network:
        """A network for the data."""
        generator = generator or torch.Generator()
        return nets.build(architecture, self.data.shape, self.data.task.outputs, generator, self.device)

    def _score(self, network: nets.Network, trained: Trained) -> float:
        network.load_state_dict({**trained.parameters, **trained.buffers})
        return score(network, self.data, self.split, self.device)

    def _watch(self, architecture: str, source: str, networks: int) -> Callable[[Moment], None] | None:
        if self.on_event is None:
            return None
        finished, every = 0, max(1, self.training.steps // _EVENTS_A_NETWORK)

        def watch(moment: Moment) -> None:
            nonlocal finished
            count, last = len(moment.lessons), moment.step == moment.steps
            if last or moment.step % every == 0:
                done = finished * moment.steps + moment.step * count
                loss = float(moment.losses.mean())
                self._tell(
                    f"train {source}", done, networks * moment.steps, f"{architecture} loss {loss:.3f}"
                )
            finished += count if last else 0

        return watch

    def _tell(self, stage: str, done: int, total: int, detail: str) -> None:
        if self.on_event is not None:
            self.on_event(Progress(stage, done, total, detail))


def _by_source(sets: Sequence[_Candidate]) -> list[list[_Candidate]]:
    found: dict[str, list[_Candidate]] = {}
    for each in sets:
        found.setdefault(each.source, []).append(each)
    return list(found.values())


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


def _notes(
    distilled: DistilledData, data: RealData, protocol: Protocol, sets: dict[Source, TrainingSet]
) -> tuple[str, ...]:
    own, made = sets["distilled"], distilled.provenance
    notes = [
        "Every network was scored once, after its last step. No step, rate or network was chosen by score.",
        "Every set was trained on for the same number of steps, with the same batch size, augmentation "
        "and preprocessing. Whole data is often trained for longer elsewhere and then scores higher.",
        "Intervals cover the networks' seeds and the random draws. They do not cover how another seed of "
        "the distillation would have turned out.",
    ]
    if own.factor > 1:
        notes.append(_formation(made.ipc, own.factor, "random" in sets))
    if protocol.split == "validation":
        notes.append("Scores are on the validation split, which was held out of the training images.")
    if distilled.learning_rate is not None:
        notes.append(
            f"The distilled set was trained on at the learning rate it has learned, {own.learning_rate:g}; "
            f"the other sets at {protocol.learning_rate:g}."
        )
    notes += _how_it_is_used(distilled.recipe)
    if own.soft:
        notes.append("The distilled set has soft targets, the other sets class labels.")
    if "random" in sets and own.nbytes > sets["random"].nbytes:
        notes.append(
            f"The distilled set takes {own.nbytes:,} bytes, a random selection of as many images "
            f"{sets['random'].nbytes:,}, both as float32 pixels with their targets."
        )
    wanted = made.ipc * own.factor**2
    fewest = min(len(member) for member in data.task.groups(data.train.targets).members)
    if "random" in sets and fewest < wanted:
        notes.append(
            f"A random selection takes {wanted} real images a class, but a class has only {fewest}: "
            "it gives them all."
        )
    if "random" in sets and sets["random"].images != own.images:
        notes.append(f"Networks saw {own.images} distilled images but {sets['random'].images} random ones.")
    if made.fingerprint != data.fingerprint:
        notes.append(f"The set was distilled from other data ({made.data}) than it was evaluated on.")
    return (*notes, *data.notes)


def _how_it_is_used(recipe: Recipe) -> list[str]:
    """What the set was learned for, beside training by the protocol."""
    notes, training = [], recipe.training
    if training is not None:
        rates = f"{training.rates[0]:.3g}"
        if len(training.rates) > 1:
            rates = f"{min(training.rates):.3g} to {max(training.rates):.3g}, one a step"
        start = "fresh networks" if training.start is None else "initial weights that are kept with the set"
        notes.append(
            f"Rows that begin with '{OWN_TRAINING.strip(', ')}' train as the set was learned: "
            f"{training.steps} steps of {training.optimiser} at a learning rate of {rates}, from {start}, "
            "the same on random selections. All other rows train fresh networks by the protocol."
        )
    if recipe.kernel is not None:
        notes.append(
            f"Rows that begin with '{REGRESSION.strip(', ')}' solve a kernel ridge regression on the set "
            "and on random selections: the kernel that the set was learned for is "
            f"{recipe.kernel}, its ridge {recipe.ridge:g}."
        )
    if recipe.loss == "squared":
        notes.append(
            "Networks were trained on the distilled set's targets, which are values, by the squared error; "
            "on class labels by the cross-entropy."
        )
    if recipe.views is not None:
        notes.append(
            "The distilled set was trained on in stored augmented views with targets of their own, "
            f"{len(recipe.views.targets)} of each view in turn; the other sets in views drawn afresh."
        )
    return notes


def _formation(ipc: int, factor: int, random: bool) -> str:
    views = factor**2
    packed = (
        f" Random selection is packed too: {ipc * views} real images a class, shrunk by {factor}, packed "
        f"{views} to a stored image, and trained on as views in the same way."
    )
    return (
        f"Each of the {ipc} stored images a class was trained on as {views} views, its {factor} x {factor} "
        f"patches enlarged: {ipc * views} views a class. An epoch is a pass over the views."
        f"{packed if random else ''}"
    )


def _pictures(distilled: DistilledData, data: RealData, random: Sequence[Packed]) -> dict[str, bytes]:
    """Of what is stored."""
    names = data.task.class_names[:_SHOWN_CLASSES]
    pixels, classes = distilled.pixels(), distilled.classes
    found = {"distilled": [(name, pixels[classes == at]) for at, name in enumerate(names)]}
    for packed in random:
        pixels = data.preprocess.invert(packed.images)
        found["random"] = [(name, pixels[packed.groups == at]) for at, name in enumerate(names)]
    pictures = {}
    for source, rows in found.items():
        file = io.BytesIO()
        grid(rows, columns=_SHOWN_COLUMNS).save(file, format="PNG")
        pictures[source] = file.getvalue()
    return pictures
