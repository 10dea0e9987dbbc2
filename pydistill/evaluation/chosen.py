"""A set of real images under all criteria, beside random selections: for its report."""

import dataclasses
from typing import Any

import torch

from pydistill.budget import Budget
from pydistill.data.distilled import DistilledData
from pydistill.data.real import RealData
from pydistill.engine.problem import make_problem
from pydistill.selection.base import Known
from pydistill.selection.combination import parse_criteria
from pydistill.selection.pareto import DRAWS, beside_random

CRITERIA = "representativeness(over=1000)+diversity(over=1000)+balance"
"""Those that need no scores; means over no more images of a group, so that no report waits for them."""
EMBEDDING = "thumbnails"
"""One for all sets, whatever each was chosen in, that needs no network."""


def is_chosen(distilled: DistilledData, data: RealData) -> bool:
    """Whether a set knows which images of these data it is made of."""
    return distilled.indices is not None and distilled.provenance.fingerprint == data.fingerprint


def chosen(distilled: DistilledData, data: RealData) -> dict[str, Any]:
    """How a set's images stand under each criterion, see :attr:`Report.selection`.

    Empty where the set does not know which images of these data it is made of.
    """
    if not is_chosen(distilled, data):
        return {}
    indices, made = distilled.indices, distilled.provenance
    assert indices is not None
    budget = Budget.of(ipc=1) if data.task.by_class else Budget.of(images=1)
    problem = make_problem(data, budget=budget, seed=made.seed, device="cpu", short_classes="keep")
    found = beside_random(
        torch.unique(indices.cpu()), Known(problem, EMBEDDING), parse_criteria(CRITERIA), DRAWS
    )
    return {
        "embedding": EMBEDDING,
        "draws": DRAWS,
        "criteria": {name.partition("(")[0]: dataclasses.asdict(each) for name, each in found.items()},
    }
