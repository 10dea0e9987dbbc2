"""Graph cut against a greedy that evaluates the function itself."""

import pytest

from pydistill.selection import falling
from pydistill.selection.graph_cut import cut
from pydistill.selection.similarity import Similarity
from tests.selection.test_lazy_greedy import blobs


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("kind", ["cosine", "rbf"])
def test_it_is_greedy_on_the_function(weight, kind, monkeypatch):
    monkeypatch.setattr(falling, "_WATCHED", 3)
    made = Similarity.of(blobs(30), kind)
    whole = made.block(slice(None), slice(None)).double()

    def value(chosen):
        return float(weight * whole[:, chosen].sum() - whole[chosen][:, chosen].sum())

    chosen = []
    for _ in range(30):
        free = [at for at in range(30) if at not in chosen]
        chosen.append(max(free, key=lambda at: value([*chosen, at])))
    found = cut(made, 30, weight).tolist()
    assert sorted(found) == list(range(30))
    steps = range(1, 31)
    assert [value(found[:k]) for k in steps] == pytest.approx([value(chosen[:k]) for k in steps], abs=1e-4)
    if kind == "rbf":
        assert found[:15] == chosen[:15]
