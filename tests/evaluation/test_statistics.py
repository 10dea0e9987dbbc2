import math

import numpy as np
import pytest

from pydistill.evaluation.statistics import Difference, Summary, difference, summarise


def test_summary_has_the_unbiased_standard_deviation():
    assert summarise([1.0, 2.0, 3.0, 6.0]) == Summary(3.0, math.sqrt(14 / 3), 4)


def test_summary_of_one_value_has_no_spread():
    only = summarise([0.25])
    assert (only.mean, only.n) == (0.25, 1)
    assert math.isnan(only.std)


def test_equal_values_leave_no_doubt():
    found = difference([[0.5, 0.5, 0.5]], [[0.25, 0.25], [0.25, 0.25]])
    assert found == Difference(0.25, 0.25, 0.25, True, 3)


def test_difference_is_resolved_only_where_the_interval_leaves_out_zero():
    spread = [[0.5, 0.6, 0.7]]
    assert difference(spread, [[0.1, 0.12, 0.11]]).resolved
    near = difference(spread, [[0.58, 0.62, 0.57]])
    assert near.low < 0 < near.high
    assert not near.resolved


def test_too_few_values_resolve_nothing():
    assert not difference([[0.9, 0.9]], [[0.1, 0.1, 0.1]]).resolved
    assert not difference([[0.9, 0.9, 0.9]], [[0.1, 0.1]]).resolved
    assert difference([[0.9, 0.9, 0.9]], [[0.1], [0.1], [0.1]]).resolved


def test_two_values_resample_to_known_ends():
    # The mean of two values drawn from {0, 1} is 0, 1/2 or 1; deviations from 1/2 are widened by sqrt(2).
    found = difference([[0.0, 1.0]], [[0.0]])
    assert found.low == pytest.approx(0.5 - math.sqrt(0.5))
    assert found.high == pytest.approx(0.5 + math.sqrt(0.5))


def test_interval_of_many_values_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(size=400)
    found = difference([list(values)], [[0.0]])
    half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_draws_that_differ_widen_the_interval():
    steady = difference([[0.0]], [[0.1, 0.3], [0.1, 0.3], [0.1, 0.3]])
    moving = difference([[0.0]], [[0.0, 0.2], [0.1, 0.3], [0.2, 0.4]])
    assert moving.mean == pytest.approx(steady.mean)
    assert moving.high - moving.low > 1.5 * (steady.high - steady.low)


def test_same_seed_same_interval():
    sides = np.random.default_rng(0).normal(size=(2, 1, 40)).tolist()
    assert difference(*sides, seed=3) == difference(*sides, seed=3)
    assert difference(*sides, seed=3) != difference(*sides, seed=4)


@pytest.mark.parametrize("side", [[], [[]], [[0.1], [0.1, 0.2]]])
def test_ragged_or_empty_sides_are_refused(side):
    with pytest.raises(ValueError, match="second: expected sets of equally many values"):
        difference([[0.5]], side)


def test_nothing_has_no_summary():
    with pytest.raises(ValueError, match="at least one value"):
        summarise([])


def test_doubt_says_whether_networks_are_too_few_or_the_interval_includes_zero():
    assert difference([[0.9]], [[0.1, 0.1, 0.1]]).doubt == "too few networks to tell (n = 1)"
    assert difference([[0.9, 0.9, 0.9]], [[0.1, 0.1]]).doubt == "too few networks to tell (n = 2)"
    assert difference([[0.4, 0.5, 0.6]], [[0.4, 0.5, 0.6]]).doubt == "the interval includes zero"
    clear = difference([[0.9, 0.9, 0.9]], [[0.1], [0.1], [0.1]])
    assert clear.doubt is None
    assert clear.record()["doubt"] is None
    assert (clear.record()["n"], clear.record()["resolved"]) == (3, True)
