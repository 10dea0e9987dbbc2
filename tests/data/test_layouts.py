"""Folders of images as people have them: each is read as its owner means it, or refused with what to do."""

import os
from pathlib import Path

import pytest
from PIL import Image

from pydistill.data import load_data
from pydistill.errors import DataError
from tests.data.conftest import Fill, counts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("Training", "Testing"),
        ("trainingSet", "testSet"),
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("asl_alphabet_train", "asl_alphabet_test"),
        ("train2017", "test2017"),
        ("train", "eval"),
        ("trn", "tst"),
        ("data/train", "data/test"),
        ("archive/faces/train", "archive/faces/test"),
        ("train/images", "test/images"),
        ("train", "validation"),
        ("train", "dev"),
    ],
)
@pytest.mark.parametrize("stray", [(), ("extra",), ("docs/more",), ("__MACOSX/train/x",), (".git",)])
def test_folders_of_splits_by_any_of_their_names(
    tmp_path: Path, unlike: Fill, train: str, test: str, stray: tuple[str, ...]
) -> None:
    unlike(f"{train}/x", f"{train}/y")
    unlike(f"{test}/x", f"{test}/y", each=3)
    unlike(*stray, each=2)
    data = load_data(tmp_path)
    assert data.task.class_names == ("x", "y")
    assert counts(data) == (12, 6)
    assert any("left out" in note for note in data.notes) == bool(stray) or train.count("/")


@pytest.mark.parametrize("pair", [("val", "valid"), ("val", "Validation"), ("validation", "dev")])
def test_two_names_for_one_split_are_named(tmp_path: Path, unlike: Fill, pair: tuple[str, str]) -> None:
    unlike("train/x", "train/y", *(f"{name}/{k}" for name in pair for k in "xy"))
    with pytest.raises(
        DataError, match=rf"'{max(pair)}'|'{min(pair)}' and .* both stand for the validation"
    ):
        load_data(tmp_path)


def test_eval_is_validation_beside_test(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y", "eval/x", "eval/y", "test/x", "test/y")
    unlike("eval/x", each=1)
    data = load_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 12, 12)


@pytest.mark.parametrize("wrapper", ["data", "archive", "some name/data", "EuroSAT/2750"])
def test_a_wrapping_folder_is_no_class(tmp_path: Path, unlike: Fill, wrapper: str) -> None:
    unlike(f"{wrapper}/x", f"{wrapper}/y")
    (tmp_path / "readme.txt").write_text("about")
    data = load_data(tmp_path)
    assert data.task.class_names == ("x", "y")
    assert any("read from the folder" in note for note in data.notes)
    assert data.name == tmp_path.name


def test_hidden_files_and_folders_are_counted_and_left_out(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y", "x/.cache", "x/__MACOSX", ".ipynb_checkpoints")
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "x" / name).write_bytes(b"no picture")
    data = load_data(tmp_path)
    assert sum(counts(data)) == 12
    assert data.task.class_names == ("x", "y")
    assert any("7 hidden files or folders are left out" in note for note in data.notes)


def test_pictures_that_lie_beside_the_classes_are_counted(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y")
    unlike(".", each=2)
    unlike("notes", each=0)
    (tmp_path / "notes" / "a.txt").write_text("text")
    (tmp_path / "x" / "a.HEIC").write_bytes(b"")
    data = load_data(tmp_path)
    assert sum(counts(data)) == 12
    notes = " ".join(data.notes)
    assert "2 pictures are left out: 2 in '.'" in notes
    assert "kinds that are not read are left out: 1 .heic" in notes
    assert "folders without pictures are left out: ['notes']" in notes


@pytest.mark.parametrize("ending", [".PNG", ".jfif", ".JPE", ".webp", ".tga"])
def test_endings_of_pictures(tmp_path: Path, unlike: Fill, ending: str) -> None:
    unlike("x", "y", ending=ending)
    assert sum(counts(load_data(tmp_path))) == 12


def test_avif(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y")
    Image.new("RGB", (4, 4)).save(tmp_path / "x" / "more.avif")
    assert sum(counts(load_data(tmp_path))) == 13


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "test"), "no folders of classes, nor is there a table"),
        (("Training", "Testing", "Meta"), "no folders of classes, nor is there a table"),
        (("test/x", "test/y"), "none for the training split"),
        (("one/x", "one/y", "two/x", "two/y"), "cannot be told which are classes"),
        (("fold1/x", "fold1/y", "fold2/x", "fold2/y"), "cannot be told which are classes"),
        (("images",), "nor is there a table"),
        (("flowers/x", "flowers/y", "x", "y"), "'flowers' holds folders .* which lie beside it too"),
        ((".",), "nor is there a table"),
        (
            ("train/x", "train/y", "val"),
            r"images of the validation split .*no folders of classes.*metadata\.csv",
        ),
        (("train/x", "train/y", "test/x", "test/Y"), "a folder 'Y', but the classes are x, y"),
    ],
)
def test_what_cannot_be_told_is_refused(
    tmp_path: Path, unlike: Fill, folders: tuple[str, ...], message: str
) -> None:
    unlike(*folders)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_a_class_may_be_named_like_a_split(tmp_path: Path, unlike: Fill) -> None:
    unlike("aeroplane", "bus", "train")
    data = load_data(tmp_path)
    assert data.task.class_names == ("aeroplane", "bus", "train")
    assert any("'train' is a class" in note for note in data.notes)


