"""Data that many tests use: small, made from a seed, learnable."""

import os
from pathlib import Path

import pytest
import torch

from pydistill import ops
from pydistill.data import RealData, load_data

ROOT = Path(__file__).resolve().parents[1]
GPU = torch.cuda.is_available() and "cuda" in ops.status().backends


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none, without a skip in every report."""
    out = [] if GPU else [item for item in items if item.get_closest_marker("cuda")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(autouse=True)
def _device(request, monkeypatch):
    """Tests run on the CPU, where results repeat to the bit, unless they are marked ``cuda``."""
    if not request.node.get_closest_marker("cuda"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


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
