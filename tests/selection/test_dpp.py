"""Greedy log-determinants against ``slogdet`` of every candidate set."""

import pytest
import torch

from pydistill.selection import dpp, falling
from pydistill.selection.dpp import spread_by_lines, spread_by_rbf
from pydistill.selection.similarity import Similarity, centred
from tests.selection.test_lazy_greedy import blobs

RIDGE = 1e-2


def greedy(kernel, count):
    chosen, values = [], []
    for _ in range(count):
        worth = {}
        for at in range(len(kernel)):
            if at not in chosen:
                rows = [*chosen, at]
                worth[at] = float(torch.linalg.slogdet(kernel[rows][:, rows]).logabsdet)
        chosen.append(max(worth, key=worth.get))
        values.append(worth[chosen[-1]])
    return chosen, values


def value(kernel, chosen):
    return float(torch.linalg.slogdet(kernel[chosen][:, chosen]).logabsdet)


@pytest.mark.parametrize("watched", [2, 9, 1024])
def test_rbf_is_greedy_on_the_determinant(watched, monkeypatch):
    monkeypatch.setattr(falling, "_WATCHED", watched)
    monkeypatch.setattr(falling, "_MOST", watched)
    made = Similarity.of(blobs(40), "rbf")
    kernel = made.block(slice(None), slice(None)).double() + RIDGE * torch.eye(40, dtype=torch.float64)
    chosen, values = greedy(kernel, 40)
    found = spread_by_rbf(made, 40, RIDGE).tolist()
    assert found[1:20] == chosen[1:20]
    assert [value(kernel, found[: k + 1]) for k in range(40)] == pytest.approx(values, abs=2e-2)


@pytest.mark.parametrize("watched", [2, 9, 1024])
def test_linear_is_greedy_on_the_determinant_beyond_its_rank(watched, monkeypatch):
    monkeypatch.setattr(falling, "_WATCHED", watched)
    rows = blobs(40)
    exact = centred(rows).double()
    kernel = exact @ exact.T + RIDGE * torch.eye(40, dtype=torch.float64)
    chosen, values = greedy(kernel, 40)
    found = spread_by_lines(rows, 40, RIDGE).tolist()
    assert found[:20] == chosen[:20]
    assert [value(kernel, found[: k + 1]) for k in range(40)] == pytest.approx(values, abs=2e-2)


def test_equal_rows_give_their_number():
    same = torch.ones(30, 4)
    assert len(spread_by_rbf(Similarity.of(same, "rbf"), 30, RIDGE).unique()) == 30
    assert len(spread_by_lines(same, 30, RIDGE).unique()) == 30


def test_a_factor_beyond_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr(dpp, "MOST_BYTES", 4 * 40 * 10)
    made = Similarity.of(blobs(40), "rbf")
    assert len(spread_by_rbf(made, 10, RIDGE)) == 10
    with pytest.raises(ValueError, match=r"at most 10 chosen of 40 images.* asked for 11:.* kernel=linear"):
        spread_by_rbf(made, 11, RIDGE)
