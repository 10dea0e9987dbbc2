"""The law of accuracy by size: recovered from made curves, honest about what it does not know."""

import math

import pytest
import torch

from pydistill.analysis import scaling
from pydistill.analysis.scaling import fit

SIZES = [54, 108, 270, 540, 1080, 2700]


def error(n, rate, floor, scale, chance=0.9):
    odds = scale * n**-rate
    return (floor + chance * odds) / (1 + odds)


@pytest.mark.parametrize(("rate", "floor", "scale"), [(0.3, 0.0, 3.0), (0.5, 0.08, 8.0), (0.9, 0.02, 20.0)])
def test_a_curve_without_noise_is_predicted_at_larger_sizes(rate, floor, scale):
    law = fit(SIZES, [[1 - error(n, rate, floor, scale)] for n in SIZES], 10)
    for size in (300, 10_800, 54_000):
        found, truth = law.predict(size), 1 - error(size, rate, floor, scale)
        assert found.low <= truth <= found.high
        assert found.low < found.accuracy < found.high
    assert abs(law.predict(300).accuracy - (1 - error(300, rate, floor, scale))) < 0.01


def test_the_interval_covers_as_often_as_it_says():
    """Over made curves with noise: 90 % intervals at 20 times the largest size."""
    generator = torch.Generator().manual_seed(0)
    covered, total = 0, 60
    for _ in range(total):
        rate, floor, scale = (
            float(low + (high - low) * torch.rand((), generator=generator))
            for low, high in ((0.2, 0.6), (0.0, 0.06), (2.0, 8.0))
        )

        def measured(n, count, rate=rate, floor=floor, scale=scale):
            noise = torch.randn(count, generator=generator) * 0.04
            return [1 - error(n, rate, floor, scale) * math.exp(float(each)) for each in noise]

        law = fit(SIZES, [measured(n, 2) for n in SIZES], 10)
        found = law.predict(54_000)
        covered += found.low <= measured(54_000, 1)[0] <= found.high
    assert covered >= 0.8 * total


def test_intervals_widen_with_distance_and_with_few_test_images():
    law = fit(SIZES, [[1 - error(n, 0.3, 0.02, 3.0)] * 2 for n in SIZES], 10)
    widths = [law.predict(size).high - law.predict(size).low for size in (2700, 10_800, 54_000)]
    assert widths == sorted(widths)
    assert law.predict(2700, images=50).low < law.predict(2700).low


def test_quantiles_of_few_points_are_those_of_the_whole_grid():
    law = fit(SIZES, [[1 - error(n, 0.5, 0.08, 8.0)] for n in SIZES], 10)
    for size in (100, 54_000):
        errors = law.errors(size)
        deviation = scaling._deviation(errors, law.spread, 1, 1000)
        found = law.predict(size, 1000)
        for share, value in ((0.05, 1 - found.high), (0.5, 1 - found.accuracy), (0.95, 1 - found.low)):
            assert value == pytest.approx(
                scaling._quantile(errors, deviation, law.weights, share), abs=1e-5
            )


def test_the_size_for_an_accuracy():
    law = fit(SIZES, [[1 - error(n, 0.3, 0.0, 3.0)] for n in SIZES], 10)
    size = law.size_for(0.8, 54_000)
    assert law.predict(size).accuracy == pytest.approx(0.8, abs=1e-3)
    assert law.size_for(0.999, 54_000) is None


def test_sizes_at_which_nothing_was_learned_do_not_count():
    rows = [[1 - error(n, 0.3, 0.0, 3.0)] for n in SIZES]
    assert fit([5, *SIZES], [[0.1], *rows], 10).predict(540) == fit(SIZES, rows, 10).predict(540)
    with pytest.raises(ValueError, match="needs 3 sizes at which networks learned something, found 2 of 4"):
        fit([5, 10, 54, 108], [[0.1], [0.12], *rows[:2]], 10)


def test_no_errors_at_all_are_no_trouble():
    law = fit([10, 20, 40], [[1.0], [1.0], [1.0]], 2, images=20)
    assert law.predict(100).high <= 1
