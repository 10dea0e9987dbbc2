"""Hugging Face data sets: by hub name, from a local parquet folder, or already loaded."""

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, class_indices
from pydistill.data.sources.pixels import Encoded, decode
from pydistill.errors import DataError

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "mnist": "ylecun/mnist",
        "fashion-mnist": "zalando-datasets/fashion_mnist",
        "cifar10": "uoft-cs/cifar10",
        "cifar100": "uoft-cs/cifar100",
        "svhn": "ufldl-stanford/svhn",
        "tiny-imagenet": "zh-plus/tiny-imagenet",
    }
)
"""Short names for data sets of the field that lie on the hub."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_TAKES = frozenset({"image_column", "target_column", "class_names"})


class LoadedDataset(Source):
    """A ``datasets.DatasetDict`` or ``datasets.Dataset`` at hand."""

    understands: ClassVar[str] = "a datasets.Dataset or datasets.DatasetDict"
    takes: ClassVar[frozenset[str]] = _TAKES

    def recognises(self, source: object) -> bool:
        loaded = sys.modules.get("datasets")  # not imported here: who has such an object has imported it
        return loaded is not None and isinstance(source, loaded.Dataset | loaded.DatasetDict)

    def read(self, source: object, options: Options) -> Raw:
        splits: Any = source if isinstance(source, dict) else {"train": source}
        return _convert("datasets", splits, options)


class LocalParquet(Source):
    """A folder of parquet files laid out as on the hub, or one parquet file."""

    understands: ClassVar[str] = (
        "a folder of parquet files (train-*.parquet, test-*.parquet), or one such file"
    )
    takes: ClassVar[frozenset[str]] = _TAKES | {"cache"}

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        if path is None or path.is_file():
            return path is not None and path.suffix == ".parquet"
        return any(True for pattern in ("*.parquet", "*/*.parquet") for _ in path.glob(pattern))

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        where = ("parquet",) if path.is_file() else (str(path.resolve()),)
        files = {"data_files": {"train": str(path.resolve())}} if path.is_file() else {}
        return _convert(
            path.resolve().stem, _load(str(path), *where, cache_dir=options.cache, **files), options
        )


class HubName(Source):
    """``owner/name`` on the Hugging Face hub, or one of :data:`ALIASES`."""

    understands: ClassVar[str] = (
        f"a Hugging Face data set 'owner/name', or one of the short names {', '.join(ALIASES)}"
    )
    takes: ClassVar[frozenset[str]] = _TAKES | {"cache", "subset"}

    def recognises(self, source: object) -> bool:
        if not isinstance(source, str) or as_path(source) is not None:
            return False
        in_a_folder_here = Path(source).parent != Path() and Path(source).parent.is_dir()
        return source in ALIASES or (_HUB_NAME.fullmatch(source) is not None and not in_a_folder_here)

    def read(self, source: object, options: Options) -> Raw:
        name = str(source)
        found = _load(name, ALIASES.get(name, name), options.subset, cache_dir=options.cache)
        return _convert(name, found, options)


def _load(shown: str, *where: str | None, cache_dir: Path | None, **more: Any) -> Mapping[str, Any]:
    import datasets  # most of a second, and only here

    cache = None if cache_dir is None else str(cache_dir)
    try:
        with _quiet():
            found: Mapping[str, Any] = datasets.load_dataset(*where, cache_dir=cache, **more)
    except ConnectionError as error:
        raise DataError(
            f"{shown!r} is no file or folder here, nor to be had from the Hugging Face hub ({error}): "
            "check the name and the network, or download the data set and give the path of its folder"
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        reason = error.__cause__ or error
        raise DataError(f"{shown!r} cannot be read as a Hugging Face data set: {reason}") from error
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and log lines of ``datasets``, which is left as it was found; its errors are raised.

    Where ``HF_DATASETS_DISABLE_PROGRESS_BARS`` is set, it decides on the bars, as ``datasets`` has it.
    """
    import datasets

    decided = datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS is not None
    shown = not (decided or datasets.utils.are_progress_bars_disabled())
    verbosity = datasets.logging.get_verbosity()
    if shown:
        datasets.disable_progress_bars()
    datasets.logging.set_verbosity(max(verbosity, datasets.logging.ERROR))
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if shown:
            datasets.enable_progress_bars()


