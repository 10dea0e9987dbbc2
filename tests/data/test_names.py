import pytest

from pydistill.data.sources.names import assign, read_name
from pydistill.errors import DataError


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("Training_Set", "train"),
        ("trainingSet", "train"),
        ("train2017", "train"),
        ("trainset", "train"),
        ("x_train", "train"),
        ("XTrain", "train"),
        ("train-images", "train"),
        ("val", "validation"),
        ("Valid", "validation"),
        ("dev", "validation"),
        ("T10K", "test"),
        ("test1", "test"),
        ("PublicTest", "public"),
        ("contest", None),
        ("trainer", None),
        ("Tests", "test"),
        ("trainval", "train"),
        ("trainers", None),
        ("value", None),
        ("devices", None),
        ("train_test", None),
        ("", None),
    ],
)
def test_names(name: str, split: str | None) -> None:
    read = read_name(name)
    assert (None if read is None else read.split) == split


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["test", "train", "docs"], {"train": "train", "test": "test"}),
        (["seg_train", "seg_test", "seg_pred"], {"train": "seg_train", "test": "seg_test"}),
        (["Training", "Test", "test-multiple_fruits"], {"train": "Training", "test": "Test"}),
        (["train", "eval"], {"train": "train", "test": "eval"}),
        (["train", "eval", "test"], {"train": "train", "validation": "eval", "test": "test"}),
        (["Training", "PublicTest", "PrivateTest"],
         {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}),
        (["Training", "PrivateTest"], {"train": "Training", "test": "PrivateTest"}),
        (["red train", "test tube"], {"train": "red train"}),
        (["cats", "dogs"], {}),
    ],
)  # fmt: skip
def test_splits_among_names(names: list[str], chosen: dict[str, str]) -> None:
    assert assign(names, "here") == chosen


@pytest.mark.parametrize(
    "names",
    [
        ["train", "val", "valid"],
        ["train", "Train"],
        ["a_train", "b_train"],
        ["train", "test", "eval", "dev"],
    ],
)
def test_two_names_for_one_split(names: list[str]) -> None:
    with pytest.raises(DataError, match=r"here: '.*' and '.*' both stand for the"):
        assign(names, "here")
