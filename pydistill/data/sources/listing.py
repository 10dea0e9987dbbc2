"""Tables that name image files and their labels: which column is what, and where the files are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pydistill.data.sources.inside import own_folder
from pydistill.data.sources.labels import some
from pydistill.data.sources.names import assign
from pydistill.data.sources.tables import Table
from pydistill.data.sources.walk import ENDINGS, shown, within
from pydistill.errors import DataError

_FILES = (
    "filename", "file", "filepath", "path", "imagepath", "imgpath", "imagename", "imgname", "imagefile",
    "image", "img", "images", "imageid", "imgid", "idcode", "id", "name", "photo", "picture", "0",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "classname", "classid", "labelname", "category", "categories", "target",
    "targets", "species", "breed", "variety", "diagnosis", "dx", "emotion", "level", "y",
)  # fmt: skip
"""Names of columns of labels, without case and punctuation, by falling preference."""
_SPLITS = ("split", "usage", "subset", "set", "partition", "phase", "datasplit", "dataset")
_PROBED = 20


@dataclass(frozen=True, eq=False)
class Listing:
    """Files and labels of a table, row by row.

    Attributes:
        files: Of every row, None where ``splits`` leaves it out.
        labels: As they stand in the table: texts, numbers, None, or one-hot rows as an array.
        splits: The split of every row, or None where the table has no such column.
        notes: Which columns were taken.
    """

    files: list[Path]
    labels: Any
    splits: list[str | None] | None
    notes: tuple[str, ...]


class Places:
    """Where files that a table names are looked for: in some folders and in what lies directly in these.

    Args:
        folders: In the order they are tried, each before what lies in it.
        root: Files must lie in it; None: anywhere, as for a table that the caller made.
        also: Folders tried last, without what lies in them.
    """

    def __init__(self, folders: Sequence[Path], root: Path | None, also: Sequence[Path] = ()) -> None:
        inner = [sub for folder in folders for sub in shown(folder) if sub.is_dir()]
        self.root = None if root is None else own_folder(root)
        self.bases = list(dict.fromkeys([*folders, *inner, *also]))
        self.endings = ["", *sorted(ENDINGS), *(ending.upper() for ending in sorted(ENDINGS))]

    def find(self, text: object) -> Path | None:
        """The file that ``text`` names, with or without its ending, or None."""
        name = str(text).replace("\\", "/").strip()
        if not name or "\0" in name or len(name) > 1024:
            return None
        endings = [""] if Path(name).suffix.lower() in ENDINGS else self.endings
        for ending in endings:
            for base in self.bases:
                path = base / f"{name}{ending}"
                if path.is_file() and path.suffix.lower() in ENDINGS:
                    if self.root is not None:
                        within(path, self.root)
                    self._first(base, ending)
                    return path
        return None

    def _first(self, base: Path, ending: str) -> None:
        """What has served is tried first."""
        if self.bases[0] != base:
            self.bases.remove(base)
            self.bases.insert(0, base)
        if ending and self.endings[0] != ending:
            self.endings.remove(ending)
            self.endings.insert(0, ending)


def file_column(table: Table, places: Places, asked: str | None) -> str | None:
    """The column that names files, or None where none does."""
    if asked is not None:
        if asked not in table.columns:
            raise DataError(
                f"{table.name} has no column {asked!r}: its columns are {some(list(table.columns))}"
            )
        return asked
    others = [name for name in table.columns if name not in table.find(_FILES)]
    for name in [*table.find(_FILES), *others]:
        probed = [
            value for value in table.columns[name][:_PROBED] if isinstance(value, str | int | os.PathLike)
        ]
        if any(places.find(value) is not None for value in probed):
            return name
    return None


def understand_listing(table: Table, places: Places, image: str | None, target: str | None) -> Listing:
    """Files and labels of ``table``.

    Args:
        table: One row an image.
        places: Where its files are.
        image: The column of files, where the caller says so.
        target: The column of labels, where the caller says so.

    Raises:
        DataError: A column cannot be told, or a file is missing.
    """
    column = file_column(table, places, image)
    if column is None:
        what = table.name if table.name.startswith("the ") else f"the file {table.name}"
        raise DataError(
            f"{what} holds no data set known here: it names no image file that lies beside it; expected a "
            f"column of paths to images (its columns are {some(list(table.columns))}), relative to its "
            "own folder"
        )
    splits, split_name = split_column(table)
    labels, how = _labels(table, column, split_name, target)
    files, missing = [], []
    for value in table.columns[column]:
        path = None if value is None else places.find(value)
        if path is None:
            missing.append(value)
        else:
            files.append(path)
    if missing:
        raise DataError(
            f"{table.name}, column {column!r}: {len(missing)} of {len(table)} files are missing, the first "
            f"{missing[0]!r}: put them beside the table, or take the rows out"
        )
    notes = [f"files are column {column!r} of {Path(table.name).name!r}, labels {how}"]
    if split_name is not None:
        notes.append(f"splits are its column {split_name!r}")
    return Listing(files, labels, splits, tuple(notes))


def split_column(table: Table) -> tuple[list[str | None] | None, str | None]:
    """The split of every row and the column that says so, or None where no column does."""
    for name in table.find(_SPLITS):
        values = table.columns[name]
        distinct = {value for value in values if isinstance(value, str)}
        chosen = assign(distinct, f"{table.name}, column {name!r}") if len(distinct) < 20 else {}
        if "train" in chosen:
            by_value = {value: split for split, value in chosen.items()}
            return [by_value.get(value) for value in values], name
    return None, None


def column_of_labels(table: Table, image: str, asked: str | None) -> Any:
    """Labels of every row of a table whose images are column ``image``."""
    return _labels(table, image, None, asked)[0]


def _labels(table: Table, file: str, split: str | None, asked: str | None) -> tuple[Any, str]:
    """Labels of every row and how they were found; numbers written as text are numbers."""
    rest = [name for name in table.columns if name not in (file, split)]
    if asked is not None and asked not in table.columns:
        raise DataError(
            f"{table.name} has no column {asked!r}: its columns are {some(list(table.columns))}"
        )
    usual = [name for name in table.find(LABELS) if name in rest]
    name = asked or (
        usual[0] if usual else rest[0] if len(rest) == 1 or (not table.headed and rest) else None
    )
    if name is not None:
        return numbers(table.columns[name]), f"column {name!r}"
    if not rest:
        return [None] * len(table), "nowhere"
    marks = [numbers(table.columns[name]) for name in rest]
    if all(value in (0, 1) for column in marks for value in column):
        rows = np.asarray(marks, dtype=np.int64).T
        names = np.asarray(rest, dtype=object)
        odd = np.flatnonzero(rows.sum(1) != 1)
        if len(odd):
            raise DataError(
                f"{table.name}: row {int(odd[0]) + 1} marks {int(rows[odd[0]].sum())} of the columns "
                f"{some(rest, 4)}: several labels an image (multi-label) or none are not for this: "
                "classification only; give target_column, one column of labels"
            )
        return names[rows.argmax(1)].tolist(), f"the column that is 1 of {some(rest, 4)} (one-hot)"
    raise DataError(
        f"{table.name}: give target_column, the column of labels; its columns are "
        f"{some(list(table.columns))}"
    )


def numbers(values: list[Any]) -> list[Any]:
    """``values`` as whole numbers where all that are there are written so, else as they are."""
    made: list[Any] = []
    for value in values:
        if value is None or isinstance(value, int):
            made.append(value)
            continue
        if isinstance(value, str) and value[:1] == "0" and value.isdigit() and len(value) > 1:
            return values  # what begins with a zero is a name
        try:
            number = float(value)
        except (TypeError, ValueError):
            return values
        made.append(int(number) if number.is_integer() else number)
    return made
