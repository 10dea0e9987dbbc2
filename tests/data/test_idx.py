import gzip
from pathlib import Path

import numpy as np
import pytest

from pydistill.data import load_data
from pydistill.data.sources.idx import read_idx
from pydistill.errors import DataError


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write(
    folder: Path, *, zipped: bool = False, joint: str = "-", splits: tuple[str, ...] = ("train", "t10k")
):
    folder.mkdir()
    made = {}
    for at, split in enumerate(splits):
        images = np.random.default_rng(at).integers(0, 256, (20, 5, 6))
        labels = np.arange(20) % 2
        for part, array in (("images", images), ("labels", labels)):
            name = f"{split}-{part}{joint}idx{array.ndim}-ubyte" + (".gz" if zipped else "")
            content = idx(array)
            (folder / name).write_bytes(gzip.compress(content) if zipped else content)
            made[f"{split}-{part}"] = folder / name
    return made


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("joint", ["-", "."])
def test_a_folder_of_the_official_layout(tmp_path: Path, zipped: bool, joint: str) -> None:
    write(tmp_path / "mnist", zipped=zipped, joint=joint)
    data = load_data(tmp_path / "mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 20)
    assert data.shape == (1, 5, 6)
    assert data.name == "mnist"
    assert data.task.class_names == ("0", "1")
    assert np.array_equal(
        data.test.images[:, 0].numpy(), np.random.default_rng(1).integers(0, 256, (20, 5, 6))
    )
    assert data.test.targets.tolist() == [0, 1] * 10
    assert f"train 18 (train-images{joint}idx3-ubyte" in data.notes[0]


def test_only_digits_forbid_mirroring(tmp_path: Path) -> None:
    write(tmp_path / "MNIST")
    assert not load_data(tmp_path / "MNIST").horizontal_flip
    write(tmp_path / "other")
    assert load_data(tmp_path / "other").horizontal_flip


def test_the_folders_above_tell_of_digits(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    write(tmp_path / "MNIST" / "raw")
    data = load_data(tmp_path / "MNIST" / "raw")
    assert not data.horizontal_flip
    assert any("images are not mirrored: 'MNIST' speaks of digits" in note for note in data.notes)
    assert load_data(tmp_path / "MNIST" / "raw", horizontal_flip=True).horizontal_flip
    (tmp_path / "link").symlink_to(tmp_path / "MNIST" / "raw")
    assert not load_data(tmp_path / "link").horizontal_flip


def test_fashion_mnist_by_the_folder_above(tmp_path: Path) -> None:
    (tmp_path / "FashionMNIST").mkdir()
    folder = tmp_path / "FashionMNIST" / "raw"
    made = write(folder)
    for split in ("train", "t10k"):
        made[f"{split}-labels"].write_bytes(idx(np.arange(20) % 10))
    data = load_data(folder)
    assert data.task.class_names[:2] == ("T-shirt/top", "Trouser")
    assert data.horizontal_flip


@pytest.mark.parametrize("test", ["test", "testing", "T10K", "eval"])
def test_names_of_the_test_files(tmp_path: Path, test: str) -> None:
    write(tmp_path / "some", splits=("train", test))
    assert len(load_data(tmp_path / "some").test) == 20


def test_a_validation_split_of_files(tmp_path: Path) -> None:
    write(tmp_path / "some", splits=("train", "val", "test"))
    data = load_data(tmp_path / "some")
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 20, 20)


def test_files_that_each_have_a_folder(tmp_path: Path) -> None:
    for path in write(tmp_path / "some").values():
        moved = path.rename(path.with_suffix(".moved"))
        path.mkdir()
        moved.rename(path / path.name)
    assert len(load_data(tmp_path / "some").test) == 20


def test_emnists_file_names_and_characters(tmp_path: Path) -> None:
    folder = tmp_path / "gzip"
    made = write(folder, splits=("emnist-letters-train", "emnist-letters-test"), zipped=True)
    labels = gzip.compress(idx(np.arange(20) % 2 + 1))
    for split in ("train", "test"):
        made[f"emnist-letters-{split}-labels"].write_bytes(labels)
    (folder / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n")
    data = load_data(folder)
    assert data.task.class_names == ("A", "B")
    assert data.test.targets.tolist() == [0, 1] * 10
    assert not data.horizontal_flip
    more = tmp_path / "more"
    for path in write(more, splits=("emnist-digits-train", "emnist-digits-test")).values():
        path.rename(folder / path.name)
    with pytest.raises(DataError, match=r"several sets of IDX files.*emnist-digits.*give subset="):
        load_data(folder)
    for subset in ("digits", "emnist-digits"):
        assert load_data(folder, subset=subset).task.class_names == ("0", "1")
    with pytest.raises(DataError, match="no one set of IDX files called 'byclass'"):
        load_data(folder, subset="byclass")


def test_fashion_mnist_has_its_names(tmp_path: Path) -> None:
    write(tmp_path / "fashion-mnist")
    with pytest.raises(DataError, match=r"class 'Pullover' has no training images \(8 of 10"):
        load_data(tmp_path / "fashion-mnist")
    data = load_data(tmp_path / "fashion-mnist", class_names=("top", "trouser"))
    assert data.task.class_names == ("top", "trouser")
    assert data.horizontal_flip


def test_without_test_files_one_is_held_out(tmp_path: Path) -> None:
    write(tmp_path / "some", splits=("train",))
    data = load_data(tmp_path / "some")
    assert len(data.test) == 4
    assert any("no test split" in note for note in data.notes)


def test_half_a_pair_of_files_is_refused(tmp_path: Path) -> None:
    made = write(tmp_path / "some")
    made["t10k-labels"].unlink()
    with pytest.raises(DataError, match="no t10k-labels-idx file"):
        load_data(tmp_path / "some")


def test_counts_that_differ_are_named(tmp_path: Path) -> None:
    made = write(tmp_path / "some")
    made["train-labels"].write_bytes(idx(np.arange(19) % 2))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte holds 20 images.*19 labels"):
        load_data(tmp_path / "some")


def test_dimensions_that_differ_are_named(tmp_path: Path) -> None:
    made = write(tmp_path / "some")
    made["train-images"].write_bytes(idx(np.zeros((20, 30))))
    with pytest.raises(DataError, match=r"expected three dimensions in train-images.*found 2 and 1"):
        load_data(tmp_path / "some")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with 00 00 08, found nothing"),
        (b"PK\3\4" + bytes(40), "must begin with 00 00 08, found 50 4b 03"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1]) + bytes(4), "unsigned bytes"),
        (idx(np.zeros((4, 4)))[:-1], r"announces shape \(4, 4\), 28 bytes in all, but it holds 27"),
        (idx(np.zeros((4, 4))) + b"x", "but it holds 29"),
        (bytes([0, 0, 8, 3, 0, 0]), "damaged"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize("cut", [slice(0, 30), slice(5, None)])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, cut: slice) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(idx(np.arange(400).reshape(20, 20)))[cut])
    with pytest.raises(DataError, match=r"file\.gz cannot be read"):
        read_idx(tmp_path / "file.gz")
