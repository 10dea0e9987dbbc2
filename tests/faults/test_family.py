"""Arguments that nobody means: what is said is the project's error or one about an argument, no other."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pydistill import nets
from pydistill.data import DistilledData, load_data
from pydistill.errors import DataError, OutputError, PydistillError
from pydistill.evaluation import Report
from pydistill.experts import load_experts
from pydistill.storage.checkpoint import Checkpoint
from tests.data.conftest import make_distilled
from tests.evaluation.test_report import FULL, make

LABELS = np.arange(20) % 2
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
READERS: dict[str, Callable[[Path], object]] = {
    "load_data": load_data,
    "distilled": DistilledData.load,
    "folder": DistilledData.from_folder,
    "parquet": DistilledData.from_parquet,
    "network": nets.load_network,
    "report": Report.load,
    "experts": load_experts,
    "checkpoint": lambda path: Checkpoint.load(path, torch.device("cpu")),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("path", ["a\0b", "n" * 300, "/".join(["n" * 200] * 30), "/dev/zero", "/dev/full"])
def test_paths_that_nothing_can_lie_at(name: str, path: str) -> None:
    with pytest.raises(PydistillError):
        READERS[name](Path(path))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("distilled", "distilled.json"),
        ("folder", "export.json"),
        ("report", "report.json"),
        ("experts", "manifest.json"),
        ("parquet", ""),
        ("network", ""),
        ("checkpoint", ""),
    ],
)
def test_pipes_are_not_waited_for(tmp_path: Path, name: str, file: str) -> None:
    os.mkfifo(tmp_path / (file or "pipe.parquet"))
    with pytest.raises(PydistillError):
        READERS[name](tmp_path if file else tmp_path / "pipe.parquet")


WRITERS: dict[str, Callable[[Path], object]] = {
    "distilled": lambda path: make_distilled().save(path),
    "folder": lambda path: make_distilled().export_folder(path),
    "parquet": lambda path: make_distilled().export_parquet(path),
    "preview": lambda path: make_distilled().preview(path),
    "report": lambda path: make(FULL).save(path),
    "checkpoint": lambda path: Checkpoint({}, 0, 0.0, {}).save(path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("path", ["a\0b", "n" * 300, "/dev/null/x", "/proc/x"])
def test_paths_that_nothing_can_be_written_to(name: str, path: str) -> None:
    with pytest.raises(OutputError):
        WRITERS[name](Path(path))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.tensor(PIXELS).to_sparse(), LABELS),
        (torch.empty(20, 4, 4, device="meta"), LABELS),
        (PIXELS.astype(np.clongdouble), LABELS),
        (PIXELS.astype("M8[s]"), LABELS),
        (np.zeros((20, 4, 4), [("a", "u1")]), LABELS),
        (PIXELS.astype(np.uint64) + 2**63, LABELS),
        (np.zeros((20, *(1,) * 60)), LABELS),
        (PIXELS, LABELS.astype(np.uint64) + 2**63),
        (PIXELS, LABELS.astype(complex)),
        (PIXELS, np.array([b"\xff\xfe", b"a"])[LABELS]),
        (PIXELS, np.where(LABELS, np.inf, 0.0)),
        (PIXELS, [10**30] * 20),
        (PIXELS, [object()] * 20),
    ],
)
def test_arrays_of_strange_types_are_refused(images: object, labels: object) -> None:
    with pytest.raises(DataError) as caught:
        load_data((images, labels))
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize(
    "images",
    [
        (PIXELS / 255).astype(np.longdouble),
        (PIXELS / 255).astype(np.float16),
        torch.tensor(PIXELS / 255).bfloat16(),
        torch.tensor(PIXELS).to(torch.uint16),
        PIXELS.astype(">u2"),
    ],
)
@pytest.mark.parametrize("labels", [LABELS.astype(np.longdouble), torch.tensor(LABELS).bfloat16(), LABELS])
def test_other_number_types_are_read(images: object, labels: object) -> None:
    data = load_data((images, labels))
    assert data.task.class_names == ("0", "1")
    assert sorted(torch.cat([data.train.targets, data.validation.targets, data.test.targets]).tolist()) == (
        [0] * 10 + [1] * 10
    )
