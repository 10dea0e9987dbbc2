"""Greedy selection against trying every image at every step."""

import pytest
import torch

from pydistill.budget import Budget
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.selection.base import Known
from pydistill.selection.combination import parse_criteria


def require_best(candidates, text, chosen):
    """At every step no image has a greater sum, made from totals before and after, than the chosen one."""
    for step in range(len(chosen)):
        left = [at for at in range(len(candidates)) if at not in chosen[:step]]
        sums = torch.zeros(len(left), dtype=torch.float64)
        for weight, each in parse_criteria(text).terms:
            now = each.total(candidates, torch.tensor(chosen[:step], dtype=torch.int64))
            totals = [each.total(candidates, torch.tensor([*chosen[:step], at])) for at in left]
            gains = torch.tensor(totals, dtype=torch.float64) - now
            sums += weight * gains / gains.max()
        assert float(sums[left.index(chosen[step])]) >= float(sums.max()) - 1e-5
        assert sums.max() - sums.min() > 1e-3, "any choice would do"


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
@pytest.mark.parametrize(
    "text",
    [
        "representativeness",
        "representativeness+0.5*diversity-0.2*difficulty",
        "2*balance+representativeness",
        "difficulty-representativeness",
    ],
)
def test_it_is_what_trying_every_image_gives(text, task, every_data, every_scores):
    data = every_data[task]
    budget = Budget.of(ipc=4) if data.task.by_class else Budget.of(images=4)
    problem = make_problem(data, budget=budget, device="cpu")
    scores = every_scores[task]
    found = make_method("greedy", criteria=text).select(problem, scores)
    known = Known(problem, scores=scores)
    for candidates in known.groups()[:2]:
        own = found.indices[found.groups == candidates.group]
        require_best(candidates, text, torch.searchsorted(candidates.indices, own).tolist())


def test_diversity_alone_goes_to_the_furthest_from_an_image_that_the_seed_draws(tiny):
    firsts = set()
    for seed in range(4):
        problem = make_problem(tiny, ipc=5, seed=seed, device="cpu")
        selector = make_method("greedy", criteria="diversity", embedding="thumbnails")
        indices = selector.select(problem).indices[:5]
        firsts.add(int(indices[0]))
        rows = Known(problem, "thumbnails").features
        members = problem.groups.members[0]
        for step in range(1, 5):
            nearest = torch.cdist(rows[members], rows[indices[:step]]).amin(1)
            assert float(nearest[members == indices[step]]) == pytest.approx(float(nearest.max()), rel=1e-5)
    assert len(firsts) > 1


def test_signs_of_weights(tiny, every_scores):
    problem = make_problem(tiny, ipc=3, device="cpu")
    scores = every_scores["classification"]
    hard, easy = (
        make_method("greedy", criteria=f"{sign}difficulty").select(problem, scores) for sign in ("", "-")
    )
    value = scores.difficulty("el2n")
    for group, members in enumerate(problem.groups.members):
        order = members[value[members].argsort()]
        assert set(easy.indices[easy.groups == group].tolist()) == set(order[:3].tolist())
        assert set(hard.indices[hard.groups == group].tolist()) == set(order[-3:].tolist())


def test_a_text_that_does_not_parse_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="unknown criterion 'divers'"):
        make_method("greedy", criteria="divers")
    with pytest.raises(TypeError, match="criteria must be str"):
        make_method("greedy", criteria=3)


def test_scores_are_asked_for_where_a_criterion_needs_them():
    assert not make_method("greedy").scored
    assert make_method("greedy", criteria="-difficulty").scored
    assert make_method("greedy", criteria="relevance(score=aum)").scored
    assert make_method("greedy", embedding="trained").scored
