"""Cells of tables of the library ``datasets``: values of a column, encoded images, names of classes."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pydistill.data.sources.inside import read_inside
from pydistill.data.sources.pixels import Encoded
from pydistill.errors import DataError
from pydistill.extras import need

_ROWS = 1000


def shown(features: Mapping[str, Any]) -> str:
    """Columns and their types, as a message shows them."""
    return ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())


def names_of(kind: Any) -> tuple[str, ...] | None:
    """The class names of a column's type, at any depth of lists; None where it has none."""
    while (inner := item_of(kind)) is not None:
        kind = inner
    names = getattr(kind, "names", None)
    return None if names is None else tuple(map(str, names))


def item_of(kind: Any) -> Any:
    """The type of the items of a column of lists; None where it is no such column."""
    if isinstance(kind, list):
        return kind[0] if len(kind) == 1 else None
    return getattr(kind, "feature", None)


def values(table: Any, column: str, where: str) -> list[Any]:
    """A column of a table as Python values.

    Raises:
        DataError: It is damaged.
    """
    return from_arrow(table.select_columns([column]).with_format("arrow")[:], column, where)


def from_arrow(table: Any, column: str, where: str) -> list[Any]:
    """A column of an Arrow table as Python values, once it is found whole: reading damaged ones crashes.

    Raises:
        DataError: It is damaged.
    """
    pyarrow = need("pyarrow", f"{where}, to be read,", "hub")
    try:
        found = table.column(column)
        found.validate(full=True)
        made: list[Any] = found.to_pylist()
    except (pyarrow.ArrowException, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise DataError(f"{where}: column {column!r} is damaged: {error}") from error
    return made


def array(found: list[Any], where: str) -> npt.NDArray[Any]:
    """Images given as lists, as one array.

    Raises:
        DataError: They differ in size, or hold other things than numbers.
    """
    try:
        made = np.asarray(found)
    except ValueError as error:
        raise DataError(f"{where}: images given as lists differ in size: {error}") from error
    if made.dtype.kind not in "iuf":
        raise DataError(f"{where}: images given as lists differ in size, or a row holds none")
    return made


def is_empty(table: Any, column: str) -> bool:
    """Whether no row has a value in a column, or there is no such column."""
    if column not in table.features:
        return True
    rows = table.select_columns([column]).with_format("arrow")
    return all(part.column(column).null_count == len(part) for part in rows.iter(batch_size=_ROWS))


def holds_files(kind: Any) -> bool:
    """Whether a column of this type holds encoded images, rather than arrays."""
    from datasets import Image

    return isinstance(kind, Image | Mapping) or getattr(kind, "dtype", None) in ("binary", "large_binary")


def encoded(table: Any, column: str, where: str, roots: tuple[Path, ...]) -> Iterator[Encoded]:
    """Name and content of every image of a column, none decoded; files that it names lie in ``roots``.

    Raises:
        DataError: A row holds no image, or names a file that may not be read.
    """
    from datasets import Image

    rows = table.select_columns([column])
    if isinstance(table.features[column], Image):
        rows = rows.cast_column(column, Image(decode=False))
    at = 0
    for part in rows.with_format("arrow").iter(batch_size=_ROWS):
        for value in from_arrow(part, column, where):
            value = {"bytes": value} if isinstance(value, bytes) else value
            title = f"{where}, row {at}" + (f" ({value['path']})" if value and value.get("path") else "")
            yield title, _content(value, column, title, roots)
            at += 1


def _content(value: Any, column: str, title: str, roots: tuple[Path, ...]) -> bytes:
    if value and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value and value.get("path"):
        return read_inside(value["path"], roots, title)
    raise DataError(f"{title} holds no image in column {column!r}")
