"""Selection of images that hold rare classes, against the formula by loops."""

import dataclasses
import math

import pytest
import torch

from pydistill.budget import Budget
from pydistill.data.real import Split
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from tests.evaluation.test_dense import real

HELD = [[9, 1], [10, 0], [4, 4], [7, 3], [11, 0], [0, 2], [8, 0]]
"""Pixels, or objects, of two classes in each image."""


def holding(task, amounts):
    """Data whose images hold as many pixels or objects."""
    data = real(task)
    if task == "segmentation":
        targets = torch.full((len(amounts), 24, 32), 255, dtype=torch.uint8)
        for at, each in enumerate(amounts):
            kinds = torch.arange(2).repeat_interleave(torch.tensor(each)).to(torch.uint8)
            targets[at].view(-1)[: len(kinds)] = kinds
    else:
        targets = torch.zeros(len(amounts), 12, 5)
        targets[..., 0] = -1
        targets[..., 3:] = 2
        for at, each in enumerate(amounts):
            kinds = torch.arange(2).repeat_interleave(torch.tensor(each)).float()
            targets[at, : len(kinds), 0] = kinds
    train = Split(data.train.images[: len(amounts)], targets)
    return dataclasses.replace(data, train=train, fingerprint="holding")


def by_loops(amounts, count, power):
    """The formula, image by image; only where no two are equal."""
    classes = range(2)
    there = [sum(each[c] for each in amounts) for c in classes]
    weights = [(there[c] / sum(there)) ** -power for c in classes]
    has, chosen = [0, 0], []
    for _ in range(count):
        gains = {
            at: sum(weights[c] * (math.sqrt(has[c] + each[c]) - math.sqrt(has[c])) for c in classes)
            for at, each in enumerate(amounts)
            if at not in chosen
        }
        ranked = sorted(gains.values())
        best = max(gains, key=gains.get)
        assert ranked[-1] > ranked[-2] + 1e-5
        chosen.append(best)
        has = [has[c] + amounts[best][c] for c in classes]
    return chosen


@pytest.mark.parametrize("task", ["segmentation", "detection"])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_it_is_the_formula(task, power):
    data = holding(task, HELD)
    problem = make_problem(data, budget=Budget.of(images=4), device="cpu")
    found = make_method("balanced", power=power).select(problem)
    assert found.indices.tolist() == by_loops(HELD, 4, power)


def test_rare_classes_are_taken_first_the_more_the_higher_the_power():
    data = holding("segmentation", [[300, 0], [250, 0], [40, 30], [10, 40], [200, 2]])
    problem = make_problem(data, budget=Budget.of(images=1), device="cpu")
    first = {
        power: make_method("balanced", power=power).select(problem).indices.item() for power in (0.0, 3.0)
    }
    assert first == {0.0: 0, 3.0: 3}


def test_of_equal_images_the_seed_draws():
    data = holding("detection", [[1, 1]] * 12)
    found = {
        tuple(
            make_method("balanced")
            .select(make_problem(data, budget=Budget.of(images=2), seed=seed, device="cpu"))
            .indices.tolist()
        )
        for seed in range(4)
    }
    assert len(found) > 1


def test_a_task_whose_budget_is_by_class_is_refused(tiny):
    with pytest.raises(
        ValueError, match="balanced is for segmentation, detection, the data 'tiny' for class"
    ):
        distill(tiny, "balanced", ipc=1)
