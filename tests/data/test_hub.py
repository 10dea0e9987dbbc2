import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data import load_data
from pydistill.errors import DataError

Picture = Callable[..., Image.Image]


pytestmark = pytest.mark.usefixtures("offline")


def test_a_parquet_folder(tmp_path: Path, made: Callable[..., datasets.Dataset], picture: Picture) -> None:
    folder = tmp_path / "pets"
    folder.mkdir()
    made().to_parquet(folder / "train-00000-of-00001.parquet")
    made(6, 100).to_parquet(folder / "test-00000-of-00001.parquet")
    data = load_data(folder, cache=tmp_path / "own")
    assert data.name == "pets"
    assert data.task.class_names == ("cat", "dog")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 6)
    assert data.train.images.dtype == torch.uint8
    assert np.array_equal(data.test.images[2].numpy(), np.asarray(picture(102)).transpose(2, 0, 1))
    assert data.test.targets.tolist() == [0, 1] * 3
    assert (tmp_path / "own").is_dir()


def test_one_parquet_file_is_split(tmp_path: Path, made: Callable[..., datasets.Dataset]) -> None:
    made(named=False).to_parquet(tmp_path / "pets.parquet")
    data = load_data(tmp_path / "pets.parquet")
    assert data.name == "pets"
    assert data.task.class_names == ("0", "1")
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)


def test_loaded_sets_and_their_selections(made: Callable[..., datasets.Dataset]) -> None:
    whole = made(40).select(range(10, 30))
    assert load_data(whole).fingerprint == load_data(made(20, 10)).fingerprint
    splits = datasets.DatasetDict(train=made(), validation=made(4, 100), test=made(6, 200))
    data = load_data(splits)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 4, 6)


def test_a_validation_split_alone_serves_as_test(made: Callable[..., datasets.Dataset]) -> None:
    data = load_data(datasets.DatasetDict(train=made(), validation=made(4, 100)))
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 4)
    assert any("it serves as the test split" in note for note in data.notes)


def test_a_test_split_without_labels_is_left_out(made: Callable[..., datasets.Dataset]) -> None:
    blank = made(4, 100).map(lambda row: {"label": -1})
    data = load_data(datasets.DatasetDict(train=made(), test=blank))
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert any("the test split of the source has no labels" in note for note in data.notes)


def test_columns_are_found_by_type_or_given(made: Callable[..., datasets.Dataset]) -> None:
    plain = load_data(made()).fingerprint
    assert load_data(made(image="photo", target="kind")).fingerprint == plain
    coarse = {"coarse": ([0, 1, 2, 3] * 5, datasets.ClassLabel(num_classes=4))}
    assert load_data(made(**coarse)).fingerprint == plain
    assert load_data(made(target="fine", **coarse), target_column="fine").fingerprint == plain
    assert load_data(made(**coarse), target_column="coarse").task.outputs == 4


def renamed(table: datasets.Dataset, names: list[str], labels: list[int]) -> datasets.Dataset:
    features = table.features | {"label": datasets.ClassLabel(names=names)}
    rows = [row | {"label": label} for row, label in zip(table, labels, strict=True)]
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def test_splits_that_number_their_classes_differently_agree_by_name(
    tmp_path: Path, made: Callable[..., datasets.Dataset]
) -> None:
    train = renamed(made(21), ["a", "b", "c"], [0, 1, 2] * 7)
    test = renamed(made(6, 100), ["b", "c"], [0, 1] * 3)
    folder = tmp_path / "pets"
    folder.mkdir()
    train.to_parquet(folder / "train.parquet")
    test.to_parquet(folder / "test.parquet")
    for source in (datasets.DatasetDict(train=train, test=test), (train, test), folder):
        data = load_data(source)
        assert data.task.class_names == ("a", "b", "c")
        assert data.test.targets.tolist() == [1, 2] * 3
    train.to_parquet(folder / "test-00000-of-00002.parquet")
    (folder / "test.parquet").rename(folder / "test-00001-of-00002.parquet")
    with pytest.raises(DataError, match="class names differently, but are of one split"):
        load_data(folder)
    with pytest.raises(DataError, match=r"labels \['d'\] are not among"):
        load_data(datasets.DatasetDict(train=train, test=renamed(made(6, 100), ["b", "d"], [0, 1] * 3)))
    texts = datasets.Dataset.from_dict(
        {"img": test["img"], "label": ["b", "c"] * 3},
        features=datasets.Features({"img": datasets.Image(), "label": datasets.Value("string")}),
    )
    assert load_data({"train": train, "test": texts}).test.targets.tolist() == [1, 2] * 3
    plain = made(named=False)
    with pytest.raises(DataError, match="are texts, of the train split numbers"):
        load_data({"train": plain, "test": texts})


