"""Kernel herding and kernel thinning: discrepancies against brute force and against chance."""

import math

import numpy as np
import pytest
import torch

from pydistill.ops import mmd
from pydistill.seeds import generator
from pydistill.selection import kernel_thinning
from pydistill.selection.kernel_herding import kernel_herd
from pydistill.selection.kernel_thinning import discrepancy, thin
from pydistill.selection.similarity import Similarity
from tests.selection.test_lazy_greedy import blobs


def kernels(rows):
    return Similarity.of(rows, "rbf"), Similarity.of(rows, "rbf", 1 / math.sqrt(2))


def chance(target, count, draws=20):
    order = generator(9, "chance")
    return min(
        discrepancy(target, torch.randperm(len(target), generator=order)[:count]) for _ in range(draws)
    )


def test_the_discrepancy_is_the_operators():
    rows = blobs(70)
    target, chosen = kernels(rows)[0], torch.arange(3, 20)
    expected = mmd(target.rows[None, chosen], target.rows[None], [1.0])
    assert discrepancy(target, chosen) == pytest.approx(float(expected), abs=1e-6)


def test_herding_takes_the_least_discrepancy_each_time():
    target = kernels(blobs(40))[0]
    whole, chosen = target.block(slice(None), slice(None)).double(), []
    for _ in range(25):
        worth = {
            at: float(whole[[*chosen, at]][:, [*chosen, at]].mean() - 2 * whole[[*chosen, at]].mean())
            for at in range(40)
            if at not in chosen
        }
        chosen.append(min(worth, key=worth.get))
    assert kernel_herd(target, 25).tolist() == chosen
    assert sorted(kernel_herd(target, 40).tolist()) == list(range(40))


@pytest.mark.parametrize("count", [1, 2, 25, 50, 60, 100, 120, 150, 199, 200])
def test_thinning_gives_any_count_of_less_discrepancy_than_chance(count):
    target, split = kernels(blobs(200))
    found = thin(target, split, count, generator(0, "thin"))
    assert len(found.unique()) == len(found) == count
    if count < 199:
        assert discrepancy(target, found) < 0.9 * chance(target, count)
    assert torch.equal(found, thin(target, split, count, generator(0, "thin")))


def test_halving_alone_is_better_than_chance_and_keeps_all(monkeypatch):
    monkeypatch.setattr(kernel_thinning, "_PAIRS", 7)
    target, split = kernels(blobs(512))
    order = torch.randperm(512, generator=generator(1))
    parts = kernel_thinning._split(split, order.clone(), 3, generator(2))
    assert sorted(torch.cat(parts).tolist()) == list(range(512))
    assert [len(part) for part in parts] == [64] * 8
    own = [discrepancy(target, part) for part in parts]
    assert sum(own) / 8 < 0.5 * sum(discrepancy(target, part) for part in order.view(8, 64)) / 8


def test_blocks_of_pairs_change_nothing(monkeypatch):
    _, split = kernels(blobs(120))
    found = []
    for size in (5, 13, 256):
        monkeypatch.setattr(kernel_thinning, "_PAIRS", size)
        found.append(torch.stack(kernel_thinning._halve(split, torch.arange(120), 0.01, generator(3))))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_walk_is_that_of_the_paper():
    """KT-SPLIT with one level, pair by pair from its definition."""
    _, split = kernels(blobs(60))
    whole = split.block(slice(None), slice(None)).double().numpy()
    failing, draws = 0.01, torch.rand(30, generator=generator(4), dtype=torch.float64).tolist()
    seen, first, second, square = [], [], [], 0.0
    for at, draw in enumerate(draws):
        x, other = 2 * at, 2 * at + 1
        long = whole[x, x] + whole[other, other] - 2 * whole[x, other]
        threshold = max(math.sqrt(long * square * 2 * math.log(2 / failing)), long)
        square += long * max(0, 1 + (long - 2 * threshold) * square / threshold**2)
        ahead = (whole[seen, x] - whole[seen, other]).sum()
        ahead -= 2 * (whole[first, x] - whole[first, other]).sum()
        if draw < min(1, max(0, (1 - ahead / threshold) / 2)):
            x, other = other, x
        first.append(x)
        second.append(other)
        seen += [x, other]
    assert len(np.unique(first + second)) == 60
    found = kernel_thinning._halve(split, torch.arange(60), failing, generator(4))
    assert found[0].tolist() == first
    assert found[1].tolist() == second


def test_exchanging_never_raises_the_discrepancy():
    target, _ = kernels(blobs(90))
    means, chosen = target.totals() / 90, torch.randperm(90, generator=generator(5))[:20]
    swapped = kernel_thinning._swap(target, chosen, means)
    assert len(swapped.unique()) == 20
    assert discrepancy(target, swapped) < 0.5 * discrepancy(target, chosen)
    dropped = kernel_thinning._drop(target, chosen, 19, means)
    best = min(discrepancy(target, chosen[chosen != at]) for at in chosen)
    assert discrepancy(target, dropped) == pytest.approx(best, abs=1e-7)
