"""Paths that a data set names are followed to regular files inside its own folder, and nowhere else."""

import io
import json
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pydistill.data import load_data
from pydistill.data.sources.inside import own_folder, read_inside
from pydistill.errors import DataError


def png(seed: int = 0) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def parquet(folder: Path, path: str, rows: int = 12) -> Path:
    """A set whose images are in the file but for the last, which is named."""
    images = [{"bytes": png(at), "path": None} for at in range(rows - 1)] + [{"bytes": None, "path": path}]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    table = pa.table({"image": images, "label": [at % 2 for at in range(rows)]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "train.parquet")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "set"
    (own / "files").mkdir(parents=True)
    (own / "files" / "last.png").write_bytes(png(99))
    (own / "link.png").symlink_to("files/last.png")
    (tmp_path / "outside.png").write_bytes(png(100))
    (own / "away.png").symlink_to(tmp_path / "outside.png")
    (own / ".elsewhere").symlink_to(tmp_path)
    (own / "ring.png").symlink_to("ring.png")
    os.mkfifo(own / "pipe.png")
    return own


@pytest.mark.parametrize(
    "path", ["files/last.png", "link.png", "{own}/files/last.png", "./files/../link.png"]
)
def test_files_inside_are_read(folder: Path, tmp_path: Path, path: str) -> None:
    parquet(folder, path.format(own=folder))
    data = load_data(folder, cache=tmp_path / "cache")
    assert len(data.train) + len(data.validation) + len(data.test) == 12
    assert read_inside(path.format(own=folder), (own_folder(folder),)) == png(99)


OUTSIDE = (
    "/etc/passwd",
    "../outside.png",
    "files/../../outside.png",
    "{outside}",
    "away.png",
    ".elsewhere/outside.png",
    "ring.png",
    "pipe.png",
    "/dev/zero",
    "/dev/stdin",
    "files",
    "gone.png",
    "a\0b",
    "n" * 300,
    "https://example.com/a.png",
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_else_is_opened(folder: Path, tmp_path: Path, path: str) -> None:
    named = path.format(outside=tmp_path / "outside.png")
    with pytest.raises(DataError):
        read_inside(named, (own_folder(folder),))


@pytest.mark.parametrize("path", ["/etc/passwd", "away.png", "pipe.png", "/dev/zero", "{outside}"])
def test_a_parquet_set_reaches_nothing_else(folder: Path, tmp_path: Path, path: str) -> None:
    parquet(folder, path.format(outside=tmp_path / "outside.png"))
    with pytest.raises(
        DataError, match=r"train, row 11 .*(outside the data set's own folder|no regular file)"
    ):
        load_data(folder, cache=tmp_path / "cache")
    with pytest.raises(DataError, match="row 11"):
        load_data(folder / "train.parquet", cache=tmp_path / "cache")


@pytest.mark.parametrize("path", ["/dev/zero", "pipe.png"])
def test_sets_without_a_folder_read_regular_files_only(folder: Path, path: str) -> None:
    with pytest.raises(DataError, match="no regular file"):
        read_inside(folder / path, ())
    assert read_inside(folder / "link.png", ()) == png(99)


def test_files_of_the_hub_cache_lie_beside_the_snapshots(tmp_path: Path) -> None:
    whole = tmp_path / "datasets--owner--name"
    snapshot = whole / "snapshots" / ("ab" * 20)
    (whole / "blobs").mkdir(parents=True)
    (snapshot / "train").mkdir(parents=True)
    (whole / "blobs" / "1234").write_bytes(png())
    (snapshot / "train" / "0.png").symlink_to("../../../blobs/1234")
    for root in (snapshot, snapshot / "train"):
        assert own_folder(root) == whole
        assert read_inside(snapshot / "train" / "0.png", (own_folder(root),)) == png()
    assert own_folder(tmp_path) == tmp_path


def test_an_image_folder_in_the_hub_cache_is_read(tmp_path: Path) -> None:
    whole = tmp_path / "datasets--owner--name"
    snapshot = whole / "snapshots" / ("ab" * 20)
    (whole / "blobs").mkdir(parents=True)
    for name in "xy":
        (snapshot / name).mkdir(parents=True)
        for at in range(6):
            (whole / "blobs" / f"{name}{at}").write_bytes(png(at))
            (snapshot / name / f"{at}.png").symlink_to(f"../../../blobs/{name}{at}")
    assert load_data(snapshot).task.class_names == ("x", "y")
    (snapshot / "x" / "out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "outside.png").write_bytes(png())
    with pytest.raises(DataError, match=r"out\.png leads out of"):
        load_data(snapshot)


def test_tables_on_disk_name_files_beside_them_only(tmp_path: Path) -> None:
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": png(at), "path": None} for at in range(12)], "label": [0, 1] * 6}
    table = datasets.Dataset.from_dict(rows, features=kinds)
    table.save_to_disk(tmp_path / "set")
    table.save_to_disk(tmp_path / "other")
    assert load_data(tmp_path / "set").task.class_names == ("a", "b")
    state = tmp_path / "set" / "state.json"
    facts = json.loads(state.read_text())
    (file,) = (tmp_path / "other").glob("*.arrow")
    for name in (f"../other/{file.name}", str(file), "gone.arrow"):
        state.write_text(json.dumps(facts | {"_data_files": [{"filename": name}]}))
        with pytest.raises(DataError, match="which is no file beside it"):
            load_data(tmp_path / "set")


def test_parquet_of_more_rows_than_may_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 3_000_000
    table = pa.table({"image": pa.nulls(rows, pa.binary()), "label": np.zeros(rows, np.int8)})
    pq.write_table(table, tmp_path / "train.parquet")
    monkeypatch.setenv("PYDISTILL_MAX_BYTES", "20_000_000")
    with pytest.raises(DataError, match=r"3,000,000 rows: 24,000,000 bytes .* 20,000,000 allowed"):
        load_data(tmp_path)
