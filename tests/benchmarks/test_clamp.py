"""The benchmark of clamping: which sets it compares."""

import pytest

from benchmarks.methods.clamp import SIDES, scored, sides
from pydistill import distill
from pydistill.data.folder_export import loss_of


def test_sides_are_the_set_its_pictures_and_the_clamped_one(tiny):
    common = {"ipc": 1, "network": "convnet:width=4,depth=2", "iterations": 3, "learning_rate": 20.0}
    free, clamped = (distill(tiny, "dm", clamp=clamp, **common) for clamp in (False, True))
    found = sides(free, clamped)
    assert tuple(found) == SIDES
    outside = {side: loss_of(made.pixels(), "clamp").outside for side, made in found.items()}
    assert outside["as learned"] > 0.1
    assert outside["clamped pictures"] == outside["clamp while learned"] == 0
    assert outside["stretched pictures"] == pytest.approx(outside["as learned"], abs=0.1)
    assert len(scored(clamped, tiny, "mlp:width=4", 2)) == 2
