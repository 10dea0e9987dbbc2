from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pydistill.data import load_data
from pydistill.errors import DataError

Picture = Callable[..., Image.Image]


def digits(count: int = 20, side: int = 28, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side))
    return images, np.arange(count) % 2


def rows(
    images: np.ndarray, labels: np.ndarray | None, header: str | None = None, last: bool = False
) -> str:
    flat = images.reshape(len(images), -1)
    names = header or ",".join(
        [f"pixel{at}" for at in range(flat.shape[1])] if labels is None else
        ["label", *(f"pixel{at}" for at in range(flat.shape[1]))]
    )  # fmt: skip
    lines = [] if header == "" else [names]
    for at, row in enumerate(flat):
        cells = list(map(str, row))
        mark = [] if labels is None else [str(labels[at])]
        lines.append(",".join(cells + mark if last else mark + cells))
    return "\n".join(lines) + "\n"


def test_kaggles_table_of_pixels(tmp_path: Path) -> None:
    images, labels = digits()
    (tmp_path / "train.csv").write_text(rows(images, labels))
    (tmp_path / "test.csv").write_text(rows(digits(5)[0], None))
    (tmp_path / "sample_submission.csv").write_text("ImageId,Label\n1,0\n")
    for source in (tmp_path / "train.csv", tmp_path):
        data = load_data(source)
        assert data.shape == (1, 28, 28)
        assert data.fingerprint == load_data((images.astype(np.uint8), labels)).fingerprint
    assert any("the test split of the source has no labels" in note for note in data.notes)


def test_two_tables_of_pixels(tmp_path: Path) -> None:
    train, test = digits(side=8), digits(6, 8, 1)
    (tmp_path / "fashion-mnist_train.csv").write_text(rows(*train))
    (tmp_path / "fashion-mnist_test.csv").write_text(rows(*test))
    data = load_data(tmp_path)
    assert data.fingerprint == load_data((*train, *test)).fingerprint


@pytest.mark.parametrize(
    "header", ["", "label," + ",".join(f"{r}x{c}" for r in range(8) for c in range(8))]
)
def test_tables_of_pixels_with_other_headings_and_without(tmp_path: Path, header: str) -> None:
    images, labels = digits(side=8)
    (tmp_path / "mnist.CSV").write_text("\ufeff" + rows(images, labels, header), encoding="utf-8")
    data = load_data(tmp_path / "mnist.CSV")
    assert data.fingerprint == load_data((images, labels)).fingerprint
    assert not data.horizontal_flip


def test_the_label_may_stand_last_and_rows_may_hold_colours(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3))
    labels = np.arange(20) % 2
    header = ",".join([*(f"pixel{at:04}" for at in range(48)), "label"])
    (tmp_path / "skin.csv").write_text(rows(images, labels, header, last=True))
    with pytest.raises(DataError, match='layout="NHWC"'):
        load_data(tmp_path / "skin.csv")
    data = load_data(tmp_path / "skin.csv", layout="NHWC")
    assert data.fingerprint == load_data((images, labels)).fingerprint