@pytest.mark.parametrize("blank", [-1, None, "no column"])
def test_one_rule_for_a_test_split_without_labels(
    made: Callable[..., datasets.Dataset], blank: Any
) -> None:
    whole = made(6, 100, named=False)
    unnamed = blank == "no column"
    test = whole.remove_columns("label") if unnamed else whole.map(lambda row: {"label": blank})
    train, validation = made(18, named=False), made(6, 50, named=False)
    data = load_data(datasets.DatasetDict(train=train, validation=validation, test=test))
    alone = load_data(datasets.DatasetDict(train=train, validation=validation))
    assert data.fingerprint == alone.fingerprint
    assert len(data.test) == 6


def test_two_columns_of_labels(made: Callable[..., datasets.Dataset]) -> None:
    coarse = {"coarse_label": ([0, 1] * 10, datasets.ClassLabel(num_classes=2))}
    data = load_data(made(target="fine_label", **coarse))
    assert data.task.class_names == ("cat", "dog")
    assert any("labels are column 'fine_label'; ['coarse_label'] may be had" in note for note in data.notes)


def test_transforms_that_were_set_are_not_applied_and_told(made: Callable[..., datasets.Dataset]) -> None:
    table = made()
    whole = load_data(table)
    table.set_transform(
        lambda rows: rows | {"img": [np.random.default_rng().random((4, 4))] * len(rows["img"])}
    )
    data = load_data(table)
    assert data.fingerprint == whole.fingerprint
    assert any("transforms set on the data set are not applied" in note for note in data.notes)


def test_splits_that_are_not_used_are_told(made: Callable[..., datasets.Dataset]) -> None:
    data = load_data(datasets.DatasetDict(train=made(), extra=made(4, 100), Testing=made(6, 200)))
    assert any("splits that are not used: ['extra']" in note for note in data.notes)
    with pytest.raises(DataError, match="'val' and 'valid' both stand for the validation split"):
        load_data(datasets.DatasetDict(train=made(), val=made(4), valid=made(4)))


def test_streams_are_refused_with_what_to_do(made: Callable[..., datasets.Dataset]) -> None:
    stream = made().to_iterable_dataset()
    for source in (stream, {"train": stream}, datasets.IterableDatasetDict({"train": stream})):
        with pytest.raises(
            DataError, match="a streaming data set has no length: load it without streaming"
        ):
            load_data(source)


@pytest.mark.parametrize("with_path", [True, False])
def test_columns_of_encoded_images(made: Callable[..., datasets.Dataset], with_path: bool) -> None:
    whole = made()
    encoded = [row["bytes"] for row in whole.cast_column("img", datasets.Image(decode=False))["img"]]
    values = [{"bytes": value, "path": None} for value in encoded] if with_path else encoded
    table = datasets.Dataset.from_dict({"image": values, "label": whole["label"]})
    assert load_data(table).fingerprint == load_data(whole).fingerprint


def test_columns_of_arrays() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 5, 4), dtype=np.uint8)
    labels = np.arange(20) % 2
    for kind in (datasets.Array2D((5, 4), "uint8"), datasets.List(datasets.List(datasets.Value("int64")))):
        features = datasets.Features({"image": kind, "label": datasets.Value("int64")})
        table = datasets.Dataset.from_dict({"image": pixels.tolist(), "label": labels}, features=features)
        assert load_data(table).fingerprint == load_data((pixels, labels)).fingerprint


def test_columns_that_leave_a_choice_are_listed(
    made: Callable[..., datasets.Dataset], picture: Picture
) -> None:
    coarse = {"coarse": ([0] * 20, datasets.ClassLabel(num_classes=1))}
    with pytest.raises(DataError, match=r"give target_column.*img \(Image\), fine \(ClassLabel\), coarse"):
        load_data(made(target="fine", **coarse))
    with pytest.raises(DataError, match="give image_column"):
        load_data(made(second=([picture(0)] * 20, datasets.Image())))
    with pytest.raises(DataError, match="give target_column"):
        load_data(made(named=False, target="age"))
    with pytest.raises(DataError, match="image_column='pic' is not among its columns"):
        load_data(made(), image_column="pic")
    with pytest.raises(DataError, match="give image_column, one column of images"):
        load_data(made(), image_column="label")


def test_missing_splits_images_and_labels_are_named(
    made: Callable[..., datasets.Dataset], picture: Picture
) -> None:
    with pytest.raises(DataError, match="expected a split named train, found test"):
        load_data(datasets.DatasetDict(test=made()))
    blank = datasets.Dataset.from_dict(
        {"img": [picture(0), None], "label": [0, 1]},
        features=datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")}),
    )
    with pytest.raises(DataError, match="train, row 1 holds no image"):
        load_data(blank)
    with pytest.raises(DataError, match="train: row 2 has no label"):
        load_data(made(3).map(lambda row, at: {"label": None if at == 2 else 0}, with_indices=True))
    with pytest.raises(DataError, match="no images"):
        load_data(made(4).select([]))


def test_a_corrupt_image_in_a_row_is_named(tmp_path: Path) -> None:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"img": [{"bytes": b"broken", "path": "seven.png"}], "label": [0]}
    with pytest.raises(DataError, match=r"train, row 0 \(seven\.png\) cannot be decoded"):
        load_data(datasets.Dataset.from_dict(rows, features=features))
    rows = {"img": [{"bytes": None, "path": str(tmp_path / "gone.png")}], "label": [0]}
    with pytest.raises(DataError, match=r"gone\.png\) cannot be read"):
        load_data(datasets.Dataset.from_dict(rows, features=features))


