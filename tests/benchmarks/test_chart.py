"""The chart of accuracy against seconds: names that can be read, whatever they stand for."""

import itertools

import numpy as np
import pytest

from benchmarks.chart import LINE, WIDE, apart, chart


@pytest.mark.parametrize("heights", [[100.0] * 12, [20.0, 21.0, 340.0, 359.0, 360.0], [200.0]])
def test_names_keep_their_distance_and_stay_on_the_canvas(heights):
    found = apart(heights, 20, 360)
    assert all(low - high >= LINE - 1e-9 for high, low in itertools.pairwise(found))
    assert found[0] >= 20
    assert found[-1] <= 360


def test_a_name_that_is_in_nobodys_way_stays_at_its_line():
    assert apart([50.0, 100.0, 300.0], 20, 360) == [50.0, 100.0, 300.0]


def test_every_side_is_drawn_in_a_canvas_that_grows_with_them():
    side = [{"seconds": 10.0 * at, "mean": 0.7, "values": [0.69, 0.71]} for at in (1, 2)]
    few, many = (chart({f"method {at}": side for at in range(n)}) for n in (2, 30))
    assert many.height > few.height
    white = (np.asarray(many)[:, WIDE + 34 :] == 255).all(-1)
    rows = ~white.all(1)
    assert np.diff(rows.astype(int)).clip(0).sum() >= 30  # as many names, apart