def _convert(name: str, found: Mapping[str, Any], options: Options) -> Raw:
    chosen = {
        split: next((found[title] for title in titles if title in found), None)
        for split, titles in _SPLITS.items()
    }
    notes = []
    if chosen["train"] is None:
        raise DataError(f"{name}: expected a split named train, found {', '.join(map(str, found))}")
    if chosen["test"] is None and chosen["validation"] is not None:
        chosen["test"], chosen["validation"] = chosen["validation"], None
        notes.append("the source has a validation split but no test split: it serves as the test split")
    sets = {split: value for split, value in chosen.items() if value is not None}
    features = sets["train"].features
    image, target = _columns(name, features, options)
    names = options.class_names or _names(features[target])
    labels = {split: _labels(value, target, f"{name}, {split}") for split, value in sets.items()}
    for split in [split for split in sets if split != "train" and bool((labels[split] == -1).all())]:
        notes.append(f"the {split} split of the source has no labels: it is left out")
        del sets[split], labels[split]
    targets, task = class_indices(labels, names)
    splits = {
        split: Split(_images(value, image, f"{name}, {split}", options), targets[split])
        for split, value in sets.items()
    }
    return Raw(name, task, splits["train"], splits.get("validation"), splits.get("test"), tuple(notes))


def _columns(name: str, features: Mapping[str, Any], options: Options) -> tuple[str, str]:
    from datasets import ClassLabel, Image

    present = ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())
    for option, column in (
        ("image_column", options.image_column),
        ("target_column", options.target_column),
    ):
        if column is not None and column not in features:
            raise DataError(f"{name}: {option}={column!r} is not among its columns: {present}")
    images = [column for column, kind in features.items() if isinstance(kind, Image)]
    labels = [column for column, kind in features.items() if isinstance(kind, ClassLabel)]
    usual = [column for column in ("label", "labels") if column in features]
    image = options.image_column or (images[0] if len(images) == 1 else None)
    target = options.target_column or next(iter(usual or labels if len(labels) < 2 or usual else []), None)
    if image is None or not isinstance(features[image], Image):
        raise DataError(f"{name}: give image_column, one column of images; its columns are {present}")
    if target is None:
        raise DataError(
            f"{name}: give target_column, the column of class labels; its columns are {present}"
        )
    return image, target


def _names(kind: Any) -> tuple[str, ...] | None:
    names = getattr(kind, "names", None)
    return None if names is None else tuple(names)


def _labels(found: Any, column: str, where: str) -> Any:
    values = found.with_format("arrow")[:].column(column).to_pylist()
    if any(value is None for value in values):
        raise DataError(f"{where}: row {values.index(None)} has no {column}")
    return np.asarray(values) if values else np.empty(0, np.int64)


def _images(found: Any, column: str, where: str, options: Options) -> Tensor:
    from datasets import Image

    rows = found.select_columns([column]).cast_column(column, Image(decode=False)).with_format("arrow")
    return decode(_encoded(rows, column, where), options.size)


def _encoded(rows: Any, column: str, where: str) -> Iterator[Encoded]:
    at = 0
    for table in rows.iter(batch_size=1000):
        for value in table.column(column).to_pylist():
            title = f"{where}, row {at}" + (f" ({value['path']})" if value and value.get("path") else "")
            yield title, _content(value, title)
            at += 1


def _content(value: Any, title: str) -> bytes:
    if value and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value and value.get("path"):
        try:
            return Path(value["path"]).read_bytes()
        except OSError as error:
            raise DataError(f"{title} cannot be read: {error.strerror or error}") from error
    raise DataError(f"{title} holds no image")
