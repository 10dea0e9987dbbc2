"""Farthest first against plain numpy, its start, its bound and its ties."""

import numpy as np
import pytest
import torch

from pydistill import make_method
from pydistill.engine.problem import make_problem
from pydistill.seeds import generator
from pydistill.selection import falling
from pydistill.selection.k_center import farthest_first


def plain(features, count, first=None):
    rows = features.double().numpy()
    if first is None:
        first = int(((rows - rows.mean(0)) ** 2).sum(1).argmin())
    chosen, apart = [first], ((rows - rows[first]) ** 2).sum(1)
    for _ in range(count - 1):
        free = apart.copy()
        free[chosen] = -1
        chosen.append(int(free.argmax()))
        apart = np.minimum(apart, ((rows - rows[chosen[-1]]) ** 2).sum(1))
    return chosen


@pytest.mark.parametrize("watched", [4, 1024])
@pytest.mark.parametrize("first", [None, 11])
def test_it_is_plain_farthest_first(watched, first, monkeypatch):
    monkeypatch.setattr(falling, "_WATCHED", watched)
    rows = torch.randn(300, 7, generator=generator(0, "center")) + 5
    assert farthest_first(rows, 150, first).tolist() == plain(rows, 150, first)


def test_by_hand():
    """Mean 4: 3 is nearest to it; 10 is furthest from that, then 0, then 6 before 1."""
    rows = torch.tensor([[0.0], [1.0], [3.0], [6.0], [10.0]])
    assert farthest_first(rows, 5).tolist() == [2, 4, 0, 3, 1]


def test_equal_rows_are_taken_in_order():
    same = torch.full((30, 3), 0.7)
    assert farthest_first(same, 30).tolist() == list(range(30))
    assert farthest_first(same, 4, 9).tolist() == [9, 0, 1, 2]


def test_a_drawn_start_is_another_with_another_seed(tiny):
    method = make_method("k_center", start_with="draw", embedding="thumbnails")

    def firsts(seed):
        found = method.select(make_problem(tiny, ipc=3, seed=seed))
        return found.indices[::3].tolist()

    assert firsts(0) == firsts(0)
    assert len({tuple(firsts(seed)) for seed in range(4)}) > 1
