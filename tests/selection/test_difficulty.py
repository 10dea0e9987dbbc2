import numpy as np
import pytest
import torch

from pydistill import distill
from pydistill.budget import Budget
from pydistill.data import load_data
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.selection.difficulty import Dual, DualBeta, El2n
from tests.selection.known import candidates, generator

ERRORS = [0.3, 0.9, 0.1, 0.9, 0.5, 0.0, 0.7, 0.2, 0.8, 0.4]
RANKED = [1, 3, 8, 6, 4, 9, 0, 7, 2, 5]


def chosen(selector, count, **records):
    found = selector.choose(candidates(len(next(iter(records.values()))[0]), **records), count, generator())
    assert found.weights is None
    return found.positions.tolist()


@pytest.mark.parametrize("count", [1, 4, 10])
def test_hardest_and_easiest_are_the_ends_of_the_ranking_and_ties_keep_their_order(count):
    assert chosen(El2n(), count, error=[ERRORS]) == RANKED[:count]
    easiest = [5, 2, 7, 0, 9, 4, 6, 8, 1, 3]
    assert chosen(El2n(keep="easiest"), count, error=[ERRORS]) == easiest[:count]


def test_a_window_goes_on_to_easy_ones_and_takes_what_it_left_out_last():
    window = El2n(keep="window", start_at=0.3)
    expected = [*RANKED[3:], *reversed(RANKED[:3])]
    for count in range(1, 11):
        assert chosen(window, count, error=[ERRORS]) == expected[:count]
    assert chosen(El2n(keep="window"), 10, error=[ERRORS]) == RANKED


@pytest.mark.parametrize(
    ("name", "record", "values"),
    [
        ("aum", "margin", [[3, -1, 1, 0], [1, -1, 2, 0]]),
        ("entropy", "entropy", [[9, 9, 9, 9], [0, 3, 1, 2]]),
        ("forgetting", "correct", [[1, 0, 1, 1], [1, 0, 0, 0], [1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 1, 1]]),
        ("loss", "loss", [[0, 3, 0, 2], [0, 0, 1, 0]]),
    ],
)
def test_each_ranks_by_its_own_score(name, record, values):
    assert chosen(make_method(name), 4, **{record: values}) == [1, 3, 2, 0]


def test_dual_is_hardest_where_answers_are_both_wrong_and_unsure():
    steady, wrong, shaky = [0.9] * 6, [0.1] * 6, [0.1, 0.6, 0.2, 0.5, 0.1, 0.6]
    rising = [0.6, 0.9, 0.7, 1.0, 0.8, 1.0]
    assert chosen(Dual(), 2, probability=np.array([steady, rising, wrong, shaky]).T) == [3, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start_at": 0.1}, "start_at says where a window begins, .* found keep='hardest', start_at=0.1"),
        ({"start_at": 0.1, "keep": "easiest"}, "expected keep='window'"),
        ({"start_at": 1.0, "keep": "window"}, r"el2n: start_at must be within \[0, 1\), got 1.0"),
        ({"start_at": -0.1, "keep": "window"}, r"start_at must be within \[0, 1\), got -0.1"),
        ({"start_at": float("nan"), "keep": "window"}, "start_at must be within"),
        ({"keep": "middle"}, "keep must be one of hardest, easiest, window"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make_method("el2n", **options)


def test_the_beta_density_moves_to_easy_images_as_fewer_are_kept():
    """By hand: ten of mean 0.4 hold all the score, so b = 15 * 0.6 * (1 - r^4)."""
    score = torch.tensor([1.0] * 10 + [0.1] * 90)
    mean = torch.tensor([0.4] * 10 + [0.9] * 90)
    for count, pruned in ((100, 0.0), (50, 0.5), (10, 0.9)):
        alpha, beta = DualBeta().density(score, mean, count)
        assert beta == pytest.approx(9 * (1 - pruned**4), rel=1e-6)
        assert alpha + beta == pytest.approx(16)
    assert DualBeta(complexity=1).density(score, mean, 10)[1] == pytest.approx(0.9, rel=1e-6)


def test_images_are_drawn_as_often_as_score_and_density_say():
    """One of three: shares are score times density, counted over many seeds."""
    records = np.array([[0.2, 0.6], [0.5, 0.7], [0.8, 1.0], [1.0, 1.0]]).T
    given = candidates(4, probability=records)
    score, mean = given.score("dual").double(), given.score("mean").double()
    alpha, beta = DualBeta().density(score, mean, 1)
    weight = (
        score * mean.clamp(1e-4, 1 - 1e-4) ** (alpha - 1) * (1 - mean.clamp(1e-4, 1 - 1e-4)) ** (beta - 1)
    )
    drawn = [DualBeta().choose(given, 1, generator(seed)).positions.item() for seed in range(1500)]
    shares = torch.bincount(torch.tensor(drawn), minlength=4) / 1500
    assert float(weight[3]) == 0
    assert (shares - weight / weight.sum()).abs().max() < 0.04


def test_images_of_no_score_come_last():
    given = candidates(5, probability=np.array([[1, 1], [0.2, 0.5], [0, 0], [0.5, 0.6], [1, 1]]).T)
    found = DualBeta().choose(given, 4, generator(1)).positions.tolist()
    assert sorted(found[:2]) == [1, 3]
    assert found[2:] == [0, 2]


def masks():
    """Sixteen images of two kinds of pixels, the last ones noise."""
    random = np.random.default_rng(0)
    targets = np.zeros((16, 8, 8), dtype=np.uint8)
    targets[:, :, 4:] = 1
    targets[12:] = random.integers(0, 2, (4, 8, 8))
    images = (200 * targets[:, None] + random.integers(0, 20, (16, 1, 8, 8))).astype(np.uint8)
    images[12:] = random.integers(0, 255, (4, 1, 8, 8))
    return load_data(
        {"x_train": images, "y_train": targets, "x_test": images, "y_test": targets},
        name="masks",
        task="segmentation",
    )


@pytest.mark.parametrize("name", ["loss", "ccs", "moderate"])
def test_images_of_several_classes_are_selected_from_all_together(name):
    problem = make_problem(masks(), budget=Budget.of(images=4))
    found = make_method(name, epochs=3).select(problem)
    assert len(set(found.indices.tolist())) == 4
    assert found.groups.tolist() == [0] * 4


def test_a_selector_of_classes_says_so_before_it_trains():
    with pytest.raises(
        ValueError, match="aum is for classification, the data 'masks' for segmentation: use"
    ):
        distill(masks(), "aum", images=4)
