"""The curve of accuracy by random images: which sizes, and what is told of others."""

import pytest

from pydistill.analysis import analyse, make_finder
from pydistill.analysis.findings import distillability
from pydistill.analysis.findings.distillability import measured_sizes, steps_for
from tests.analysis.conftest import classified


def test_sizes_grow_about_twofold_up_to_the_share_and_leave_no_small_last_batch():
    assert measured_sizes(54_000, 10, 0.05, 6) == [52, 115, 256, 576, 1216, 2688]
    assert measured_sizes(1295, 10, 0.05, 6) == [13, 30, 65]
    assert measured_sizes(120, 10, 0.05, 6) == [18, 40]
    assert measured_sizes(30, 10, 0.05, 6) == [14, 30]


def test_larger_sets_are_trained_for_longer():
    assert [steps_for(size) for size in (10, 350, 10_000)] == [200, 299, 1600]


def test_predictions_are_of_budgets_and_in_order(pictures, monkeypatch):
    """With made accuracies of a known law."""

    def law(data, size, steps, draws, network, seed, device):
        return [1 - 2 * size**-0.5 / (1 + 2 * size**-0.5) * 0.6 + 0.001 * draw for draw in range(draws)]

    monkeypatch.setattr(distillability, "accuracy_of", law)
    finder = make_finder("distillability", most=0.5)
    made = analyse(pictures, findings=[finder]).findings["distillability"]
    told = made.values["predictions"]
    accuracies = [each["accuracy"] for each in told.values()]
    assert accuracies == sorted(accuracies)
    assert told["100 %"]["images"] == len(pictures.train)
    assert all(each["low"] <= each["accuracy"] <= each["high"] for each in told.values())
    assert "all" in made.summary
    assert made.recommendation


def test_nothing_learned_is_said(pictures, monkeypatch):
    monkeypatch.setattr(distillability, "accuracy_of", lambda *given: [0.1, 0.1])
    made = analyse(pictures, findings=[make_finder("distillability", most=0.5)]).findings["distillability"]
    assert "a curve needs 3 sizes at which networks learned something" in made.summary
    assert made.recommendation is None


def test_data_too_small_are_refused_by_name():
    few = classified(60)
    with pytest.raises(ValueError, match="finding distillability: it needs 100 training images or more"):
        analyse(few, findings=["distillability"])
