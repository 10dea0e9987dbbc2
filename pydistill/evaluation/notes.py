"""What a reader of an evaluation should know, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydistill.data.distilled import DistilledData
from pydistill.data.folder_export import Loss
from pydistill.data.real import RealData
from pydistill.data.recipe import Recipe
from pydistill.data.short import shortage
from pydistill.data.weights import span
from pydistill.evaluation.chosen import is_chosen
from pydistill.evaluation.facts import (
    OWN_TRAINING,
    REGRESSION,
    SOURCES,
    Regime,
    Run,
    SetFacts,
    Source,
    source_name,
)
from pydistill.evaluation.protocol import Protocol

_LABELS = {
    "probabilities": "probabilities of classes",
    "values": "values to regress",
    "augmentations": "stored augmentations with probabilities of their own",
}


def notes_on(
    distilled: DistilledData,
    data: RealData,
    protocol: Protocol,
    sets: Mapping[Regime, Mapping[Source, SetFacts]],
) -> tuple[str, ...]:
    """Everything that bears on the figures of one evaluation."""
    made, first = distilled.provenance, next(iter(sets.values()))
    kind = "selected" if is_chosen(distilled, data) else "distilled"
    own, random = first["distilled"], first.get("random")
    notes = [
        "Every network was scored once, after its last step. No step, rate or network was chosen by score.",
        "Every set was trained on for the same number of steps, with the same batch size, augmentation "
        "and preprocessing. Whole data is often trained for longer elsewhere and then scores higher.",
        "Intervals cover the networks' seeds and the random draws. They do not cover how another seed of "
        "the distillation would have turned out.",
    ]
    if own.factor > 1:
        notes.append(_formation(made.ipc, own.factor, random is not None))
    if protocol.split == "validation":
        notes.append("Scores are on the validation split, which was held out of the training images.")
    notes += _rate(distilled, protocol, sets)
    notes += _labels(distilled, sets, kind)
    notes += _how_it_is_used(distilled.recipe)
    notes += _weights(distilled, protocol, kind)
    if data.task.outputs > data.task.most_shown:
        notes.append(
            f"Confusion matrices are left out: there are {data.task.outputs} classes, more than "
            f"{data.task.most_shown}."
        )
    for sources in sets.values():
        notes += _bytes(sources, kind)
    notes += _short(distilled, data, random is not None, kind)
    notes += _exported(made.exported)
    if random is not None and random.images != own.images:
        notes.append(f"Networks saw {own.images} {kind} images but {random.images} random ones.")
    if made.fingerprint != data.fingerprint:
        notes.append(f"The set was distilled from other data ({made.data}) than it was evaluated on.")
    return (*notes, *data.notes)


def _short(distilled: DistilledData, data: RealData, random: bool, kind: str) -> list[str]:
    """Which classes have fewer images than the budget says."""
    made, factor = distilled.provenance, distilled.factor
    notes = []
    if made.part_of is not None:
        notes.append(f"The set is a part of one of {made.part_of:,} stored images.")
    told = shortage(made.short_classes, made.ipc, factor)
    if told:
        alike = f", in random selections as in the {kind} set" if random else ""
        notes.append(f"Not every class has as many images as were asked for: {told}{alike}.")
    if not data.task.by_class:
        return notes
    wanted = made.ipc * factor**2
    fewest = min(len(member) for member in data.task.groups(data.train.targets).members)
    if random and not told and fewest < wanted:
        notes.append(
            f"A random selection takes {wanted} real images a class, but a class has only {fewest}: "
            "it gives them all."
        )
    return notes


def _exported(loss: Mapping[str, Any] | None) -> list[str]:
    """What the pictures that the set was read from have lost."""
    if loss is None:
        return []
    return [f"The distilled set was read from exported pictures: {Loss(**loss).text()}."]


def _rate(
    distilled: DistilledData,
    protocol: Protocol,
    sets: Mapping[Regime, Mapping[Source, SetFacts]],
) -> list[str]:
    """At which rates networks were trained, where the set has learned one."""
    if distilled.learning_rate is None:
        return []
    if distilled.label_kind == "classes" or "stored" in sets:
        stored = "" if distilled.label_kind == "classes" else ", as stored"
        notes = [
            f"The distilled set was trained on{stored} at the learning rate it has learned, "
            f"{distilled.learning_rate:g}; the other sets at {protocol.learning_rate:g}."
        ]
    else:
        notes = []
    if distilled.label_kind != "classes" and "classes" in sets:
        notes.append(
            f"Its learned rate belongs to the labels it was learned with: with class labels the set was "
            f"trained on at {protocol.learning_rate:g}, as every set."
        )
    return notes


def _labels(
    distilled: DistilledData, sets: Mapping[Regime, Mapping[Source, SetFacts]], kind: str
) -> list[str]:
    """What the regimes are, where there is more than class labels."""
    notes, labels = [], distilled.label_kind
    if labels != "classes" and "classes" in sets:
        by = "the class it was made for" if distilled.origin is not None else "the most probable one"
        notes.append(
            f"With class labels, every set is trained on with its images' classes by the "
            f"{sets['classes']['distilled'].loss}: there sets of all methods compare. The class of a "
            f"{kind} image is {by}."
        )
    if "stored" not in sets:
        return notes
    own, random = sets["stored"]["distilled"], sets["stored"].get("random")
    notes.append(
        f"As stored, the {kind} set is trained on with its own targets, which are {_LABELS[labels]}, by "
        f"the {own.loss}. That is to be compared with random selections used alike, not with class labels."
    )
    if random is None:
        return notes
    if random.labelled_by is not None:
        notes.append(
            f"Random selections as stored have such targets too, given by the network that is kept with "
            f"the set ({random.labelled_by}), and the same loss."
        )
    elif random.regime == "stored":
        notes.append(
            f"Random selections as stored have their classes as values and the same {random.loss}. No "
            "network is kept with the set that could label them as it is labelled, so that what learned "
            "labels add is part of the difference."
        )
    else:
        notes.append(
            "No network is kept with the set that could label random selections as it is labelled: they "
            "have their classes in both uses, trained on once, so that what its labels add is part of the "
            "difference."
        )
    return notes


def _bytes(sources: Mapping[Source, SetFacts], kind: str) -> list[str]:
    own, random = sources["distilled"], sources.get("random")
    if random is None or own.nbytes <= random.nbytes:
        return []
    stored = " as stored" if own.regime == "stored" else ""
    return [
        f"The {kind} set takes {own.nbytes:,} bytes{stored}, a random selection of as many images "
        f"{random.nbytes:,}, both as float32 pixels with their targets."
    ]


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
    if recipe.augmentations is not None:
        notes.append(
            "The distilled set was trained on as stored in augmentations with targets of their own, "
            f"{len(recipe.augmentations.targets)} of each view in turn."
        )
    return notes


def _weights(distilled: DistilledData, protocol: Protocol, kind: str) -> list[str]:
    """That the loss of one image counts more than that of another."""
    if distilled.weights is None:
        return []
    regressed = protocol.kernels or distilled.recipe.kernel is not None
    return [
        f"Each {kind} image has a weight, {span(distilled.weights)} and 1 on average, by which its loss "
        "is multiplied in every training on the set; the images of other sets count alike."
        f"{' Kernel ridge regressions ignore weights.' if regressed else ''}"
    ]


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


def reuse(runs: Sequence[Run], selected: bool) -> list[str]:
    """Which networks an earlier evaluation trained."""
    found = [run for run in runs if run.reused]
    if not found:
        return []
    counts = {source: sum(run.source == source for run in found) for source in SOURCES}
    told = ", ".join(
        f"{count} on {source_name(source, selected)}" for source, count in counts.items() if count
    )
    return [
        "Networks that earlier evaluations trained, on the same data and budget by the same protocol and "
        f"version, were taken from there: {told}."
    ]
