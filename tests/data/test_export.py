import csv
import errno
import json
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pydistill.data import DistilledData, export, load_data
from pydistill.errors import DataError, FileFormatError, OutputError
from tests.data.conftest import assert_equal, make_distilled


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    made = make_distilled()
    made.export_folder(tmp_path / "out")
    folders = ["ant", "bee_wasp", "cat"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*folders, "export.json"])
    for at, pixels in enumerate(made.pixels()):
        with Image.open(tmp_path / "out" / folders[at // 2] / f"{at:05d}.png") as image:
            expected = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(np.asarray(image), expected)
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert "clamped" in about["lossy"]
    outside = (made.pixels() < 0) | (made.pixels() > 1)
    assert about["clamped_share_of_pixels"] == pytest.approx(float(outside.float().mean()))
    assert about["class_names"] == ["ant", "bee/wasp", "cat"]
    assert about["folders"] == folders
    assert (about["learning_rate"], about["augment"]) == (0.1 + 0.2, "color_crop")


def test_a_folder_holds_stored_images_and_says_how_to_decode_them(tmp_path: Path) -> None:
    made = make_distilled(soft=True, factor=2)
    made.export_folder(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "export.json").read_text())["factor"] == 2
    assert len((tmp_path / "out" / "targets.csv").read_text().splitlines()) == 1 + 6
    pictures = sorted((tmp_path / "out").glob("*/*.png"))
    assert len(pictures) == 6
    for path, pixels in zip(pictures, made.pixels(), strict=True):
        with Image.open(path) as image:
            expected = (pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(np.asarray(image), expected)


def test_the_folder_can_be_read_as_images(tmp_path: Path) -> None:
    made = make_distilled()
    many = replace(made, images=made.images.repeat(3, 1, 1, 1), targets=made.targets.repeat(3))
    many.export_folder(tmp_path / "out")
    data = load_data(tmp_path / "out")
    assert data.task.class_names == ("ant", "bee_wasp", "cat")
    assert sum(map(len, (data.train, data.validation, data.test))) == 18


def test_soft_targets_go_into_a_table(tmp_path: Path) -> None:
    made = make_distilled(soft=True)
    made.export_folder(tmp_path / "out")
    with (tmp_path / "out" / "targets.csv").open(newline="") as handle:
        head, *rows = list(csv.reader(handle))
    assert head == ["file", "ant", "bee/wasp", "cat"]
    assert rows[2][0] == "bee_wasp/00002.png"
    values = torch.tensor([[float(value) for value in row[1:]] for row in rows])
    assert torch.equal(values, made.targets)


def test_class_names_that_would_share_a_folder_are_numbered(tmp_path: Path) -> None:
    made = make_distilled()
    alike = replace(made, task=replace(made.task, class_names=("a/b", "A_b", "..")))
    alike.export_folder(tmp_path / "out")
    folders = json.loads((tmp_path / "out" / "export.json").read_text())["folders"]
    assert folders == ["000_a_b", "001_A_b", "002_class"]


def test_grey_pictures_and_other_channels(tmp_path: Path) -> None:
    made = make_distilled()
    for channels in (1, 2):
        preprocess = type(made.preprocess).fit(torch.rand(9, channels, 4, 5))
        some = replace(made, images=made.images[:, :channels].contiguous(), preprocess=preprocess)
        if channels == 1:
            some.export_folder(tmp_path / "grey")
            with Image.open(tmp_path / "grey" / "ant" / "00000.png") as image:
                assert (image.mode, image.size) == ("L", (5, 4))
        else:
            with pytest.raises(
                ValueError, match="PNG holds 1 or 3 channels, the images have 2: use parquet"
            ):
                some.export_folder(tmp_path / "two")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OutputError, match="is not empty"):
        make_distilled().export_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    make_distilled().export_folder(tmp_path / "empty")
    assert (tmp_path / "empty" / "export.json").exists()


def test_a_full_disk_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match=r"cannot write .*out: No space left"):
        make_distilled().export_folder(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        make_distilled().export_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot write"):
        make_distilled().export_parquet(tmp_path / "file" / "set.parquet")


def test_parquet_comes_back_bit_for_bit(tmp_path: Path, distilled: DistilledData) -> None:
    distilled.export_parquet(tmp_path / "set.parquet")
    assert_equal(DistilledData.from_parquet(tmp_path / "set.parquet"), distilled)
    assert [path.name for path in tmp_path.iterdir()] == ["set.parquet"]


def test_parquet_keeps_a_packed_set_packed(tmp_path: Path, packed: DistilledData) -> None:
    packed.export_parquet(tmp_path / "set.parquet")
    found = DistilledData.from_parquet(tmp_path / "set.parquet")
    assert_equal(found, packed)
    assert found.factor == 2
    assert len(pd.read_parquet(tmp_path / "set.parquet")) == 6  # a row a stored image


def test_pandas_reads_the_parquet(tmp_path: Path) -> None:
    made = make_distilled(soft=True)
    made.export_parquet(tmp_path / "set.parquet")
    frame = pd.read_parquet(tmp_path / "set.parquet")
    assert frame["label"].tolist() == [0, 0, 1, 1, 2, 2]
    image = np.stack([np.stack(channel) for channel in frame["image"][3]])
    assert image.dtype == np.float32
    assert np.array_equal(image, made.images[3].numpy())
    assert np.array_equal(np.stack(frame["target"]), made.targets.numpy())


def test_datasets_reads_the_parquet(tmp_path: Path) -> None:
    made = make_distilled(soft=True)
    made.export_parquet(tmp_path / "set.parquet")
    found = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "set.parquet"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert found.features["label"].names == ["ant", "bee/wasp", "cat"]
    rows = found.with_format("torch")[:]
    assert torch.equal(rows["image"], made.images)
    assert torch.equal(rows["target"], made.targets)
    assert torch.equal(rows["label"], made.classes)


def test_a_large_preprocessing_lies_beside_the_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_LARGEST_INLINE", 10_000)
    big = make_distilled(zca=True)
    path = tmp_path / "set.parquet"
    big.export_parquet(path)
    (beside,) = tmp_path.glob("preprocess-*.safetensors")
    assert beside.stat().st_size > 10_000
    assert_equal(DistilledData.from_parquet(path), big)
    beside.write_bytes(beside.read_bytes()[:-1])
    with pytest.raises(FileFormatError, match="is not the file written with it"):
        DistilledData.from_parquet(path)
    beside.unlink()
    with pytest.raises(FileFormatError, match="which belongs to it, cannot be read"):
        DistilledData.from_parquet(path)


def test_a_parquet_of_other_make_or_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    with pytest.raises(DataError, match="there is no file"):
        DistilledData.from_parquet(path)
    pd.DataFrame({"image": [1]}).to_parquet(path)
    with pytest.raises(FileFormatError, match="does not describe a distilled set"):
        DistilledData.from_parquet(path)
    make_distilled().export_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(FileFormatError, match="cannot be read as parquet"):
        DistilledData.from_parquet(path)
    path.write_bytes(whole)
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, 2, 3, 4, 5]), path)
    with pytest.raises(FileFormatError, match="its rows are not those it was written with"):
        DistilledData.from_parquet(path)
    pq.write_table(table.drop_columns(["label"]), path)
    with pytest.raises(FileFormatError, match="label"):
        DistilledData.from_parquet(path)


def test_an_old_parquet_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.parquet"
    make_distilled().export_parquet(path)

    def full(table: object, where: Path, **_: object) -> None:
        where.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export.pq, "write_table", full)
        with pytest.raises(OutputError, match="No space left"):
            make_distilled(seed=1).export_parquet(path)
    assert_equal(DistilledData.from_parquet(path), make_distilled())
    assert [each.name for each in tmp_path.iterdir()] == ["set.parquet"]
