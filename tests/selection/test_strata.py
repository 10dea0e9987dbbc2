import numpy as np
import pytest
import torch

from pydistill.engine.method import make_method
from pydistill.selection.strata import Ccs, shares, stratum
from tests.selection.known import candidates, generator


def chosen(selector, loss, count, seed=0):
    return selector.choose(candidates(len(loss), loss=[loss]), count, generator(seed)).positions


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([10, 2, 0, 5], 9, [4, 2, 0, 3]),  # 0 of 0, 2 of 3 wanted, 3 of 7 / 2, then 4
        ([10, 2, 0, 5], 17, [10, 2, 0, 5]),
        ([3, 3, 3], 4, [1, 1, 2]),
        ([5, 4, 9], 1, [0, 0, 1]),
        ([1, 1, 1, 50], 2, [0, 0, 1, 1]),
        ([7], 3, [3]),
    ],
)
def test_the_smallest_strata_give_first_and_leave_the_rest_to_the_larger(sizes, count, expected):
    assert shares(sizes, count) == expected


def test_shares_are_within_sizes_and_make_the_number_for_any_strata():
    random = np.random.default_rng(0)
    for _ in range(300):
        sizes = random.integers(0, 20, random.integers(1, 12)).tolist()
        for count in range(1, sum(sizes) + 1):
            found = shares(sizes, count)
            assert sum(found) == count
            assert all(0 <= part <= size for part, size in zip(found, sizes, strict=True))


def test_strata_are_of_equal_width_and_equal_scores_are_one():
    assert stratum(torch.tensor([0.0, 0.9, 1.0, 2.4, 3.0, 4.0]), 4).tolist() == [0, 0, 1, 2, 3, 3]
    assert stratum(torch.tensor([2.0, 2.0]), 4).tolist() == [0, 0]


def test_every_stratum_is_represented_and_the_hardest_are_left_out():
    loss = [0.0] * 40 + [1.0] * 6 + [2.0] * 2 + [9.0] * 2
    selector = Ccs(score="loss", cut=0.04, strata=3)
    for seed in range(5):
        found = torch.tensor(loss)[chosen(selector, loss, 8, seed)]
        assert torch.bincount(found.long(), minlength=3).tolist() == [3, 3, 2]
    assert not torch.equal(chosen(selector, loss, 8, 0), chosen(selector, loss, 8, 1))


def test_a_cut_that_leaves_too_few_shrinks_to_the_hardest_that_can_be_spared():
    loss = [float(at) for at in range(10)]
    selector = Ccs(score="loss", cut=0.9, strata=2)
    assert sorted(chosen(selector, loss, 8).tolist()) == list(range(8))
    assert sorted(chosen(selector, loss, 10).tolist()) == list(range(10))
    assert chosen(selector, loss, 1).tolist() == [0]


def test_the_margin_is_the_usual_score_and_wrong_labels_have_the_smallest():
    margin = np.linspace(-5, 5, 20)
    given = candidates(20, margin=[margin])
    found = Ccs(cut=0.2).choose(given, 16, generator()).positions
    assert sorted(found.tolist()) == list(range(4, 20))


def test_equal_scores_are_drawn_from_at_random():
    found = chosen(Ccs(score="loss", cut=0.0), [1.0] * 30, 5)
    assert len(set(found.tolist())) == 5
    assert found.tolist() != [0, 1, 2, 3, 4]


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"ccs: cut must be within \[0, 1\), got 1"):
        make_method("ccs", cut=1.0)
    with pytest.raises(ValueError, match="ccs: strata must be at least 1, got 0"):
        make_method("ccs", strata=0)
    with pytest.raises(ValueError, match="ccs: score must be one of auto, aum"):
        make_method("ccs", score="mean")
    with pytest.raises(ValueError, match="no score 'el2n' of made up; there are: loss"):
        chosen(Ccs(score="el2n"), [1.0, 2.0], 1)
