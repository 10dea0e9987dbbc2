"""Features made ready and compared: against the formulas in float64."""

import math

import pytest
import torch

from pydistill.seeds import generator
from pydistill.selection import similarity as module
from pydistill.selection.similarity import SIMILARITIES, Similarity, centred, median_distance, spans


def features(rows=23, width=5, shift=100.0):
    return torch.randn(rows, width, generator=generator(0, "rows", rows)) * 3 + shift


def expected(given, kind, bandwidth=1.0):
    """All similarities in float64, by differences."""
    rows = given.double() - given.double().mean(0)
    rows *= math.sqrt(len(rows)) / rows.norm()
    if kind == "cosine":
        unit = rows / rows.norm(dim=1, keepdim=True)
        return (1 + unit @ unit.T) / 2
    apart = (rows[:, None] - rows[None]).norm(dim=2)
    if kind == "distance":
        return 2 * rows.norm(dim=1).max() - apart
    middle = apart[torch.triu(torch.ones_like(apart), 1) > 0].sort().values
    width = bandwidth * middle[(len(middle) - 1) // 2]
    return torch.exp(-(apart**2) / (2 * width**2))


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_blocks_are_the_formulas(kind, monkeypatch):
    given = features()
    made, whole = Similarity.of(given, kind), expected(given, kind)
    # A distance of equal rows is a root of what rounding leaves of their squared lengths.
    apart = {"atol": 3e-3 if kind == "distance" else 3e-5, "rtol": 0}
    every = slice(None)
    torch.testing.assert_close(made.block(every, every).double(), whole, **apart)
    some = torch.tensor([3, 1, 20])
    torch.testing.assert_close(made.block(some, slice(2, 9)).double(), whole[some, 2:9], **apart)
    torch.testing.assert_close(made.column(4).double(), whole[:, 4], **apart)
    torch.testing.assert_close(made.diagonal().double(), whole.diagonal(), **apart)
    torch.testing.assert_close(made.totals(), whole.sum(0), atol=1e-2, rtol=0)
    monkeypatch.setattr(module.spans, "__defaults__", (4,))
    torch.testing.assert_close(made.totals(), whole.sum(0), atol=1e-2, rtol=0)


def test_units_and_place_do_not_matter():
    given = features(shift=0.0)
    moved = Similarity.of(given * 250 + 40, "rbf")
    every = slice(None)
    torch.testing.assert_close(
        moved.block(every, every), Similarity.of(given, "rbf").block(every, every), atol=1e-4, rtol=0
    )


def test_a_bandwidth_is_in_median_distances():
    given, every = features(), slice(None)
    torch.testing.assert_close(
        Similarity.of(given, "rbf", 0.5).block(every, every).double(),
        expected(given, "rbf", 0.5),
        atol=1e-4,
        rtol=0,
    )


def test_equal_rows_are_zero_whatever_their_rounding():
    same = torch.full((300, 7), 0.1) * torch.tensor([1.0, 3, 7, 9, 11, 13, 1e4])
    assert not centred(same).any()
    assert median_distance(centred(same)) == 1.0
    for kind in SIMILARITIES:
        made = Similarity.of(same, kind).block(slice(None), slice(None))
        assert len(made.unique()) == 1


def test_another_kind_is_refused():
    with pytest.raises(ValueError, match="similarity must be one of cosine, rbf, distance, got 'dot'"):
        Similarity.of(features(), "dot")


def test_spans_cover_all_once():
    assert [(part.start, part.stop) for part in spans(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    assert not list(spans(0, 4))
