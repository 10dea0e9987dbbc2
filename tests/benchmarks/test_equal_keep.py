"""Sets of a table that are kept come back as they were, for the same row and code alone."""

import torch

from benchmarks.methods.equal_keep import Distilled, keep, kept
from pydistill import distill


def test_a_kept_set_comes_back_for_its_own_identity_alone(tiny, tmp_path):
    made = distill(tiny, "kip", ipc=1, iterations=2, batch_real=9)
    early = distill(tiny, "kip", ipc=1, iterations=1, batch_real=9)
    level = {"level": "AVX2", "bfloat16": "emulated"}
    identity = {"row": "kip", "seed": 0, "ipc": 1, "code": "a"}
    assert kept(tmp_path / "set", identity) is None
    keep(tmp_path / "set", identity, Distilled(made, 0.5, 3.0, [(1.5, 1, early)], level))
    found = kept(tmp_path / "set", identity)
    assert (found.preparing, found.seconds, found.processor) == (0.5, 3.0, level)
    assert torch.equal(found.made.images, made.images)
    assert torch.equal(found.made.origin, made.origin)
    assert found.made.provenance == made.provenance
    ((seconds, steps, then),) = found.early
    assert (seconds, steps) == (1.5, 1)
    assert torch.equal(then.images, early.images)
    assert kept(tmp_path / "set", identity | {"code": "b"}) is None
