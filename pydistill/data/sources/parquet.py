"""Folders of parquet files, as downloaded from the Hugging Face hub or kept in its cache."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydistill.data.sources.base import TASKS, Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.columns import convert
from pydistill.data.sources.hub import TAKES, load
from pydistill.data.sources.inside import own_folder
from pydistill.data.sources.labels import some
from pydistill.data.sources.names import assign, split_words
from pydistill.data.sources.walk import shown
from pydistill.errors import DataError
from pydistill.extras import need
from pydistill.limits import require_bytes

_DEPTH = 4
"""Levels of folders looked into: ``snapshots/<commit>/<subset>/<split>/0000.parquet``."""
_LEAST = 8
"""Bytes that a row takes in memory at least: its label."""


class LocalParquet(Source):
    """A folder of parquet files laid out as on the hub or in its cache, or one parquet file.

    A file belongs to the split that its name or its folder names. Other folders on the way are
    configurations, of which ``subset`` chooses one.
    """

    understands: ClassVar[str] = (
        "a folder of parquet files (train-*.parquet, test-*.parquet), or one such file"
    )
    takes: ClassVar[frozenset[str]] = TAKES | {"cache", "subset"}
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        if path is None or path.is_file():
            return path is not None and path.suffix.lower() == ".parquet"
        return bool(_files(path))

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        if path.is_file():
            return self._read(path, {"train": [path]}, options)
        files = _files(path)
        subsets: dict[str, list[Path]] = {}
        for file in files:
            subsets.setdefault(_subset(file, path), []).append(file)
        if options.subset is not None:
            if options.subset not in subsets:
                raise DataError(f"{path} has no subset {options.subset!r}, only {some(sorted(subsets))}")
            subsets = {options.subset: subsets[options.subset]}
        if len(subsets) > 1:
            raise DataError(
                f"{path} holds several sets of parquet files: give subset=, one of {some(sorted(subsets))}"
            )
        return self._read(path, _by_split(next(iter(subsets.values())), path), options)

    def _read(self, path: Path, splits: Mapping[str, list[Path]], options: Options) -> Raw:
        found: dict[str, Any] = {}
        for split, files in splits.items():
            _require_alike([_described(file) for file in files], files)
            names = {split: [str(file.absolute()) for file in files]}
            # each split by itself: read together, all would get the class names of the first
            found |= load(str(path), "parquet", cache_dir=options.cache, data_files=names)
        return convert(
            source_name(path),
            found,
            options,
            folders=surroundings(path),
            roots=(own_folder(path),),
            beside=path if path.is_dir() else path.absolute().parent,
        )


def _described(file: Path) -> bytes | None:
    """What a file says of its columns, class names among them; more rows than fit are refused.

    Equal values are stored once, so that a small file may declare any number of rows.

    Raises:
        DataError: It declares more rows than labels alone may take.
    """
    pyarrow, parquet = (
        need(name, f"{file}, to be read,", "hub") for name in ("pyarrow", "pyarrow.parquet")
    )
    try:
        found = parquet.read_metadata(file)
    except (pyarrow.ArrowException, OSError, ValueError):
        return None  # whoever reads it says what is wrong with it
    require_bytes(found.num_rows * _LEAST, f"{file}, {found.num_rows:,} rows")
    return (found.metadata or {}).get(b"huggingface")


def _require_alike(described: Sequence[bytes | None], files: Sequence[Path]) -> None:
    """Refuse files of one split whose columns or class names differ: only the first's would be taken."""
    for about, file in zip(described, files, strict=True):
        if about != described[0]:
            raise DataError(
                f"{files[0]} and {file} describe their columns or class names differently, but are of "
                "one split: write them alike"
            )


def _files(folder: Path) -> list[Path]:
    """Parquet files below ``folder``, in order of their paths; of several cached versions, one."""
    versions = folder / "snapshots"
    if versions.is_dir():
        commits = [path for path in shown(versions) if path.is_dir()]
        main = folder / "refs" / "main"
        named = versions / main.read_text().strip() if main.is_file() else None
        folder = named if named in commits else commits[-1] if commits else folder
    found = []
    for depth in range(_DEPTH):
        found += [path for path in folder.glob("*/" * depth + "*") if _is_parquet(path, folder)]
    return sorted(found)


def _is_parquet(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    return path.suffix.lower() == ".parquet" and not hidden and path.is_file()


def _split_of(file: Path, root: Path) -> str | None:
    """The word by which ``file`` or the nearest folder it lies in names its split."""
    for part in (
        file.stem,
        *(folder.name for folder in file.parents if folder != root and root in folder.parents),
    ):
        words = split_words(part)[0]
        if len(words) == 1:
            return next(iter(words))
    return None


def _subset(file: Path, root: Path) -> str:
    """The folders between ``root`` and ``file`` that name no split and are no general ones."""
    between = file.relative_to(root).parts[:-1]
    if between[:1] == ("snapshots",):
        between = between[2:]
    kept = [
        part for part in between if not split_words(part)[0] and part.lower() not in ("data", "default")
    ]
    return "/".join(kept) or "default"


def _by_split(files: list[Path], root: Path) -> dict[str, list[Path]]:
    by_word: dict[str, list[Path]] = {}
    for file in files:
        by_word.setdefault(_split_of(file, root) or "", []).append(file)
    if set(by_word) == {""}:
        return {"train": files}
    spare = by_word.pop("", [])
    if spare:
        raise DataError(
            f"{root}: {spare[0].name} names no split where other parquet files do: move it, or name its "
            "split"
        )
    return {split: by_word[word] for split, word in assign(by_word, str(root)).items()}
