"""Scores against logs made by hand."""

import numpy as np
import pytest

from pydistill.scores import dynamics


def log(*rows):
    return np.array(rows, dtype=np.float16)


def test_el2n_is_the_error_of_the_early_epoch():
    assert dynamics.el2n(log([1.0, 0.5], [0.25, 0.75]), 2).tolist() == [0.25, 0.75]


def test_forgetting_counts_correct_answers_that_are_followed_by_wrong_ones():
    never, once, twice, learned_late, always = range(5)
    correct = log([0, 1, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1])
    found = dynamics.forgetting(correct).tolist()
    assert found[never] == 4  # above every count
    assert (found[once], found[twice], found[learned_late], found[always]) == (1, 2, 0, 0)


def test_aum_is_the_mean_margin():
    assert dynamics.mean(log([2.0, -1.0], [4.0, -2.0])).tolist() == [3.0, -1.5]


def test_spread_is_the_deviation_over_epochs_of_the_whole_population():
    assert dynamics.spread(log([0.0, 0.5], [1.0, 0.5])).tolist() == [0.5, 0.0]


def test_dual_is_the_mean_over_windows_of_difficulty_times_deviation():
    p = np.array([[0.0, 0.5], [0.5, 0.5], [1.0, 0.5]])
    root = np.sqrt(0.125)  # of two values half a unit apart, with Bessel's correction
    assert dynamics.dual(p, 2) == pytest.approx([(0.75 * root + 0.25 * root) / 2, 0.0], abs=1e-6)
    assert dynamics.dual(p[:1]).tolist() == [0.0, 0.0]


def test_scoring_in_parts_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    record = rng.random((5, 11)).astype(np.float16)
    whole = dynamics.scored(record, dynamics.dual)
    monkeypatch.setattr(dynamics, "_COLUMNS", 3)
    assert np.array_equal(dynamics.scored(record, dynamics.dual), whole)
