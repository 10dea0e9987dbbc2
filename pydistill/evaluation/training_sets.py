"""Which sets an evaluation trains networks on, and with which labels.

Two regimes stand side by side. Under ``classes`` every set has its images' classes and the task's own loss:
there sets of all methods compare. Under ``stored`` the distilled set is used as it was made, where that is
another use: with learned or given targets, by their loss, in stored augmentations; a random selection
beside it has the same loss and, where a network that is kept with the set can give them, the same kind of
targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pydistill import seeds
from pydistill.data.distilled import DistilledData
from pydistill.data.formation import Packed, decode, pack
from pydistill.data.real import RealData
from pydistill.data.recipe import StoredAugmentations
from pydistill.evaluation.facts import Regime, SetFacts, Source
from pydistill.evaluation.protocol import Protocol
from pydistill.tasks import parse_loss
from pydistill.training.samples import Samples, SplitSamples, TensorSamples
from pydistill.training.teacher import labeller


@dataclass(frozen=True)
class TrainingSet:
    """A set to train on: what it is, how it is used, and how many networks it gets.

    Attributes:
        source: What it is.
        draw: Which random selection; 0 elsewhere.
        samples: Its images and targets.
        repeats: Networks that are trained on it.
        facts: What a report says of it.
        loss: As :func:`pydistill.tasks.parse_loss` takes it.
        augmentations: Stored ones, to be trained on in place of drawn ones.
    """

    source: Source
    draw: int
    samples: Samples
    repeats: int
    facts: SetFacts
    loss: str = "task"
    augmentations: StoredAugmentations | None = None


@dataclass(frozen=True)
class TrainingSets:
    """Every set by regime and source.

    Attributes:
        table: A random selection that is trained on alike in both regimes is the same object in both.
        random: The random selections.
    """

    table: Mapping[Regime, Mapping[Source, Sequence[TrainingSet]]]
    random: Sequence[Packed]

    def groups(self) -> list[Sequence[TrainingSet]]:
        """Sets of one source and regime, each once."""
        found: list[Sequence[TrainingSet]] = []
        for sources in self.table.values():
            found += [each for each in sources.values() if not any(each is other for other in found)]
        return found

    def own(self) -> list[TrainingSet]:
        """The distilled set and the random selections in the regime that is the set's own."""
        sources = list(self.table.values())[-1]
        return [each for source, sets in sources.items() if source != "whole" for each in sets]

    def facts(self) -> dict[Regime, dict[Source, SetFacts]]:
        """What a report says of them; a random selection stands for all of them."""
        return {
            regime: {source: sets[0].facts for source, sets in sources.items()}
            for regime, sources in self.table.items()
        }


def regimes(distilled: DistilledData, labels: str) -> tuple[Regime, ...]:
    """Those that a set is evaluated in."""
    if distilled.label_kind == "classes" or labels == "classes":
        return ("classes",)
    return ("stored",) if labels == "stored" else ("classes", "stored")


def gather(
    distilled: DistilledData, data: RealData, protocol: Protocol, augment: str, device: torch.device
) -> TrainingSets:
    """Everything that networks are to be trained on."""
    random = _draw(distilled, data, protocol)
    table: dict[Regime, dict[Source, Sequence[TrainingSet]]] = {}
    by_classes = [_random(distilled, protocol, device, at, packed) for at, packed in enumerate(random)]
    for regime in regimes(distilled, protocol.labels):
        used = distilled.with_classes() if regime == "classes" else distilled
        stored = distilled if regime == "stored" else None
        table[regime] = {"distilled": [_distilled(used, distilled, protocol, device, regime)]}
        drawn = by_classes
        if stored is not None:
            seed = seeds.derive(protocol.seed, "random views")
            drawn = _as_stored(stored, by_classes, random, augment, seed, device)
        if drawn:
            table[regime]["random"] = drawn
    if protocol.whole:
        facts = SetFacts(
            len(data.train),
            data.train.images.nbytes + data.train.targets.nbytes,
            protocol.learning_rate,
            loss=data.task.loss_name(),
        )
        whole = TrainingSet("whole", 0, SplitSamples(data, data.train, device), protocol.repeats, facts)
        next(iter(table.values()))["whole"] = [whole]
    return TrainingSets(table, random)


