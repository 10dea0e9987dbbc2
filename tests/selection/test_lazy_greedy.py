"""Facility location by lazy evaluation: the choices of a greedy that looks at everything, in float64."""

import pytest
import torch

from pydistill.seeds import generator
from pydistill.selection import lazy_greedy, similarity
from pydistill.selection.lazy_greedy import cover
from pydistill.selection.similarity import SIMILARITIES, Similarity


def blobs(rows, width=6, kinds=5, seed=0):
    source = generator(seed, "blobs")
    centres = 3 * torch.randn(kinds, width, generator=source)
    return centres[torch.arange(rows) % kinds] + torch.randn(rows, width, generator=source)


def exhaustive(matrix, count):
    """Every candidate's gain at every step, and the total after it."""
    best, chosen, values = torch.zeros(len(matrix), dtype=matrix.dtype), [], []
    for _ in range(count):
        value = torch.maximum(matrix, best).sum(1)
        value[chosen] = -torch.inf
        chosen.append(int(value.argmax()))
        best = torch.maximum(best, matrix[chosen[-1]])
        values.append(float(best.sum()))
    return chosen, values


@pytest.mark.parametrize("kind", SIMILARITIES)
@pytest.mark.parametrize("kept", [0, 1 << 20])
@pytest.mark.parametrize("given", [False, True])
def test_it_chooses_as_an_exhaustive_greedy(kind, kept, given, monkeypatch):
    monkeypatch.setattr(similarity.spans, "__defaults__", (17,))
    monkeypatch.setattr(lazy_greedy, "_FIRST", 3)
    made = Similarity.of(blobs(60), kind)
    whole = made.block(slice(None), slice(None)).double()
    chosen, values = exhaustive(whole, 60)
    found = cover(made.block, 60, 60, made.totals() if given else None, kept)
    assert sorted(found.positions.tolist()) == list(range(60))
    assert found.positions[:30].tolist() == chosen[:30]
    assert found.gains.cumsum(0).tolist() == pytest.approx(values, rel=1e-5)
    few = cover(made.block, 60, 10, None, kept)
    assert few.positions.tolist() == chosen[:10]
    assert torch.equal(few.nearest, whole[few.positions].argmax(0))


def test_most_pairs_are_not_made_again():
    """Three hundred steps of an exhaustive greedy would make all pairs three hundred times."""
    made, pairs = Similarity.of(blobs(1200, 16, 40), "rbf"), []

    def counted(left, right):
        block = made.block(left, right)
        pairs.append(block.numel())
        return block

    cover(counted, 1200, 300, None, 0)
    assert sum(pairs) < 8 * 1200**2
    pairs.clear()
    cover(counted, 1200, 300)
    assert sum(pairs) < 1.1 * 1200**2


@pytest.mark.parametrize("kept", [0, 1 << 30])
def test_equal_candidates_are_taken_in_order(kept):
    same = torch.ones(40, 40)
    found = cover(lambda left, right: same[left][:, right], 40, 40, None, kept)
    assert found.positions.tolist() == list(range(40))
    assert found.gains.tolist() == [40.0] + [0.0] * 39
    twice = torch.eye(6).repeat_interleave(2, 0).repeat_interleave(2, 1)
    found = cover(lambda left, right: twice[left][:, right], 12, 8, None, kept)
    assert found.positions.tolist() == [0, 2, 4, 6, 8, 10, 1, 3]
    assert found.nearest.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
