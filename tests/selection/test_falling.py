"""Greedy choice by falling values: as if all were brought up to date after every choice."""

import pytest
import torch

from pydistill.seeds import generator
from pydistill.selection import falling
from pydistill.selection.falling import choose_falling


def plain(values, costs, count, first=None):
    values, chosen = values.clone(), []
    for _ in range(count):
        at = int(values.argmax()) if first is None or chosen else first
        chosen.append(at)
        values = values - costs[at]
        values[chosen] = -torch.inf
    return chosen


@pytest.mark.parametrize("watched", [1, 5, 1000])
@pytest.mark.parametrize("first", [None, 7])
@pytest.mark.parametrize("levels", [3, 1000])
def test_it_is_plain_greedy(watched, first, levels, monkeypatch):
    """Whole numbers: sums are exact; with few of them nearly all candidates tie."""
    monkeypatch.setattr(falling, "_WATCHED", watched)
    source = generator(watched, "costs")
    values = torch.randint(levels, (80,), generator=source).double()
    costs = torch.randint(levels, (80, 80), generator=source).double() / 8
    asked = []

    def after(found, rows, chosen):
        asked.append((isinstance(rows, slice), len(found) * len(chosen)))
        return found - costs[chosen][:, rows].sum(0)

    found = choose_falling(values, 80, after, first)
    assert found.tolist() == plain(values, costs, 80, first)
    if watched == 1000:
        assert not any(whole for whole, _ in asked)


def test_where_all_fall_alike_none_are_watched_in_the_end(monkeypatch):
    monkeypatch.setattr(falling, "_WATCHED", 4)
    monkeypatch.setattr(falling, "_MOST", 8)
    values, asked = torch.arange(60.0), []

    def after(found, rows, chosen):
        asked.append(len(found))
        return found - 30 * len(chosen)

    assert choose_falling(values, 40, after).tolist() == list(range(59, 19, -1))
    assert asked[-20:] == [60] * 20
