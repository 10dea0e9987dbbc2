import mmap
import os
import sys

import numpy as np
import pytest
import torch

from benchmarks import measure
from benchmarks.measure import peak_growth, run_fresh

BLOCK = 48 * 2**20


def allocate() -> np.ndarray:
    """Fresh pages, whatever the allocator kept from tests before."""
    held = np.frombuffer(mmap.mmap(-1, BLOCK), np.uint8)
    held[:] = 1
    return held


def test_growth_is_what_the_run_adds():
    assert 40 < peak_growth(allocate) < 80
    assert peak_growth(lambda: None) < 8


def test_what_the_warm_up_loads_is_not_counted_and_it_goes_first():
    order, kept = [], []

    def load_once() -> None:
        order.append("warm" if not kept else "run")
        kept.extend([allocate()] if not kept else [])

    assert peak_growth(load_once, load_once) < 8
    assert order == ["warm", "run"]
    kept.clear()
    assert peak_growth(load_once) > 40


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_module_prints_last_is_read(device, tmp_path, monkeypatch):
    """A process of its own on a CPU, this one on a GPU, whose arguments are then as they were."""
    (tmp_path / "told.py").write_text(
        "import json, os, sys\nprint('first')\nprint(json.dumps([sys.argv[1:], os.getpid()]))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(measure, "DEVICE", torch.device(device))
    before = list(sys.argv)
    arguments, process = run_fresh("told", ["--peak-of", "[1]"])
    assert arguments == ["--peak-of", "[1]"]
    assert (process == os.getpid()) == (device == "cuda")
    assert sys.argv == before
