"""Images nearest to the centres of clusters."""

import pytest
import torch

from pydistill.seeds import generator
from pydistill.selection import k_means
from pydistill.selection.k_means import nearest_to_centres
from tests.selection.test_lazy_greedy import blobs


@pytest.mark.parametrize("seed", range(5))
def test_of_separated_blobs_the_nearest_to_each_ones_mean(seed):
    rows = 0.02 * blobs(60, kinds=5, seed=seed) + 10 * torch.eye(6)[torch.arange(60) % 5]
    found = nearest_to_centres(rows, 5, 20, generator(seed, "here"))
    expected = []
    for kind in range(5):
        own = torch.arange(kind, 60, 5)
        expected.append(int(own[(rows[own] - rows[own].mean(0)).norm(dim=1).argmin()]))
    assert found.tolist() == sorted(expected)


def test_squared_distances_do_not_grow_from_round_to_round():
    rows = blobs(400, kinds=9)
    apart = []
    for rounds in (1, 2, 5, 50):
        found = rows[nearest_to_centres(rows, 12, rounds, generator(3))]
        apart.append(float(torch.cdist(rows, found).square().amin(1).mean()))
    chance = rows[torch.randperm(400, generator=generator(4))[:12]]
    assert apart[-1] <= apart[0]
    assert apart[-1] < float(torch.cdist(rows, chance).square().amin(1).mean())


@pytest.mark.parametrize("count", [1, 5, 6, 59, 60])
def test_equal_and_doubled_rows_give_their_number(count):
    for rows in (torch.ones(60, 3), torch.randn(5, 3, generator=generator(0)).repeat(12, 1)):
        found = nearest_to_centres(rows, count, 20, generator(1))
        assert len(found.unique()) == count


def test_an_empty_cluster_is_moved_to_the_furthest_row():
    rows = torch.tensor([[0.0], [1.0], [9.0]])
    labels, apart = torch.zeros(3, dtype=torch.int64), torch.tensor([0.0, 0.5, 40.5])
    means = k_means._means(rows, labels, apart, 2)
    assert means.flatten().tolist() == pytest.approx([10 / 3, 9.0])


def test_first_centres_are_drawn_by_squared_distance():
    """Nine equal rows and one far from them: the second centre is never a copy of the first."""
    rows = torch.cat([torch.zeros(9, 2), torch.ones(1, 2)])
    halves = rows.square().sum(1) / 2
    for seed in range(10):
        found = k_means._spread(rows, halves, 2, generator(seed))
        assert 9 in found.tolist()
        assert len(found.unique()) == 2
