import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pydistill.data import load_data
from pydistill.errors import DataError


def images(count: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_npz_files(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (images(), LABELS, images(8, 1), LABELS[:8]), strict=True))
    np.savez(tmp_path / "set.npz", **arrays)
    data = load_data(tmp_path / "set.npz")
    assert data.name == "set"
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 8)
    assert np.array_equal(data.test.images.numpy(), images(8, 1).transpose(0, 3, 1, 2))
    assert data.train.images.dtype == torch.uint8


def test_a_validation_split_of_its_own_is_used() -> None:
    arrays = {"x_train": images(), "y_train": LABELS, "x_test": images(8, 1), "y_test": LABELS[:8]}
    data = load_data({**arrays, "x_val": images(6, 2), "y_val": LABELS[:6]})
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 6, 8)
    assert np.array_equal(data.validation.images.numpy(), images(6, 2).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("images", "targets")])
def test_one_pair_of_arrays_is_split(names: tuple[str, str]) -> None:
    data = load_data({names[0]: images(), names[1]: LABELS})
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert any("no test split" in note for note in data.notes)


def test_tuples_and_tensors_are_the_same_as_names() -> None:
    train, test = (images(), LABELS), (images(8, 1), LABELS[:8])
    named = load_data({"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]})
    tensors = tuple(torch.from_numpy(part) for part in (*train, *test))
    for source in ((*train, *test), (train, test), tensors):
        assert load_data(source).fingerprint == named.fingerprint
    assert load_data(train).fingerprint == load_data({"images": train[0], "labels": train[1]}).fingerprint


def test_labels_in_a_column_are_flattened() -> None:
    assert load_data((images(), LABELS[:, None])).fingerprint == load_data((images(), LABELS)).fingerprint


def test_floats_stay_floats() -> None:
    data = load_data((images().astype(np.float64) / 255, LABELS))
    assert data.train.images.dtype == torch.float32
    assert 0 <= float(data.train.images.min()) < float(data.train.images.max()) <= 1


def test_labels_may_be_texts() -> None:
    texts = np.array(["dog", "cat"])[LABELS]
    data = load_data((images(), texts, images(8, 1), texts[:8]))
    assert data.task.class_names == ("cat", "dog")
    assert data.test.targets.tolist() == [1, 0] * 4
    assert load_data((images(), texts), class_names=("dog", "cat")).task.class_names == ("dog", "cat")
    with pytest.raises(DataError, match=r"labels \['cat'\] are not among the class names"):
        load_data((images(), texts), class_names=("dog", "cow"))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS - 1, {}, r"must not be below 0, found \[-1, 0\]"),
        (LABELS, {"class_names": ("a",)}, r"numbered 0 to 0 or 1 to 1, as many as class names"),
        (LABELS / 2, {}, r"expected an integer or text a label, found 0\.5.*classification only"),
        (np.ones((20, 2), int), {}, r"row 0 marks 2 classes.*\(multi-label\).*classification only"),
        (np.zeros((20, 2), int), {}, "row 0 marks 0 classes"),
        (np.full((20, 2), 0.5), {}, "other numbers than 0 and 1.*classification only"),
        (np.int64(3), {}, r"found shape \(\), int64"),
        (np.zeros((20, 4, 4), int), {}, r"found shape \(20, 4, 4\).*classification only"),
        (LABELS[:19], {}, "20 images but 19 labels"),
        (LABELS, {"class_names": ("a", "b", "c")}, r"class 'c' has no training images \(1 of 3"),
    ],
)
def test_labels_that_cannot_be_used(labels: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data((images(), labels), **options)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((20, 4, 4), np.nan), "image 0 has pixels that are NaN"),
        (np.full((20, 4, 4), 2.5), "found 0 to 2.5: divide by 255"),
        (np.zeros((0, 4, 4), np.uint8), "no images"),
        (np.zeros((20, 0, 4), np.uint8), "hold no pixel"),
    ],
)
def test_pixels_that_cannot_be_used(pixels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data((pixels, LABELS[: len(pixels)]))


def test_splits_must_agree_in_shape_and_type() -> None:
    with pytest.raises(DataError, match=r"test: images are \(3, 4, 4\).*they must agree"):
        load_data((images(), LABELS, images()[:, :, :4], LABELS))
    with pytest.raises(DataError, match=r"test: images are .* torch\.float32.*they must agree"):
        load_data((images(), LABELS, images() / 255, LABELS))


def test_unknown_names_and_wrong_numbers_of_parts() -> None:
    with pytest.raises(DataError, match=r"expected arrays named x_train.*found \['a', 'b'\]"):
        load_data({"a": images(), "b": LABELS})
    with pytest.raises(DataError, match=r"expected \(images, labels\).*found 3 parts"):
        load_data((images(), LABELS, images()))


def test_damaged_npz_files_are_refused_and_objects_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, images=images(), labels=LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"set\.npz cannot be read"):
        load_data(path)
    np.savez(path, images=images(), labels=np.array([object()] * 20))
    with pytest.raises(DataError, match=r"set\.npz cannot be read.*allow_pickle"):
        load_data(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match="expected arrays named"):
        load_data(path)


