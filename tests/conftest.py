"""Data that many tests use: small, made from a seed, learnable."""

import importlib
import itertools
import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # threads that spin would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from pydistill import ops
from pydistill.data import RealData, load_data

ROOT = Path(__file__).resolve().parents[1]
THREADS = torch.get_num_threads()
_NUMBERS = itertools.count()


def pytest_configure(config):
    """Run the kernels at the level of vector instructions that PYDISTILL_TEST_LEVEL names."""
    wanted = os.environ.get("PYDISTILL_TEST_LEVEL")
    if wanted and ops.status().loaded:
        importlib.import_module("pydistill._C").use_cpu_level(wanted)


def absent() -> set[str]:
    """Markers of what cannot run here: without a GPU, without the extension, on emulated kernels."""
    status, found = ops.status(), set()
    if not torch.cuda.is_available() or "cuda" not in status.backends:
        found.add("cuda")
    if not status.loaded:
        found |= {"compiled", "cpu_pool", "cpu_only"}
    elif status.build["cpu_level"] == "emulated":
        found |= {"cpu_pool", "cpu_only"}
    return found


def pytest_collection_modifyitems(config, items):
    """Leave out what cannot run here, without a skip in every report."""
    names = absent()
    out = [item for item in items if any(item.get_closest_marker(name) for name in names)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(autouse=True)
def _device(request, monkeypatch):
    """Tests run on the CPU, where results repeat to the bit, unless they are marked ``cuda``."""
    if not request.node.get_closest_marker("cuda"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    """Nothing is kept from one test to the next, or in the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "cache" / str(next(_NUMBERS))
    monkeypatch.setenv("PYDISTILL_CACHE", str(folder))


@pytest.fixture(autouse=True)
def _threads():
    """A test leaves torch as many threads as it found: another number rounds differently."""
    assert torch.get_num_threads() == THREADS
    yield
    assert torch.get_num_threads() == THREADS


def blobs(classes: int = 3, each: int = 30, channels: int = 1, side: int = 8, seed: int = 0) -> dict:
    """Arrays of noisy class patterns, as ``load_data`` takes them."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.rand(classes, channels, side, side, generator=generator)
    labels = torch.arange(classes).repeat_interleave(each)
    arrays = {}
    for split in ("train", "test"):
        noise = torch.rand(len(labels), channels, side, side, generator=generator)
        images = (0.6 * patterns[labels] + 0.4 * noise).mul(255).round().to(torch.uint8)
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images.numpy(), labels.numpy()
    return arrays


@pytest.fixture(scope="session")
def tiny() -> RealData:
    """Three classes of 8x8 grey images, 27 a class to train on."""
    return load_data(blobs(), name="tiny")


@pytest.fixture(scope="session")
def real_data_folder() -> Path:
    """Where real data sets lie: PYDISTILL_TEST_DATA, or shared/data beside the repository."""
    return Path(os.environ.get("PYDISTILL_TEST_DATA", ROOT.parent / "shared" / "data"))
