"""Scoring a set for a table: with class labels, as it is stored, and as it was learned.

Random selections stand beside a set in each of these uses. With class labels they are rows of their own;
so are their classes as values under the squared error, which a row has where another needs them. Where a
network that is kept with a set can label it, random selections that it labels stand in the set's record.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from pydistill.data import RealData
from pydistill.data.distilled import DistilledData
from pydistill.data.recipe import TRAINED, Recipe
from pydistill.evaluation import Protocol, Report, evaluate, named
from pydistill.evaluation.training_sets import gather

DRAWS = 10
"""Random selections that a row is compared with."""

CLASSES, STORED, SQUARED = "classes", "stored", "squared"
"""Keys of a record's ``regimes``: the two of a report; and a random selection's classes as values."""

BESIDE = "random in that use"
"""What a set as stored is compared with: the key of the random rows' ``regimes``, or values of its own."""


def scoring(arguments: argparse.Namespace, **changes: Any) -> Protocol:
    """The one protocol, in the settings asked for; no baselines of its own."""
    common = {
        "architectures": (arguments.network,),
        "precision": arguments.precision,
        "random_draws": 0,
        "whole": False,
        "split": arguments.split,
    }
    return named("quick", **(common | changes))


def scored(
    made: DistilledData, data: RealData, protocol: Protocol, seed: int, seeds: int
) -> dict[str, Any]:
    """A set's accuracies by regime, and what random selections it is compared with."""
    bare = dataclasses.replace(made, recipe=without_training(made))
    report = evaluate(bare, data, protocol)
    found = regimes(report, protocol)
    if STORED in found:
        found[STORED] |= beside(bare, data, protocol, seed, seeds)
    return {"regimes": found, "evaluating seconds": report.seconds}


def regimes(report: Report, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Accuracies of networks, and of kernel ridge regression in their features, by regime."""
    (network,) = protocol.architectures
    found = {}
    for regime in report.regimes(network):
        source = "distilled" if not protocol.whole else "whole"
        facts = report.facts(source, regime)
        inside = [
            [run.value for run in report.runs_of(name, source, regime)]
            for name in report.architectures
            if name != network and source in report.sources(name, regime)
        ]
        found[str(regime)] = {
            "targets": facts.targets,
            "loss": facts.loss,
            "values": [run.value for run in report.runs_of(network, source, regime)],
            "values in features": inside[0] if inside else [],
        }
    return found


def beside(
    made: DistilledData, data: RealData, protocol: Protocol, seed: int, seeds: int
) -> dict[str, Any]:
    """Random selections used as the set is stored: which of a random row's, or values of the set's own."""
    labelled = dataclasses.replace(
        protocol, labels=STORED, random_draws=-(-DRAWS // seeds), repeats=1, kernels=(), seed=seed
    )
    drawn = gather(made, data, labelled, made.augment, measure.DEVICE).facts()
    facts = drawn[STORED]["random"]
    if facts.labelled_by is None:
        return {BESIDE: CLASSES if facts.regime == CLASSES else SQUARED}
    report = evaluate(dataclasses.replace(made, recipe=without_uses(made)), data, labelled)
    (network,) = protocol.architectures
    values = [run.value for run in report.runs_of(network, "random", STORED)]
    return {BESIDE: values, "labelled by": facts.labelled_by}


def as_values(made: DistilledData, data: RealData, protocol: Protocol) -> dict[str, Any]:
    """A random selection's accuracies with its classes as values, under the squared error."""
    recipe = dataclasses.replace(without_training(made), loss=SQUARED)
    values = dataclasses.replace(
        made, targets=made.task.values(made.classes), origin=made.classes, recipe=recipe
    )
    report = evaluate(values, data, dataclasses.replace(protocol, labels=STORED, kernels=(TRAINED,)))
    return regimes(report, protocol)[STORED]


def without_uses(made: DistilledData) -> Recipe:
    """The recipe less all that is scored apart: training and kernel."""
    return dataclasses.replace(made.recipe, training=None, kernel=None)


def without_training(made: DistilledData) -> Recipe:
    """The recipe less the training that the set was learned through, which is scored apart."""
    return dataclasses.replace(made.recipe, training=None)


def as_learned(made: DistilledData, data: RealData, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Accuracies of the set and of random selections of its own, each used as the set was learned."""
    if not made.recipe.usable_alone:
        return {}
    alone = dataclasses.replace(
        protocol, architectures=(), kernels=(), repeats=1, random_draws=DRAWS, seed=seed
    )
    report = evaluate(made, data, alone)
    return {name: by_name(report, name) for name in report.architectures}


def by_name(report: Report, name: str) -> dict[str, list[float]]:
    """Accuracies by what was trained on, in the regime that is a set's own."""
    regime = report.regimes(name)[-1]
    return {
        source: [run.value for run in report.runs_of(name, source, regime)]
        for source in report.sources(name, regime)
    }


def learned_labels(made: Mapping[str, Any]) -> bool:
    """Whether a set's targets are others than classes, from its record's options."""
    options = made.get("options", {})
    return bool(options.get("learn_labels")) or options.get("labels") == "expert"


def outdated(made: Mapping[str, Any]) -> bool:
    """Whether a record is of learned labels, from before there were class labels beside them."""
    return "regimes" not in made and learned_labels(made)


def accuracies(made: Mapping[str, Any], regime: str = CLASSES, key: str = "values") -> list[float] | None:
    """A record's accuracies in a regime; None where they were not measured.

    Records made before there were regimes hold one list: of class labels where the set's targets are
    classes, as stored where they were learned.
    """
    if regime in made.get("regimes", {}):
        found: list[float] = made["regimes"][regime][key]
        return found
    own = STORED if learned_labels(made) else CLASSES
    return made.get(key) if regime == own else None


def all_of(sets: Sequence[Mapping[str, Any]], regime: str = CLASSES) -> list[list[float]]:
    """Accuracies of those sets that have them, a list a set."""
    return [values for each in sets if (values := accuracies(each, regime))]