def test_images_kept_as_paths_are_read(tmp_path: Path, picture: Picture) -> None:
    for at in range(6):
        picture(at).save(tmp_path / f"{at}.png")
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"img": [str(tmp_path / f"{at}.png") for at in range(6)], "label": [0] * 6}
    data = load_data(datasets.Dataset.from_dict(rows, features=features))
    assert sum(map(len, (data.train, data.validation, data.test))) == 6


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bars and log lines on, as in a fresh process, whatever other tests or the environment have set."""
    bars = sys.modules["datasets.utils.tqdm"]  # by the same name datasets.utils has the class
    for module in (datasets.config, bars):
        monkeypatch.setattr(module, "HF_DATASETS_DISABLE_PROGRESS_BARS", None)
    monkeypatch.setattr(bars, "_hf_datasets_progress_bars_disabled", False)
    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.INFO)
    yield
    datasets.logging.set_verbosity(before)


def test_a_first_load_is_silent_and_leaves_the_library_as_it_was(
    tmp_path: Path,
    made: Callable[..., datasets.Dataset],
    talkative: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "pets.parquet"
    made().to_parquet(path)
    capfd.readouterr()
    datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "theirs"))
    assert "Generating train split" in capfd.readouterr().err
    load_data(path, cache=tmp_path / "ours")
    assert capfd.readouterr() == ("", "")
    assert not datasets.utils.are_progress_bars_disabled()
    assert datasets.logging.get_verbosity() == datasets.logging.INFO


def test_bars_that_were_off_stay_off_and_a_failure_restores_too(
    monkeypatch: pytest.MonkeyPatch, talkative: None
) -> None:
    seen = []

    def refuse(*where: str | None, cache_dir: str | None) -> None:
        seen.append((datasets.utils.are_progress_bars_disabled(), datasets.logging.get_verbosity()))
        raise datasets.exceptions.DatasetNotFoundError("gone")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    for off in (False, True):
        if off:
            datasets.disable_progress_bars()
        try:
            with pytest.raises(DataError, match="gone"):
                load_data("somebody/birds")
            assert datasets.utils.are_progress_bars_disabled() is off
        finally:
            datasets.enable_progress_bars()
    assert seen == [(True, datasets.logging.ERROR)] * 2
    assert datasets.logging.get_verbosity() == datasets.logging.INFO


@pytest.mark.parametrize("decided", [False, True])
def test_bars_that_the_environment_decides_on_are_left_to_it(
    monkeypatch: pytest.MonkeyPatch, made: Callable[..., datasets.Dataset], decided: bool
) -> None:
    def answer(*where: str | None, cache_dir: str | None) -> datasets.DatasetDict:
        return datasets.DatasetDict(train=made(), test=made(4, 100))

    def changed() -> None:
        raise AssertionError("the environment has decided")

    monkeypatch.setattr(datasets, "load_dataset", answer)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_DISABLE_PROGRESS_BARS", decided)
    monkeypatch.setattr(datasets, "disable_progress_bars", changed)
    monkeypatch.setattr(datasets, "enable_progress_bars", changed)
    assert len(load_data("somebody/birds").train) == 18


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_corrupt_parquet_file_is_refused(
    tmp_path: Path, made: Callable[..., datasets.Dataset], keep: float
) -> None:
    path = tmp_path / "pets" / "train.parquet"
    path.parent.mkdir()
    made().to_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    for source in (path.parent, path):
        with pytest.raises(DataError, match=r"pets.* cannot be read as a Hugging Face data set"):
            load_data(source)


@pytest.mark.parametrize("name", ["cifar10", "somebody/birds"])
def test_a_hub_that_cannot_be_reached(name: str) -> None:
    with pytest.raises(DataError, match=f"'{name}' is no file or folder here.*give the path of its folder"):
        load_data(name)


def test_names_and_options_reach_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Callable[..., datasets.Dataset]
) -> None:
    asked = []

    def answer(*where: str | None, cache_dir: str | None) -> datasets.DatasetDict:
        asked.append((where, cache_dir))
        return datasets.DatasetDict(train=made(), test=made(4, 100))

    monkeypatch.setattr(datasets, "load_dataset", answer)
    data = load_data("mnist")
    assert data.name == "mnist"
    assert not data.horizontal_flip
    assert load_data("somebody/birds", subset="small", cache=tmp_path).name == "somebody/birds"
    assert asked == [(("ylecun/mnist", None), None), (("somebody/birds", "small"), str(tmp_path))]


def test_a_name_the_hub_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*where: str | None, cache_dir: str | None) -> None:
        raise datasets.exceptions.DatasetNotFoundError("doesn't exist on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"'somebody/birds' cannot be read.*doesn't exist on the Hub"):
        load_data("somebody/birds")
