"""Layouts of parquet files."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
from PIL import Image

from pydistill.data import load_data
from pydistill.errors import DataError

Picture = Callable[..., Image.Image]


pytestmark = pytest.mark.usefixtures("offline")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("data/Train-00000-of-00001.parquet", "data/Test-00000-of-00001.parquet"),
        ("training.parquet", "testing.parquet"),
        ("mnist_train.PARQUET", "mnist_test.PARQUET"),
        ("Train/part.0.parquet", "Test/part.0.parquet"),
    ],
)
def test_layouts_of_parquet(
    tmp_path: Path, made: Callable[..., datasets.Dataset], train: str, test: str
) -> None:
    folder = tmp_path / "pets"
    for name, table in ((train, made()), (test, made(6, 100))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / name)
    data = load_data(folder)
    assert (data.name, len(data.train), len(data.test)) == ("pets", 18, 6)


def test_the_hubs_cache(tmp_path: Path, made: Callable[..., datasets.Dataset]) -> None:
    top = tmp_path / "datasets--ylecun--mnist"
    commit = top / "snapshots" / ("a" * 40)
    (commit / "mnist").mkdir(parents=True)
    (top / "blobs").mkdir()
    (top / "refs").mkdir()
    (top / "refs" / "main").write_text("a" * 40)
    (top / "snapshots" / ("b" * 40)).mkdir()
    for at, (name, table) in enumerate((("train", made(named=False)), ("test", made(6, 100, named=False)))):
        table.to_parquet(top / "blobs" / f"{at}{at}")
        (commit / "mnist" / f"{name}-00000-of-00001.parquet").symlink_to(f"../../../blobs/{at}{at}")
    for source in (top, commit, commit / "mnist"):
        data = load_data(source)
        assert (data.name, len(data.train), len(data.test)) == ("ylecun/mnist", 18, 6)
        assert not data.horizontal_flip
    assert load_data(commit / "mnist" / "train-00000-of-00001.parquet").name == "ylecun/mnist"


def test_several_subsets_of_parquet(tmp_path: Path, made: Callable[..., datasets.Dataset]) -> None:
    for at, subset in enumerate(("small", "large")):
        (tmp_path / subset).mkdir()
        made(20, at).to_parquet(tmp_path / subset / "train-0.parquet")
    with pytest.raises(
        DataError, match=r"several sets of parquet files: give subset=, one of \['large', 'small'\]"
    ):
        load_data(tmp_path)
    assert sum(map(len, load_data(tmp_path, subset="small").task.class_names)) == 6
    with pytest.raises(DataError, match="no subset 'medium'"):
        load_data(tmp_path, subset="medium")


def test_image_folders_beside_parquet_are_told(
    tmp_path: Path, made: Callable[..., datasets.Dataset], picture: Picture
) -> None:
    made().to_parquet(tmp_path / "train.parquet")
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        picture(0).save(tmp_path / name / "0.png")
    assert any(
        "what else is there is not read: a folder of images" in note for note in load_data(tmp_path).notes
    )