def test_pixels_as_one_text_with_splits(tmp_path: Path) -> None:
    images, labels = digits(30, 4)
    usage = ["Training"] * 20 + ["PublicTest"] * 4 + ["PrivateTest"] * 6
    lines = [f"{labels[at]},{' '.join(map(str, images[at].reshape(-1)))},{usage[at]}" for at in range(30)]
    (tmp_path / "fer.csv").write_text("emotion,pixels,Usage\n" + "\n".join(lines))
    data = load_data(tmp_path / "fer.csv")
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 4, 6)
    assert np.array_equal(data.test.images[:, 0].numpy(), images[24:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label," + ",".join(f"p{k}" for k in range(17)) + "\n" + "1," * 17 + "1\n", "17 pixels a row"),
        ("label," + ",".join(f"p{k}" for k in range(16)) + "\n" + "1," * 16 + "1\n1,2\n", "pixels must be"),
        (
            "label," + ",".join(f"p{k}" for k in range(16)) + "\n" + "1," * 16 + "1\n" + "1," * 16 + "x\n",
            "pixels",
        ),
        ("a,b\n1,2,3\n", "row 1 has 3 fields, but there are 2 columns"),
        ("a,a\n1,2\n", "two columns called 'a'"),
        ('a,b\n"1,2\n', "cannot be read as a table"),
        ("", "is empty"),
        ("file,label\nnone.png,1\n", "no data set known here: it names no image file"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path / "set.csv")


@pytest.fixture
def pictures(tmp_path: Path, picture: Picture) -> Path:
    """Twelve pictures in ``pics``."""
    (tmp_path / "pics").mkdir()
    for at in range(12):
        picture(at).save(tmp_path / "pics" / f"{at}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("path,label", "pics/{at}.png,{name}"),
        ("Image_ID,Class", "{at},{name}"),
        ("file_name,label,width", "{at}.png,{name},6"),
        ("index;img;category", "{at}5;{at}.png;{name}"),
        ("", "pics/{at}.png,{name}"),
        ("id,cat,dog", "{at},{cat},{dog}"),
        ("id,cat,dog", "{at},{cat}.0,{dog}.0"),
    ],
)
def test_paths_and_labels(pictures: Path, head: str, row: str) -> None:
    lines = [row.format(at=at, name=("cat", "dog")[at % 2], cat=1 - at % 2, dog=at % 2) for at in range(12)]
    (pictures / "set.csv").write_text("\n".join([head, *lines] if head else lines))
    data = load_data(pictures / "set.csv")
    assert data.task.class_names == ("cat", "dog")
    assert sum(map(len, (data.train, data.validation, data.test))) == 12


def test_columns_may_be_given(pictures: Path) -> None:
    lines = [f"{at}.png,{at % 2},{at % 3}" for at in range(12)]
    (pictures / "set.csv").write_text("\n".join(["photo,a,b", *lines]))
    with pytest.raises(DataError, match="give target_column"):
        load_data(pictures / "set.csv", class_names=("x", "y", "z"))
    data = load_data(pictures / "set.csv", target_column="b", image_column="photo")
    assert data.task.class_names == ("0", "1", "2")
    for option in ("target_column", "image_column"):
        with pytest.raises(DataError, match="has no column 'c'"):
            load_data(pictures / "set.csv", **{option: "c"})


def test_several_labels_an_image_and_values_are_refused_as_such(pictures: Path) -> None:
    lines = [f"{at}.png,1,{at % 2}" for at in range(12)]
    (pictures / "set.csv").write_text("\n".join(["id,cat,dog", *lines]))
    with pytest.raises(DataError, match=r"row 2 marks 2 of the columns.*multi-label.*classification only"):
        load_data(pictures / "set.csv")
    lines = [f"{at}.png,{at / 7}" for at in range(12)]
    (pictures / "set.csv").write_text("\n".join(["id,label", *lines]))
    with pytest.raises(DataError, match=r"regress.*classification only"):
        load_data(pictures / "set.csv")


def test_a_table_opens_nothing_outside_its_folder(pictures: Path, picture: Picture) -> None:
    (pictures / "inner").mkdir()
    for path in ("../pics/0.png", str(pictures / "pics" / "0.png")):
        (pictures / "inner" / "set.csv").write_text(f"path,label\n{path},a\n{path},b\n")
        with pytest.raises(DataError, match="leads out of"):
            load_data(pictures / "inner" / "set.csv")
    for path in ("/etc/passwd", "/dev/zero"):
        (pictures / "inner" / "set.csv").write_text(f"path,label\n{path},a\n{path},b\n")
        with pytest.raises(DataError, match="names no image file"):
            load_data(pictures / "inner" / "set.csv")


def test_a_data_frame_of_paths(pictures: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "path": [pictures / "pics" / f"{at}.png" for at in range(12)],
            "label": [("cat", "dog")[at % 2] for at in range(12)],
        }
    )
    data = load_data(frame)
    assert data.task.class_names == ("cat", "dog")
    frame["path"] = frame["path"].map(str)
    assert load_data(frame).fingerprint == data.fingerprint
    assert len(load_data((frame, frame[:4])).test) == 4
    assert len(load_data({"train": frame, "valid": frame[:4]}).test) == 4
    frame.loc[3, "label"] = None
    with pytest.raises(DataError, match="row 3 has no label"):
        load_data(frame)


def test_a_data_frame_of_pixels() -> None:
    pandas = pytest.importorskip("pandas")
    images, labels = digits(side=5)
    columns: dict[str, Any] = {f"pixel{at}": images.reshape(20, -1)[:, at] for at in range(25)}
    data = load_data(pandas.DataFrame({"label": labels} | columns))
    assert data.fingerprint == load_data((images, labels)).fingerprint


@pytest.mark.parametrize("kind", ["bytes", "mapping"])
def test_a_data_frame_of_encoded_images(pictures: Path, kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    encoded = [(pictures / "pics" / f"{at}.png").read_bytes() for at in range(12)]
    values = encoded if kind == "bytes" else [{"bytes": value, "path": None} for value in encoded]
    frame = pandas.DataFrame({"image": values, "label": [at % 2 for at in range(12)]})
    (pictures / "set.csv").write_text("file,label\n" + "".join(f"{at}.png,{at % 2}\n" for at in range(12)))
    assert load_data(frame).fingerprint == load_data(pictures / "set.csv").fingerprint


def test_columns_that_count_the_rows_are_no_pixels_and_names_of_tables_tell_of_digits(
    tmp_path: Path,
) -> None:
    images, labels = digits(side=5)
    names = ",label," + ",".join(f"pixel{at}" for at in range(25))
    lines = [",".join(map(str, [at, labels[at], *images[at].reshape(-1)])) for at in range(20)]
    for first in ("id", "", "Unnamed: 0"):
        (tmp_path / "sign_mnist_train.csv").write_text("\n".join([first + names, *lines]))
        data = load_data(tmp_path)
        assert data.fingerprint == load_data((images, labels)).fingerprint
        assert not data.horizontal_flip
