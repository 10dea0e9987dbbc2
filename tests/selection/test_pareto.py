"""Selections under all criteria: dominance by hand, random ones by another way, bad input."""

import json

import pytest
import torch

from pydistill.budget import Budget
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.selection import compare
from pydistill.selection.base import Known
from pydistill.selection.combination import parse_criteria
from pydistill.selection.pareto import Comparison, Standing, assess, beside_random, dominates


def made(values, wanted=(1, 1), images=None):
    """A comparison of given values."""
    return Comparison(
        criteria=("diversity", "balance")[: len(wanted)],
        wanted=wanted,
        embedding="random",
        draws=10,
        images=images or dict.fromkeys(values, 5),
        standings={
            name: {
                criterion: Standing(value, 0.5, 0.4, 0.6)
                for criterion, value in zip(("diversity", "balance"), each, strict=False)
            }
            for name, each in values.items()
        },
    )


def test_dominance_by_hand():
    assert dominates([1, 2], [1, 1])
    assert not dominates([1, 1], [1, 1])
    assert not dominates([2, 0], [1, 1])
    values = {"a": (0.9, 0.1), "b": (0.5, 0.5), "c": (0.5, 0.4), "d": (0.1, 0.9), "e": (0.1, 0.1)}
    assert made(values).undominated == ("a", "b", "d")
    assert made(values, wanted=(1, -1)).undominated == ("a",)
    assert made({"a": (0.5, 0.5), "b": (0.5, 0.5)}).undominated == ("a", "b")
    assert made({"a": (0.9, 0.9), "b": (0.5, 0.5)}, images={"a": 6, "b": 5}).undominated == ("a", "b")


def test_beyond_random():
    assert [Standing(value, 0.5, 0.4, 0.6).beyond for value in (0.3, 0.4, 0.6, 0.7)] == [-1, 0, 0, 1]


def test_a_table_marks_what_is_undominated_and_says_what_is_wanted():
    found = made({"one": (0.9, 0.1), "two": (0.95, 0.05), "three": (0.9, 0.2)}, wanted=(1, -1))
    lines = found.text().splitlines()
    assert lines[0].split() == ["selection", "images", "diversity", "balance"]
    assert [line.split()[0] for line in lines[1:4]] == ["one", "*", "three"]
    assert "0.950 [0.400, 0.600]" in lines[2]
    assert "less is wanted of balance" in lines[4]
    record = json.loads(json.dumps(found.to_json()))
    assert record["undominated"] == ["two"]
    assert record["standings"]["two"]["diversity"] == {
        "value": 0.95, "random": 0.5, "low": 0.4, "high": 0.6,
    }  # fmt: skip


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_a_selection_by_a_criterion_is_above_random_in_it(task, every_data, every_scores):
    data, scores = every_data[task], every_scores[task]
    budget = Budget.of(ipc=4) if data.task.by_class else Budget.of(images=5)
    problem = make_problem(data, budget=budget, device="cpu")
    names = ("representativeness", "diversity", "difficulty")
    selections = {name: make_method("greedy", criteria=name).select(problem, scores) for name in names}
    found = compare(problem, selections | {"random": make_method("random").select(problem)}, scores)
    assert found.criteria == ("representativeness", "diversity", "balance", "difficulty")
    assert (
        found.standings["diversity"]["diversity"].value > found.standings["diversity"]["diversity"].random
    )
    for name in ("representativeness", "difficulty"):
        assert found.standings[name][name].beyond == 1
        assert name in found.undominated
        best = max(standings[name].value for standings in found.standings.values())
        assert found.standings[name][name].value == best


def test_random_selections_have_as_many_of_each_group(tiny):
    problem = make_problem(tiny, ipc=1, device="cpu")
    members, known = problem.groups.members, Known(problem, "thumbnails")
    indices = torch.cat([members[0][:4], members[2][:2]])
    criteria = parse_criteria("balance+representativeness")
    found = beside_random(indices, known, criteria, draws=3)
    shares = torch.tensor([4, 2]) / 6
    assert found["balance"].value == pytest.approx(float((shares / 3).sqrt().sum()))
    assert found["balance"].low == found["balance"].high == found["balance"].value
    drawn = [
        problem.groups.draw([4, 0, 2], problem.generator("random selection", draw), strict=True).indices
        for draw in range(3)
    ]
    values = [assess(each, known, criteria)["representativeness"] for each in drawn]
    standing = found["representativeness"]
    assert standing.random == pytest.approx(sum(values) / 3)
    assert (standing.low, standing.high) == (min(values), max(values))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (torch.tensor([1, 1]), "expected different images, found one twice"),
        (torch.tensor([0, 81]), "expected indices from 0 to 80, found 0 to 81"),
        (torch.tensor([-1]), "found -1 to -1"),
        (torch.tensor([], dtype=torch.int64), "expected indices .* of at least one image"),
        (torch.tensor([0.5]), "found .* torch.float32"),
    ],
)
def test_what_is_no_selection_is_refused(indices, message, tiny):
    with pytest.raises(ValueError, match=message):
        compare(make_problem(tiny, ipc=1, device="cpu"), {"mine": indices}, embedding="thumbnails")


def test_arguments_that_do_not_fit_are_refused(tiny, every_data, every_scores):
    problem = make_problem(tiny, ipc=1, device="cpu")
    mine = {"mine": torch.arange(3)}
    with pytest.raises(ValueError, match="at least one selection to compare"):
        compare(problem, {})
    with pytest.raises(ValueError, match="draws must be at least 1"):
        compare(problem, mine, draws=0)
    with pytest.raises(ValueError, match="scores of the training images are needed"):
        compare(problem, mine, criteria="difficulty")
    with pytest.raises(ValueError, match="the scores are of segmentation scenes"):
        compare(problem, mine, every_scores["segmentation"])
