from itertools import combinations

import numpy as np
import pytest
import torch

from pydistill.selection.lazy_greedy import cover
from pydistill.selection.similarity import BLOCK


def similarities(count, clusters=None, seed=0):
    """(n, n) float64 of random points, at random or in clusters."""
    random = np.random.default_rng(seed)
    points = random.standard_normal((count, 3))
    if clusters:
        points = 5 * random.standard_normal((clusters, 3))[np.arange(count) % clusters] + 0.3 * points
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    return torch.from_numpy(gaps.max() - gaps)


def value(matrix, positions):
    return float(matrix[:, positions].max(1).values.sum())


def assert_greedy(matrix, positions):
    """In every turn no candidate's objective is above that of the one that was chosen, beyond rounding."""
    for turn, at in enumerate(positions.tolist()):
        before = positions[:turn].tolist()
        values = [value(matrix, [*before, each]) for each in range(len(matrix)) if each not in before]
        assert value(matrix, [*before, at]) == pytest.approx(max(values), rel=1e-6)


def blocks(matrix):
    return lambda rows, columns: matrix[rows][:, columns]


@pytest.mark.parametrize("kept", [0, 1 << 20])
@pytest.mark.parametrize(
    ("count", "clusters", "seed"), [(40, None, 0), (60, 5, 1), (90, 12, 2), (1, None, 3)]
)
def test_choices_gains_and_owners_are_those_of_the_definition(count, clusters, seed, kept):
    matrix = similarities(count, clusters, seed)
    found = cover(blocks(matrix), count, count, None, kept)
    assert sorted(found.positions.tolist()) == list(range(count))
    assert_greedy(matrix, found.positions)
    values = [0.0] + [value(matrix, found.positions[: at + 1]) for at in range(count)]
    assert found.gains.numpy() == pytest.approx(np.diff(values), rel=1e-5, abs=1e-5)
    some = cover(blocks(matrix), count, max(1, count // 4), None, kept)
    assert torch.equal(some.positions, found.positions[: len(some.positions)])
    assert torch.equal(some.nearest, matrix[some.positions].argmax(0))


def test_the_value_is_at_least_a_share_of_the_best():
    for seed in range(3):
        matrix = similarities(10, seed=seed)
        best = max(value(matrix, list(each)) for each in combinations(range(10), 3))
        assert value(matrix, cover(blocks(matrix), 10, 3).positions) > (1 - 1 / np.e) * best


def test_few_similarities_are_computed_and_never_more_than_a_block():
    matrix, asked = similarities(400, 20).float(), []

    def block(rows, columns):
        made = matrix[rows][:, columns]
        asked.append(made.numel())
        return made

    found = cover(block, 400, 200, None, 0)
    assert max(asked) <= BLOCK**2
    assert sum(asked) < 12 * 400**2
    assert_greedy(matrix.double(), found.positions[:10])


def test_equal_candidates_and_no_similarity_are_chosen_in_their_order():
    for matrix in (torch.ones(6, 6), torch.zeros(6, 6)):
        found = cover(blocks(matrix), 6, 4)
        assert found.positions.tolist() == [0, 1, 2, 3]
        assert found.gains.tolist() == [float(matrix.sum() / 6), 0, 0, 0]