@pytest.mark.parametrize(
    ("validation", "test"),
    [
        (("x_validation", "y_validation"), ("x_test", "y_test")),
        (("X_VAL", "Y_VAL"), ("X_TEST", "Y_TEST")),
        (("x_dev", "y_dev"), ("x_testing", "y_testing")),
        (("valid_images", "valid_labels"), ("test_images", "test_labels")),
        (("images_val", "targets_val"), ("images_test", "targets_test")),
        (("valX", "valY"), ("testX", "testY")),
        (("xval", "yval"), ("xtest", "ytest")),
        (("val_data", "val_target"), ("test_data", "test_target")),
        ((b"x_val", b"y_val"), (b"x_test", b"y_test")),
    ],
)
def test_names_of_splits(validation: tuple[str, str], test: tuple[str, str]) -> None:
    arrays = {"x_train": images(), "y_train": LABELS}
    for (x, y), count in ((validation, 6), (test, 8)):
        arrays |= {x: images(count, count), y: LABELS[:count]}
    data = load_data(arrays)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 6, 8)


def test_splits_as_pairs_or_mappings() -> None:
    pair = images(), LABELS
    named = {"x_train": pair[0], "y_train": pair[1], "x_test": pair[0][:8], "y_test": pair[1][:8]}
    whole = load_data(named).fingerprint
    few = (pair[0][:8], pair[1][:8])
    assert load_data({"training": pair, "Test": few}).fingerprint == whole
    mappings = {
        "train": {"images": pair[0], "labels": pair[1]},
        "test": {"images": few[0], "labels": few[1]},
    }
    assert load_data(mappings).fingerprint == whole
    assert len(load_data((pair, few, pair)).validation) == 8


def test_training_and_validation_alone() -> None:
    blank = np.full(6, -1)
    arrays = {"x_train": images(18), "y_train": LABELS[:18], "x_val": images(6, 2), "y_val": LABELS[:6]}
    alone = load_data(arrays)
    assert np.array_equal(alone.test.images.numpy(), images(6, 2).transpose(0, 3, 1, 2))
    test = images(6, 3)
    for more in ({"x_test": test, "y_test": blank}, {"x_test": test}, {"x_test": test, "y_test": None}):
        data = load_data(arrays | more)
        assert data.fingerprint == alone.fingerprint
        assert any("has no labels: it is left out" in note for note in data.notes)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"x_val": images(6), "y_val": LABELS[:6], "x_valid": images(6), "y_valid": LABELS[:6]},
            "'val' and 'valid'",
        ),
        ({"images_train": images()}, "'x_train' and 'images_train' stand for the same"),
        ({"y_test": LABELS}, "array 'y_test' has no images beside it for the test split"),
    ],
)
def test_names_that_leave_a_choice_are_told(more: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data({"x_train": images(), "y_train": LABELS} | more)


def test_arrays_that_are_not_used_are_told() -> None:
    data = load_data(
        {"images": images(), "labels": LABELS, "class_names": np.array(["a", "b"]), "ids": LABELS}
    )
    assert any("arrays that are not used: ['class_names', 'ids']" in note for note in data.notes)


def test_one_hot_rows_and_gaps_are_taken_and_told() -> None:
    plain = load_data((images(), LABELS))
    for labels, word in ((np.eye(2)[LABELS], "one-hot"), (LABELS + 1, "from 1"), (LABELS * 7, "with gaps")):
        data = load_data((images(), labels))
        assert data.fingerprint == plain.fingerprint
        assert any(word in note for note in data.notes)


def test_pixels_of_zero_and_one_alone_are_black_and_white() -> None:
    pixels = (np.random.default_rng(0).random((40, 6, 6)) < 0.02).astype(np.uint8)
    data = load_data((pixels, np.arange(40) % 2))
    assert data.train.images.unique().tolist() == [0, 255]
    assert any("read as black and white" in note for note in data.notes)
    inputs = data.inputs(data.train, slice(None))
    assert 0.9 < float(inputs.std()) < 1.1


def test_images_scaled_twice_and_constant_channels_are_told() -> None:
    dark = np.random.default_rng(0).random((20, 4, 4)).astype(np.float32) / 255
    assert any("scaled twice" in note for note in load_data((dark, LABELS)).notes)
    blue = images()
    blue[..., 0] = 7
    assert any(
        "nearly constant channels" in note and "[0]" in note for note in load_data((blue, LABELS)).notes
    )