def _draw(distilled: DistilledData, data: RealData, protocol: Protocol) -> list[Packed]:
    """Random selections, packed as the set is, of as many stored images of each class."""
    groups, each = data.task.strata(data.train.targets), _budget(distilled)
    found = []
    for at in range(protocol.random_draws):
        generator = seeds.generator(protocol.seed, "random", at)
        draw = groups.draw(each, generator, strict=False, packed=distilled.factor**2)
        found.append(pack(data, draw, distilled.factor))
    return found


def _budget(distilled: DistilledData) -> int | list[int]:
    """Stored images of each class (stratum); where the set does not know its classes, those asked for."""
    made = distilled.targets if distilled.origin is None else distilled.origin
    if not distilled.task.by_class:
        return [len(distilled.images)]
    if distilled.task.soft(made):
        return distilled.provenance.ipc
    return [len(members) for members in distilled.task.strata(made.cpu()).members]


def _distilled(
    used: DistilledData, whole: DistilledData, protocol: Protocol, device: torch.device, regime: Regime
) -> TrainingSet:
    samples = TensorSamples(used.images, used.targets, device, factor=used.factor, weights=used.weights)
    if used is whole:
        nbytes = whole.nbytes["total"] - whole.nbytes["preprocess"]
    else:  # classes take the place of all that belongs to learned targets
        nbytes = used.images.nbytes + used.targets.nbytes + used.nbytes["weights"]
    facts = SetFacts(
        images=len(samples),
        nbytes=nbytes,
        learning_rate=protocol.learning_rate if used.learning_rate is None else used.learning_rate,
        targets=used.label_kind,
        loss=parse_loss(used.recipe.loss).title(used.task),
        factor=used.factor,
        regime=regime,
    )
    recipe = used.recipe
    return TrainingSet("distilled", 0, samples, protocol.repeats, facts, recipe.loss, recipe.augmentations)


def _random(
    distilled: DistilledData, protocol: Protocol, device: torch.device, at: int, packed: Packed
) -> TrainingSet:
    """A random selection with its classes."""
    samples = TensorSamples(packed.images, packed.targets, device, factor=distilled.factor)
    facts = SetFacts(
        images=len(samples),
        nbytes=packed.images.nbytes + packed.targets.nbytes,
        learning_rate=protocol.learning_rate,
        loss=distilled.task.loss_name(),
        factor=distilled.factor,
    )
    return TrainingSet("random", at, samples, protocol.random_repeats, facts)


def _as_stored(
    distilled: DistilledData,
    by_classes: list[TrainingSet],
    random: Sequence[Packed],
    augment: str,
    seed: int,
    device: torch.device,
) -> list[TrainingSet]:
    """The random selections used as the distilled set is; as they are where nothing would be different."""
    kind, teacher = distilled.label_kind, labeller(distilled, device)
    if kind != "values" and teacher is None:
        return by_classes
    task, factor, found = distilled.task, distilled.factor, []
    for each, packed in zip(by_classes, random, strict=True):
        stored: StoredAugmentations | None = None
        if teacher is None:
            targets = task.values(packed.targets)
        elif kind == "augmentations" and distilled.recipe.augmentations is not None:
            draws, images = len(distilled.recipe.augmentations.targets), decode(packed.images, factor)
            stored = teacher.augmented(images, augment, draws, seeds.derive(seed, each.draw))
            targets = stored.targets.mean(0).view(len(packed.images), factor**2, -1).mean(1)
        else:
            answers: Tensor = teacher.of_stored(packed.images, factor)
            targets = task.values(answers) if kind == "values" else answers
        nbytes = packed.images.nbytes + targets.nbytes + (0 if stored is None else stored.nbytes)
        facts = replace(
            each.facts,
            nbytes=nbytes,
            targets=kind,
            loss=parse_loss(distilled.recipe.loss).title(task),
            labelled_by=None if teacher is None else str(teacher.network.spec),
            regime="stored",
        )
        samples = TensorSamples(packed.images, targets, device, factor=factor)
        found.append(
            replace(each, samples=samples, facts=facts, loss=distilled.recipe.loss, augmentations=stored)
        )
    return found
