"""Tables as data sets: files or data frames of paths and labels, or of pixels; folders of such files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.folders import by_split, content
from pydistill.data.sources.labels import some, understand
from pydistill.data.sources.listing import Places, column_of_labels, split_column, understand_listing
from pydistill.data.sources.names import assign, read_name
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixel_table import PixelTable, pixel_columns, read_pixels, understand_pixels
from pydistill.data.sources.pixels import decode, from_array
from pydistill.data.sources.tables import Table, from_frame, is_frame, read_table
from pydistill.data.sources.walk import shown
from pydistill.errors import DataError

_ENDINGS = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
_TAKES = frozenset({"class_names", "image_column", "target_column", "layout"})


class TableFile(Source):
    """A CSV, tab-separated or JSON lines file of paths to images and labels, or of pixels and labels.

    Paths are relative to the file's own folder, and must lie in it.
    """

    understands: ClassVar[str] = "a .csv, .tsv or .jsonl file of paths and labels, or of pixels and labels"
    takes: ClassVar[frozenset[str]] = _TAKES

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_file() and path.suffix.lower() in _ENDINGS

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        places = Places([path.absolute().parent], path.absolute().parent)
        table = _open(path, places, options)
        return _read(source_name(path), {"train": table}, places, options, surroundings(path))


class Frame(Source):
    """A pandas data frame of paths to images and labels, or of pixels and labels."""

    understands: ClassVar[str] = "a pandas data frame of paths and labels, or of pixels and labels"
    takes: ClassVar[frozenset[str]] = _TAKES

    def recognises(self, source: object) -> bool:
        if isinstance(source, Mapping):
            return bool(source) and all(map(is_frame, source.values()))
        if isinstance(source, tuple | list):
            return len(source) in (2, 3) and all(map(is_frame, source))
        return is_frame(source)

    def read(self, source: object, options: Options) -> Raw:
        frames: dict[str, Any]
        if isinstance(source, Mapping):
            chosen = assign(map(str, source), "the mapping of data frames")
            frames = {split: source[name] for split, name in chosen.items()}
        elif isinstance(source, tuple | list):
            order = ("train", "validation", "test") if len(source) == 3 else ("train", "test")
            frames = dict(zip(order, source, strict=True))
        else:
            frames = {"train": source}
        tables: dict[str, Table | PixelTable] = {
            split: from_frame(frame) for split, frame in frames.items()
        }
        return _read("data frame", tables, Places([Path()], None), options, ())


class TableFolder(Source):
    """A folder of CSV files of pixels, one a split: ``train.csv`` and ``test.csv``."""

    understands: ClassVar[str] = "a folder of .csv files of pixels and labels (train.csv, test.csv)"
    takes: ClassVar[frozenset[str]] = _TAKES
    part_of: ClassVar[frozenset[str]] = frozenset({"CocoFolder", "ImageFolder", "MaskFolder"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and bool(_files(path))

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        files = _files(path)
        chosen = assign(files, str(path)) if len(files) > 1 else {"train": next(iter(files))}
        if "train" not in chosen:
            raise DataError(
                f"{path} holds the tables {some(sorted(files))}, none of a training split: name it "
                "train.csv"
            )
        places = Places([path], path)
        tables = {split: _open(files[name], places, options) for split, name in chosen.items()}
        return _read(source_name(path), tables, places, options, surroundings(path))


def _files(folder: Path) -> dict[str, Path]:
    """Tables in a folder by name, where one is named after the training split or there is one alone."""
    found = {
        path.stem: path for path in shown(folder) if path.suffix.lower() in _ENDINGS and path.is_file()
    }
    named = any((read := read_name(stem)) is not None and read.split == "train" for stem in found)
    return found if named or len(found) == 1 else {}


def _open(path: Path, places: Places, options: Options) -> Table | PixelTable:
    found = read_pixels(path, options.layout, options.target_column)
    return read_table(path, lambda text: places.find(text) is not None) if found is None else found


def _read(
    name: str,
    tables: Mapping[str, Table | PixelTable],
    places: Places,
    options: Options,
    folders: tuple[str, ...],
) -> Raw:
    first = tables["train"]
    if isinstance(first, PixelTable) or (options.image_column is None and pixel_columns(first) is not None):
        return _pixels(name, tables, options, folders)
    encoded = _encoded_column(first, options.image_column)
    if encoded is not None:
        return _encoded(name, tables, encoded, options)
    listed = {split: table for split, table in tables.items() if isinstance(table, Table)}
    return _paths(name, listed, places, options, folders)


def _pixels(
    name: str, tables: Mapping[str, Table | PixelTable], options: Options, folders: tuple[str, ...]
) -> Raw:
    images, labels = {}, {}
    for split, table in tables.items():
        rows = None
        if isinstance(table, PixelTable):
            made = table
        else:
            columns = pixel_columns(table)
            if columns is None:
                raise DataError(f"{table.name} holds no pixels, unlike the table of the training split")
            made = understand_pixels(table, columns, options.layout, options.target_column)
            rows = split_column(table)[0] if len(tables) == 1 else None
        pictures = from_array(made.images, "NHWC" if made.images.ndim == 4 else None, f"{name}, {split}")
        if rows is None:
            images[split], labels[split] = pictures, made.labels
            continue
        for part in dict.fromkeys(row for row in rows if row is not None):
            at = [index for index, row in enumerate(rows) if row == part]
            images[part], labels[part] = pictures[at], [made.labels[index] for index in at]
    found = understand(labels, options.class_names)
    splits = {split: Split(images[split], targets) for split, targets in found.targets.items()}
    note = "images are rows of pixels in a table, read as squares"
    return Raw.of(
        name,
        found.task,
        splits,
        (note, *found.notes),
        named=found.named,
        origins={split: _origin(split, tables) for split in splits},
        hints=tuple(Path(table.name).stem for table in tables.values()),
        folders=folders,
    )


def _paths(
    name: str, tables: Mapping[str, Table], places: Places, options: Options, folders: tuple[str, ...]
) -> Raw:
    files: dict[str, list[Path]] = {}
    labels: dict[str, Any] = {}
    notes: list[str] = []
    for split, table in tables.items():
        listing = understand_listing(table, places, options.image_column, options.target_column)
        notes += listing.notes
        if listing.splits is not None and len(tables) == 1:
            files, labels = by_split(listing)
        else:
            files[split], labels[split] = listing.files, listing.labels
    found = understand(labels, options.class_names)
    seen = Seen()
    splits = {}
    for split, targets in found.targets.items():
        encoded = ((str(path), content(path)) for path in files[split])
        splits[split] = Split(decode(encoded, options.size, seen), targets)
    return Raw.of(
        name,
        found.task,
        splits,
        (*notes, *found.notes, *seen.notes()),
        named=found.named,
        origins={split: _origin(split, tables) for split in splits},
        hints=tuple(Path(table.name).stem for table in tables.values()),
        folders=folders,
    )


def _encoded_column(table: Table, asked: str | None) -> str | None:
    """The column whose values are encoded images: bytes, or mappings with ``bytes``."""
    for name, values in table.columns.items():
        first = next((value for value in values if value is not None), None)
        if asked in (None, name) and _bytes_of(first) is not None:
            return name
    return None


def _bytes_of(value: Any) -> bytes | None:
    content = value.get("bytes") if isinstance(value, Mapping) else value
    return content if isinstance(content, bytes) else None


def _encoded(name: str, tables: Mapping[str, Table | PixelTable], column: str, options: Options) -> Raw:
    """Images that stand in the table itself, as in a data frame made from a data set of the hub."""
    contents: dict[str, list[tuple[str, bytes]]] = {}
    labels: dict[str, Any] = {}
    for split, table in tables.items():
        if not isinstance(table, Table) or column not in table.columns:
            raise DataError(f"{table.name}, {split}: no column {column!r} of images")
        contents[split] = []
        for at, value in enumerate(table.columns[column]):
            found = _bytes_of(value)
            if found is None:
                raise DataError(f"{table.name}, {split}: row {at} holds no image in column {column!r}")
            contents[split].append((f"{split}, row {at}", found))
        labels[split] = column_of_labels(table, column, options.target_column)
    learned = understand(labels, options.class_names)
    seen = Seen()
    splits = {
        split: Split(decode(contents[split], options.size, seen), targets)
        for split, targets in learned.targets.items()
    }
    return Raw.of(
        name,
        learned.task,
        splits,
        (f"images are column {column!r}", *learned.notes, *seen.notes()),
        named=learned.named,
        origins={split: _origin(split, tables) for split in splits},
    )


def _origin(split: str, tables: Mapping[str, Table | PixelTable]) -> str:
    return f"table {Path(tables.get(split, tables['train']).name).name!r}"
