"""MATLAB files, CIFAR's binary version, saved tables, and what is refused with what to do."""

import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest

from pydistill.data import load_data
from pydistill.data.sources.mat5 import read_mat
from pydistill.errors import DataError


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_street_view_house_numbers(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    labels = np.arange(40) % 10 + 1
    for at, (split, count) in enumerate((("train", 40), ("test", 20), ("extra", 10))):
        images = pixels(32, 32, 3, count, seed=at)
        savemat(tmp_path / f"{split}_32x32.mat", {"X": images, "y": labels[:count, None]})
    data = load_data(tmp_path)
    assert data.shape == (3, 32, 32)
    assert (len(data.train) + len(data.validation), len(data.test)) == (40, 20)
    assert data.task.class_names == tuple(map(str, range(10)))
    assert data.test.targets.tolist() == (labels[:20] % 10).tolist()
    assert np.array_equal(
        data.test.images[3].numpy(), pixels(32, 32, 3, 20, seed=1)[..., 3].transpose(2, 0, 1)
    )
    assert not data.horizontal_flip
    notes = " ".join(data.notes)
    assert "label 10 is the digit 0" in notes
    assert "not read: ['extra_32x32']" in notes
    assert load_data(tmp_path / "train_32x32.mat").task.outputs == 10


def test_other_matlab_files_and_damaged_ones(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    path = tmp_path / "set.mat"
    savemat(path, {"images": pixels(20, 5, 6), "labels": np.arange(20) % 2 + 1})
    assert load_data(path).shape == (1, 5, 6)
    savemat(path, {"a": pixels(20, 5, 6)})
    with pytest.raises(DataError, match="expected arrays named"):
        load_data(path)
    for content in (b"", b"MATLAB 7.3 MAT-file" + bytes(600), path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"set\.mat cannot be read as a MATLAB file"):
            load_data(path)


@pytest.mark.parametrize("deflated", [False, True])
def test_arrays_of_matlab_files_come_back_as_scipy_reads_them(tmp_path: Path, deflated: bool) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "set.mat"
    chance = np.random.default_rng(0)
    made = {
        **{f"of_{kind}": chance.integers(0, 100, (3, 2, 4)).astype(kind) for kind in "bBhHiIlLfd"},
        "images_of_a_long_name": chance.random((2, 3)),
        "empty": np.zeros((0, 3)),
        "one": np.array([[7]]),
        "logical": np.array([[True, False]]),
        "text": "left out",
        "cells": np.array([1, "a"], object),
        "record": {"a": 1},
        "complex": np.array([[1j]]),
    }
    scipy_io.savemat(path, made, do_compression=deflated)
    found, expected = read_mat(path), scipy_io.loadmat(path)
    assert set(found) == set(made) - {"text", "cells", "record", "complex"}
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert np.array_equal(value, expected[name])


def test_cifar_in_its_binary_version(tmp_path: Path) -> None:
    ten, hundred = tmp_path / "cifar-10-batches-bin", tmp_path / "cifar-100-binary"
    ten.mkdir()
    hundred.mkdir()
    labels = (np.arange(20) % 2).astype(np.uint8)[:, None]
    images = pixels(20, 3072)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (ten / f"{name}.bin").write_bytes(np.concatenate([labels, images], 1).tobytes())
    (ten / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    data = load_data(ten)
    assert data.task.class_names == ("airplane", "automobile")
    assert (len(data.train) + len(data.validation), len(data.test)) == (40, 20)
    assert np.array_equal(data.test.images.numpy(), images.reshape(20, 3, 32, 32))
    assert data.horizontal_flip
    for name in ("train", "test"):
        (hundred / f"{name}.bin").write_bytes(np.concatenate([labels * 0, labels, images], 1).tobytes())
    (hundred / "fine_label_names.txt").write_text("apple\nbear\n")
    (hundred / "coarse_label_names.txt").write_text("things\n")
    data = load_data(hundred)
    assert data.task.class_names == ("apple", "bear")
    assert any("labels are 'fine_label'" in note for note in data.notes)
    assert load_data(hundred, target_column="coarse_label").task.class_names == ("things",)
    with pytest.raises(DataError, match="no labels 'label'"):
        load_data(hundred, target_column="label")
    (ten / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(DataError, match=r"test_batch\.bin is damaged: expected records of 3073 bytes"):
        load_data(ten)


def test_pickles_are_refused_and_not_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return open, (str(tmp_path / "sprung"), "w")

    content = pickle.dumps(Trap())
    ten, hundred = tmp_path / "a" / "cifar-10-batches-py", tmp_path / "b" / "cifar-100-python"
    ten.mkdir(parents=True)
    hundred.mkdir(parents=True)
    for path in (
        ten / "data_batch_1",
        ten / "batches.meta",
        *(hundred / n for n in ("train", "test", "meta")),
    ):
        path.write_bytes(content)
    for path in (tmp_path / "set.pkl", tmp_path / "set.pt"):
        path.write_bytes(content)
    for source in (ten, ten.parent, hundred, hundred / "train", tmp_path / "set.pkl", tmp_path / "set.pt"):
        with pytest.raises(DataError, match=r"holds pickles .*runs whatever code.*take .*torchvision"):
            load_data(source)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("images.zip", "is packed: unpack it"),
        ("images.tar.gz", "is packed: unpack it"),
        ("set.h5", "read it with its own library"),
        ("set.npy", "read it with its own library, and give the arrays"),
    ],
)
def test_containers_are_refused_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / name)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_tables_that_the_library_datasets_saved(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Array2D((4, 4), "uint8"), "label": datasets.Value("int64")}
    )
    columns = {"image": pixels(20, 4, 4).tolist(), "label": (np.arange(20) % 2).tolist()}
    table = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(train=table, test=table.select(range(6))).save_to_disk(tmp_path / "pair")
    table.save_to_disk(tmp_path / "one")
    assert len(load_data(tmp_path / "pair").test) == 6
    assert load_data(tmp_path / "one").fingerprint == load_data(table).fingerprint
