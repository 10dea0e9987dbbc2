"""Hugging Face data sets: by hub name, or already loaded."""

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from pydistill.data.sources.base import TASKS, Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.columns import convert
from pydistill.data.sources.inside import own_folder, read_inside
from pydistill.errors import DataError
from pydistill.extras import need

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
TAKES = frozenset({"image_column", "target_column", "class_names", "void", "block_column"})
"""Options that tables of ``datasets`` take."""


class LoadedDataset(Source):
    """A ``datasets.DatasetDict`` or ``datasets.Dataset`` at hand, or several as a mapping or a pair."""

    understands: ClassVar[str] = "a datasets.Dataset or datasets.DatasetDict"
    takes: ClassVar[frozenset[str]] = TAKES
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        loaded = sys.modules.get("datasets")  # not imported here: who has such an object has imported it
        if loaded is None:
            return False
        kinds = loaded.Dataset, loaded.DatasetDict, loaded.IterableDataset, loaded.IterableDatasetDict
        parts = source.values() if isinstance(source, Mapping) else source
        several = isinstance(parts, tuple | list) or isinstance(source, Mapping)
        return isinstance(source, kinds) or (
            several and bool(parts) and all(isinstance(part, kinds) for part in list(parts))  # type: ignore[call-overload]
        )

    def read(self, source: object, options: Options) -> Raw:
        splits: Any = source if isinstance(source, Mapping) else {"train": source}
        if isinstance(source, tuple | list):
            order = ("train", "validation", "test") if len(source) == 3 else ("train", "test")
            splits = dict(zip(order, source, strict=False))
        return convert("datasets", splits, options)


class SavedTables(Source):
    """A folder that ``save_to_disk`` of a ``datasets.Dataset`` or ``datasets.DatasetDict`` has written."""

    understands: ClassVar[str] = "a folder written by save_to_disk of the library datasets"
    takes: ClassVar[frozenset[str]] = TAKES
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        if path is None or not path.is_dir():
            return False
        one = (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
        return one or (path / "dataset_dict.json").is_file()

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        datasets = need("datasets", f"{path}, to be read,")
        try:
            _require_own_files(path)
            with _quiet():
                found: Any = datasets.load_from_disk(str(path))
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            raise DataError(f"{path} cannot be read as tables that save_to_disk wrote: {error}") from error
        splits = found if isinstance(found, Mapping) else {"train": found}
        around = surroundings(path)
        roots = (own_folder(path),)
        return convert(source_name(path), splits, options, folders=around, roots=roots, beside=path)


def _require_own_files(folder: Path) -> None:
    """Refuse tables whose description names files that do not lie beside it."""
    for state in folder.rglob("state.json"):
        for each in json.loads(read_inside(state.absolute(), [own_folder(folder)]))["_data_files"]:
            file = state.parent / each["filename"]
            if Path(each["filename"]).name != each["filename"] or not file.is_file():
                raise ValueError(f"{state} names {each['filename']!r}, which is no file beside it")


class HubName(Source):
    """``owner/name`` on the Hugging Face hub, or one of :data:`ALIASES`."""

    understands: ClassVar[str] = (
        f"a Hugging Face data set 'owner/name', or one of the short names {', '.join(ALIASES)}"
    )
    takes: ClassVar[frozenset[str]] = TAKES | {"cache", "subset"}
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        if not isinstance(source, str) or as_path(source) is not None:
            return False
        in_a_folder_here = Path(source).parent != Path() and Path(source).parent.is_dir()
        return source in ALIASES or (_HUB_NAME.fullmatch(source) is not None and not in_a_folder_here)

    def read(self, source: object, options: Options) -> Raw:
        name = str(source)
        hub = ALIASES.get(name, name)
        found = load(name, hub, options.subset, cache_dir=options.cache)
        return convert(name, found, options, (hub,), roots=_caches(options.cache))


def _caches(cache: Path | None) -> tuple[Path, ...]:
    """Where files of data sets from the hub lie once they are here."""
    from datasets import config
    from huggingface_hub.constants import HF_HUB_CACHE

    own = (config.HF_DATASETS_CACHE, config.HF_CACHE_HOME, HF_HUB_CACHE, cache)
    return tuple(Path(folder).expanduser().resolve() for folder in own if folder is not None)


def load(shown: str, *where: str | None, cache_dir: Path | None, **more: Any) -> Mapping[str, Any]:
    """Splits as ``datasets.load_dataset`` gives them, without its bars and log lines.

    Raises:
        DataError: It cannot be had or read; ``shown`` is what the message calls it.
    """
    datasets = need("datasets", f"{shown!r}, to be read by Hugging Face's datasets,")
    cache = None if cache_dir is None else str(cache_dir)
    try:
        with _quiet():
            found: Mapping[str, Any] = datasets.load_dataset(*where, cache_dir=cache, **more)
    except ConnectionError as error:
        raise DataError(
            f"{shown!r} is no file or folder here, nor to be had from the Hugging Face hub ({error}): "
            "check the name and the network, or download the data set and give the path of its folder"
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = error.__cause__ or error
        raise DataError(f"{shown!r} cannot be read as a Hugging Face data set: {reason}") from error
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and log lines of ``datasets``, which is left as it was found; its errors are raised.

    Where ``HF_DATASETS_DISABLE_PROGRESS_BARS`` is set, it decides on the bars, as ``datasets`` has it.
    """
    datasets = need("datasets", "this source")
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