def test_classes_beside_a_folder_of_test_images(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y", "test/x", "test/y")
    data = load_data(tmp_path)
    assert data.task.class_names == ("x", "y")
    assert counts(data) == (12, 12)


@pytest.mark.parametrize("test", ["test", "test/images", "Test/unlabelled"])
def test_test_images_without_labels_are_left_out(tmp_path: Path, unlike: Fill, test: str) -> None:
    unlike("train/x", "train/y", test)
    data = load_data(tmp_path)
    assert sum(counts(data)) == 12
    assert any("has no labels: it is left out" in note for note in data.notes)


def test_an_empty_test_folder_is_left_out(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y")
    unlike("test/x", each=0)
    data = load_data(tmp_path)
    assert sum(counts(data)) == 12
    assert any("test split holds no images" in note for note in data.notes)


def test_of_two_folders_for_a_split_the_empty_one_does_not_count(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y", "validation/x", "validation/y")
    unlike("val", each=0)
    assert counts(load_data(tmp_path)) == (12, 12)


def test_imagenet_as_unzipped(tmp_path: Path, unlike: Fill) -> None:
    base = "ILSVRC/Data/CLS-LOC"
    unlike(f"{base}/train/n01", f"{base}/train/n02", f"{base}/val", f"{base}/test", ending=".JPEG")
    with pytest.raises(
        DataError, match=r"images of the validation split .*no folders of classes.*metadata\.csv"
    ):
        load_data(tmp_path)
    rows = "".join(f"{at},n0{at % 2 + 1} 0 0 3 3\n" for at in range(6))
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    data = load_data(tmp_path)
    assert data.task.class_names == ("n01", "n02")
    assert data.test.targets.tolist() == [0, 1] * 3


def test_training_and_validation_alone(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y", each=9)
    unlike("val/x", "val/y", each=3)
    data = load_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 2, 6)
    assert any("it serves as the test split" in note for note in data.notes)


def test_grey_and_coloured_splits_are_coloured(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y", "test/x", "test/y")
    for path in tmp_path.rglob("train/*/*.png"):
        Image.open(path).convert("L").save(path)
    data = load_data(tmp_path)
    assert data.shape == (3, 4, 4)
    assert any("all images of train are grey: read as colour" in note for note in data.notes)


def test_names_of_classes_agree_in_either_form_of_unicode(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/caf\u00e9", "train/th\u00e9", "test/cafe\u0301", "test/the\u0301")
    data = load_data(tmp_path)
    assert data.task.class_names == ("caf\u00e9", "th\u00e9")
    assert counts(data) == (12, 12)


def test_a_test_folder_that_links_to_train_is_refused(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y")
    (tmp_path / "test").symlink_to(tmp_path / "train")
    with pytest.raises(DataError, match="is the train split's own folder"):
        load_data(tmp_path)


def test_test_classes_that_link_to_train_are_told(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/x", "train/y", each=8)
    (tmp_path / "test").mkdir()
    for name in "xy":
        (tmp_path / "test" / name).symlink_to(tmp_path / "train" / name)
    assert any("are training images too" in note for note in load_data(tmp_path).notes)


def test_links_out_of_the_folder_and_in_circles_are_refused(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y", root=tmp_path / "set")
    unlike("other", root=tmp_path)
    link = tmp_path / "set" / "z"
    link.symlink_to(tmp_path / "other")
    with pytest.raises(DataError, match="leads out of"):
        load_data(tmp_path / "set")
    link.unlink()
    link.symlink_to(tmp_path / "set")
    with pytest.raises(DataError, match="links to a folder it lies in"):
        load_data(tmp_path / "set")


def test_what_is_no_file_is_not_opened(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y")
    os.mkfifo(tmp_path / "x" / "pipe.png")
    assert sum(counts(load_data(tmp_path))) == 12


def test_a_class_of_one_or_two_images_is_told(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y", each=9)
    unlike("one", each=1)
    unlike("two", each=2)
    notes = load_data(tmp_path).notes
    assert any(
        "2 of 4 classes have no validation image" in note and "['one', 'two']" in note for note in notes
    )
    assert any("1 of 4 classes have no test image" in note and "['one']" in note for note in notes)


def test_tables_beside_class_folders_leave_these_as_they_are(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y")
    (tmp_path / "train.csv").write_text("file,label\nx/0.png,1\n")
    data = load_data(tmp_path)
    assert data.task.class_names == ("x", "y")
