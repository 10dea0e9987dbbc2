"""Labels of several splits to one numbering of classes."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

from pydistill.data.sources.labels import understand
from pydistill.errors import DataError


def targets(labels: dict[str, Any], *more: Any, **named: Any) -> dict[str, list[int]]:
    return {
        split: found.tolist()
        for split, found in understand(labels, *more or (None,), **named).targets.items()
    }


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([0, 1, 2], ("0", "1", "2"), [0, 1, 2]),
        ([1, 2, 3], ("1", "2", "3"), [0, 1, 2]),
        ([3, 10, 7], ("3", "7", "10"), [0, 2, 1]),
        ([-1, 1, -1], ("-1", "1"), [0, 1, 0]),
        ([1.0, 0.0], ("0", "1"), [1, 0]),
        ([True, False], ("0", "1"), [1, 0]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([b"b", b"a"], ("a", "b"), [1, 0]),
        ([[0, 1], [1, 0]], ("0", "1"), [1, 0]),
        ([[1], [0]], ("0", "1"), [1, 0]),
    ],
)
def test_labels_of_every_kind(labels: list[Any], names: tuple[str, ...], expected: list[int]) -> None:
    for values in (np.asarray(labels), labels):
        if isinstance(labels[0], list) and values is labels:
            continue
        found = understand({"train": values}, None)
        assert found.task.class_names == names
        assert found.targets["train"].tolist() == expected
        assert found.targets["train"].dtype == torch.int64


def test_what_was_mapped_is_told() -> None:
    assert understand({"train": np.array([0, 1])}, None).notes == ()
    for labels, word in (
        (np.array([1, 2]), "numbered from 1"),
        (np.array([1, 5]), "numbered with gaps"),
        (np.eye(2), "one-hot"),
        (np.array([0.0, 1.0]), "whole numbers given as float64"),
    ):
        assert any(word in note for note in understand({"train": labels}, None).notes)


@pytest.mark.parametrize("blank", [[-1] * 3, [None] * 3, ["", "", ""], [float("nan")] * 3, np.full(3, -1)])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_split_without_labels_is_left_out(blank: Any, split: str) -> None:
    for labels in ([0, 1], ["a", "b"]):
        found = understand({"train": labels, split: blank}, None)
        assert set(found.targets) == {"train"}
        assert f"the {split} split of the source has no labels" in found.notes[0]
    with pytest.raises(DataError, match="no image has a label"):
        understand({"train": blank}, None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, None], r"row 2 has no label \(1 of 3"),
        (["a", "", "b"], "row 1 has no label"),
        ([0, -1, 1], "must not be below 0"),
        ([0, 1, 2_147_483_647], "label 2147483647 is no number of a class"),
        ([0, 1, 2**63 - 1], "is no class"),
        ([0, 1, 1e300], "is no class"),
        ([0, 1, float("inf")], "regress"),
        ([0, 1, 255], "255 stands apart"),
        ([0.5, 1.0], "regress.*classification only"),
        ([0, "a"], "expected one integer or text"),
        ([[0, 1], [0]], "multi-label.*classification only"),
        ([{"a": 1}], "multi-label"),
        (np.array([[1, 1], [0, 1]]), "marks 2 classes"),
        (np.array([[0.2, 0.8]]), "probabilities"),
        (np.array([b"\xff"]), "not UTF-8"),
    ],
)
def test_what_is_no_class_is_refused_at_once(labels: Any, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            understand({"train": labels}, None)
        assert tracemalloc.get_traced_memory()[1] < 2**26  # no class is made that they leave out
    finally:
        tracemalloc.stop()


def test_texts_and_numbers_do_not_mix() -> None:
    with pytest.raises(DataError, match="of the train split are texts, of the test split numbers"):
        understand({"train": ["a", "b"], "test": [0, 1]}, None)
    with pytest.raises(DataError, match="of the test split are texts, of the train split numbers"):
        understand({"train": [0, 1], "test": ["a", "b"]}, None)


def test_splits_that_number_their_classes_differently_agree_by_name() -> None:
    own = {"train": ("a", "b", "c"), "test": ("b", "c")}
    found = understand({"train": [0, 1, 2], "test": [0, 1]}, None, own)
    assert found.task.class_names == ("a", "b", "c")
    assert found.targets["test"].tolist() == [1, 2]
    assert "the test split numbers its classes in another way" in found.notes[0]
    mixed = understand({"train": [0, 1, 2], "test": ["c", "a"]}, None, {"train": ("a", "b", "c")})
    assert mixed.targets["test"].tolist() == [2, 0]
    with pytest.raises(DataError, match=r"test: labels \['d'\] are not among the class names"):
        understand({"train": [0, 1], "test": [0]}, None, {"train": ("a", "b"), "test": ("d",)})
    unused = understand({"train": [0, 1], "test": [1]}, None, {"train": ("a", "b"), "test": ("d", "a")})
    assert unused.targets["test"].tolist() == [0]


def test_names_given_by_the_caller() -> None:
    own = {"train": ("a", "b"), "test": ("b", "a")}
    labels = {"train": [0, 1], "test": [0, 1]}
    assert targets(labels, ("x", "y"), own) == {"train": [0, 1], "test": [1, 0]}
    assert targets(labels, ("b", "a"), own) == {"train": [1, 0], "test": [0, 1]}
    with pytest.raises(DataError, match="3 class names given, but the source has 2"):
        understand(labels, ("x", "y", "z"), own)
    assert targets({"train": [1, 2]}, ("x", "y")) == {"train": [0, 1]}
    assert understand({"train": [1, 2]}, ("x", "y")).task.class_names == ("x", "y")


def test_names_agree_in_either_form_of_unicode() -> None:
    found = understand({"train": ["caf\u00e9", "th"], "test": ["cafe\u0301", "th"]}, None)
    assert len(found.task.class_names) == 2
    assert found.targets["test"].tolist() == found.targets["train"].tolist()
