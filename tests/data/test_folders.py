import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data import load_data
from pydistill.errors import DataError

Picture = Callable[..., Image.Image]


@pytest.fixture
def fill(picture: Picture) -> Callable[..., None]:
    """Write ``each`` pictures a class below a folder; their seeds count up."""

    def make(root: Path, classes: tuple[str, ...], each: int = 5, **options: object) -> None:
        for at, name in enumerate(classes):
            (root / name).mkdir(parents=True)
            for number in range(each):
                picture(at * each + number, **options).save(root / name / f"{number}.png")

    return make


def test_one_folder_a_class(tmp_path: Path, fill: Callable[..., None]) -> None:
    fill(tmp_path, ("zebra", "ape"))
    data = load_data(tmp_path)
    assert data.task.class_names == ("ape", "zebra")
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    assert any("no test split" in note for note in data.notes)
    assert data.name == tmp_path.name


def test_split_folders_are_kept_apart(tmp_path: Path, fill: Callable[..., None], picture: Picture) -> None:
    for at, split in enumerate(("train", "val", "test")):
        fill(tmp_path / split, ("a", "b"), each=3 + at)
    data = load_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 8, 10)
    expected = torch.from_numpy(np.asarray(picture(5)).copy()).permute(2, 0, 1)
    assert torch.equal(data.test.images[5], expected)
    assert data.test.targets.tolist() == [0] * 5 + [1] * 5


def test_classes_named_by_numbers_are_in_their_order(tmp_path: Path, fill: Callable[..., None]) -> None:
    fill(tmp_path, tuple(str(k) for k in range(11)), each=3)
    assert load_data(tmp_path).task.class_names == tuple(str(k) for k in range(11))


def test_a_class_may_be_called_test(tmp_path: Path, fill: Callable[..., None]) -> None:
    fill(tmp_path, ("test", "trial"))
    assert load_data(tmp_path).task.class_names == ("test", "trial")


def test_grey_pictures_make_one_channel_and_deeper_files_count(
    tmp_path: Path, fill: Callable[..., None], picture: Picture
) -> None:
    fill(tmp_path, ("a", "b"), mode="L")
    (tmp_path / "a" / "more").mkdir()
    picture(77, "L").save(tmp_path / "a" / "more" / "x.bmp")
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    data = load_data(tmp_path)
    assert data.shape == (1, 6, 6)
    assert sum(map(len, (data.train, data.validation, data.test))) == 11


def test_sizes_must_agree_or_be_given(tmp_path: Path, fill: Callable[..., None], picture: Picture) -> None:
    fill(tmp_path, ("a", "b"))
    picture(9, size=(9, 7)).save(tmp_path / "b" / "odd.png")
    with pytest.raises(DataError, match=r"odd\.png is 9x7"):
        load_data(tmp_path)
    assert load_data(tmp_path, size=(4, 5)).shape == (3, 4, 5)
    assert load_data(tmp_path, size=8).shape == (3, 8, 8)


def test_a_corrupt_file_is_named(tmp_path: Path, fill: Callable[..., None]) -> None:
    fill(tmp_path, ("a", "b"))
    (tmp_path / "b" / "2.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"b/2\.png cannot be decoded"):
        load_data(tmp_path)


def test_a_class_without_pictures_is_named(tmp_path: Path, fill: Callable[..., None]) -> None:
    fill(tmp_path, ("a", "b"))
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="class 'void' has no training images"):
        load_data(tmp_path)


def test_a_class_that_only_the_test_split_has_is_named(tmp_path: Path, fill: Callable[..., None]) -> None:
    fill(tmp_path / "train", ("a", "b"))
    fill(tmp_path / "test", ("a", "c"))
    with pytest.raises(DataError, match=r"test has a folder 'c', but the classes are a, b"):
        load_data(tmp_path)


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, fill: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, ("a", "b"))

    allowed = os.open

    def refuse(path: Path, *flags: int) -> int:
        if str(path).endswith("0.png"):
            raise PermissionError(13, "Permission denied")
        return allowed(path, *flags)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataError, match=r"a/0\.png cannot be read: Permission denied"):
        load_data(tmp_path)
