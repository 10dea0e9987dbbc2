"""Tables of text: CSV, tab-separated, JSON lines, and data frames; columns by name."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydistill.errors import DataError
from pydistill.limits import require_bytes

ENDINGS = frozenset({".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json"})
"""Endings of files that may be tables."""
_DELIMITERS = ",\t;|"
_COST = 10
"""Bytes of memory that a byte of text takes as fields."""
_FIELD = 10_000_000
"""Most characters of one field: an image's pixels as text."""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length.

    Attributes:
        name: What it is called in a message.
        columns: Values of each column by its name; texts without surrounding space, None where empty.
        headed: Whether the names stand in it; else columns are called ``0``, ``1``, ...
    """

    name: str
    columns: dict[str, list[Any]]
    headed: bool = True

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def find(self, words: tuple[str, ...]) -> list[str]:
        """Names of columns that are one of ``words``, in the words' order, whatever their case."""
        plain = {"".join(filter(str.isalnum, name.lower())): name for name in reversed(self.columns)}
        return [plain[word] for word in words if word in plain]


def read_table(path: Path, is_file: Callable[[str], bool] = lambda text: False) -> Table:
    """A table in a file.

    Args:
        path: Of one of :data:`ENDINGS`.
        is_file: Whether a text names an image; a first row that holds one has no names of columns.

    Raises:
        DataError: It cannot be read, or rows differ in length.
    """
    try:
        require_bytes(_COST * path.stat().st_size, str(path))
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _from_json(path, text)
    return parse(path, text, is_file)


def delimiter_of(text: str) -> str:
    """What separates the fields of a table's first row."""
    first = text.lstrip().partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def parse(path: Path, text: str, is_file: Callable[[str], bool] = lambda text: False) -> Table:
    """A table of separated fields from its text; arguments as of :func:`read_table`.

    Raises:
        DataError: Rows differ in length.
    """
    first, delimiter = text.lstrip().partition("\n")[0], delimiter_of(text)
    if delimiter not in first and path.suffix.lower() == ".txt":
        rows = [line.split() for line in text.splitlines() if line.strip()]
    else:
        rows = _rows(path, text, delimiter)
    if not rows:
        raise DataError(f"{path} is empty")
    headed = not any(_is_number(cell) or is_file(cell) for cell in rows[0])
    names = (
        [cell or f"unnamed {at}" for at, cell in enumerate(rows[0])]
        if headed
        else list(map(str, range(len(rows[0]))))
    )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two columns called {twice!r}: rename one")
    rows = rows[1:] if headed else rows
    odd = next((at for at, row in enumerate(rows) if len(row) != len(names)), None)
    if odd is not None:
        raise DataError(
            f"{path}: row {odd + 1} has {len(rows[odd])} fields, but there are {len(names)} columns: quote "
            "fields that hold the separator"
        )
    cells = [[cell or None for cell in column] for column in zip(*rows, strict=True)] or [[] for _ in names]
    return Table(str(path), dict(zip(names, cells, strict=True)), headed)


def is_frame(source: object) -> bool:
    """Whether ``source`` is a pandas data frame; pandas is not imported for the question."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def from_frame(frame: Any) -> Table:
    """A data frame's columns; what it calls missing is None."""
    columns: dict[str, list[Any]] = {}
    for at, name in enumerate(frame.columns):
        values = frame.iloc[:, at].tolist()
        columns[str(name)] = [None if _is_missing(value) else value for value in values]
    return Table("the data frame", columns)


def _rows(path: Path, text: str, delimiter: str) -> list[list[str]]:
    before = csv.field_size_limit(_FIELD)
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
        )
        return [[cell.strip() for cell in row] for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    finally:
        csv.field_size_limit(before)


def _from_json(path: Path, text: str) -> Table:
    try:
        if path.suffix.lower() == ".json":
            whole = json.loads(text)
            records = (
                [{"file_name": key, "label": value} for key, value in whole.items()]
                if isinstance(whole, dict)
                else whole
            )
        else:
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if (
        not isinstance(records, list)
        or not records
        or not all(isinstance(record, dict) for record in records)
    ):
        raise DataError(
            f"{path} holds no records: expected one JSON object a line, with file_name and label"
        )
    names = dict.fromkeys(str(key) for record in records for key in record)
    columns = {name: [_cell(record.get(name)) for record in records] for name in names}
    return Table(str(path), columns)


def _cell(value: Any) -> Any:
    return (value.strip() or None) if isinstance(value, str) else value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or type(value).__name__
        in (
            "NAType",
            "NaTType",
        )
    )
