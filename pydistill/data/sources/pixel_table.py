"""Tables whose rows are images: a label and a column a pixel, or a column of all pixels as text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pydistill.data.sources.labels import some
from pydistill.data.sources.listing import numbers
from pydistill.data.sources.tables import Table, delimiter_of, parse
from pydistill.errors import DataError
from pydistill.limits import require_bytes

_LABELS = ("label", "labels", "class", "classid", "target", "y", "emotion", "digit", "0")
_NUMBERING = ("id", "index", "idx", "imageid", "unnamed0", "")
"""Columns that count the rows."""
_LINE = 10_000_000
"""Most characters of a row."""
_FEWEST = 16
"""Pixels below which a row of numbers is no image."""


@dataclass(frozen=True, eq=False)
class PixelTable:
    """Images and labels of a table.

    Attributes:
        name: What it is called in a message.
        images: (N, H, W), or (N, H, W, 3) where a layout says that rows hold colours.
        labels: Of every row, None where the table has none.
    """

    name: str
    images: npt.NDArray[Any]
    labels: list[Any]


def pixel_columns(table: Table) -> list[str] | None:
    """The columns of pixels, the one column of them as text, or None where rows are no images."""
    text = table.find(("pixels", "pixel", "image", "pixelvalues"))
    for name in text:
        first = next((value for value in table.columns[name] if value is not None), None)
        if isinstance(first, str) and len(first.split()) >= _FEWEST and _are_numbers(first.split()):
            return [name]
    if len(table.columns) < _FEWEST:
        return None
    row = {name: next(iter(column), None) for name, column in table.columns.items()}
    number = [name for name, value in row.items() if _are_numbers([value])]
    others = {*table.find(_LABELS)[:1], *table.find(_NUMBERING)}
    return [name for name in number if name not in others] if len(number) >= _FEWEST else None


def read_pixels(path: Path, layout: str | None, target: str | None) -> PixelTable | None:
    """Images and labels of a file of numbers alone, a column a pixel; None for other tables.

    Raises:
        DataError: A field is no number, or rows make no square image.
    """
    if path.suffix.lower() not in (".csv", ".tsv"):
        return None
    try:
        with path.open(encoding="utf-8-sig") as handle:
            text = handle.readline(_LINE) + handle.readline(_LINE)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    if not text.strip():
        return None
    head = parse(path, text)
    columns = pixel_columns(head)
    first = [values[0] if values else None for values in head.columns.values()]
    if columns is None or len(columns) == 1 or not _are_numbers(first):
        return None
    require_bytes(2 * path.stat().st_size, str(path))
    try:
        rows = np.loadtxt(
            path,
            dtype=np.float32,
            delimiter=delimiter_of(text),
            skiprows=int(head.headed),
            ndmin=2,
            encoding="utf-8-sig",
            quotechar='"',
            comments=None,
        )
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: pixels must be numbers, as many in every row: {error}") from error
    label = _label_column(head, columns, target)
    names = list(head.columns)
    pixels = [at for at, name in enumerate(names) if name in columns and name != label]
    labels = [None] * len(rows) if label is None else numbers(rows[:, names.index(label)].tolist())
    return PixelTable(str(path), _shaped(rows[:, pixels], layout, str(path)), labels)


def understand_pixels(
    table: Table, columns: Sequence[str], layout: str | None, target: str | None
) -> PixelTable:
    """Images and labels.

    Raises:
        DataError: A pixel is no number, or rows make no square image.
    """
    label = _label_column(table, columns, target)
    pixels = [name for name in columns if name != label]
    labels = [None] * len(table) if label is None else numbers(table.columns[label])
    try:
        if len(columns) == 1:
            rows = np.asarray([str(value).split() for value in table.columns[columns[0]]], dtype=np.float64)
        else:
            rows = np.asarray([table.columns[name] for name in pixels], dtype=np.float64).T
    except (ValueError, TypeError) as error:
        raise DataError(f"{table.name}: pixels must be numbers, as many in every row: {error}") from error
    if rows.ndim != 2:
        raise DataError(f"{table.name}: rows hold no pixels")
    return PixelTable(table.name, _shaped(rows, layout, table.name), labels)


def _label_column(table: Table, columns: Sequence[str], target: str | None) -> str | None:
    """The column of labels; of a table without names the first, where the others make a square."""
    if target is not None and target not in table.columns:
        raise DataError(
            f"{table.name} has no column {target!r}: its columns are {some(list(table.columns))}"
        )
    if target is not None:
        return target
    found = [name for name in table.find(_LABELS) if table.headed or _makes_square(len(columns))]
    return next(iter(found), None)


def _makes_square(width: int) -> bool:
    return math.isqrt(width) ** 2 == width or (width % 3 == 0 and math.isqrt(width // 3) ** 2 * 3 == width)


def _shaped(rows: npt.NDArray[Any], layout: str | None, where: str) -> npt.NDArray[Any]:
    width = rows.shape[1]
    side = math.isqrt(width)
    whole = bool((rows == np.floor(rows)).all()) if rows.size else True
    values: npt.NDArray[Any] = rows.astype(np.int64) if whole else rows.astype(np.float32)
    if side * side == width:
        return values.reshape(len(rows), side, side)
    side = math.isqrt(width // 3)
    if side * side * 3 != width:
        raise DataError(
            f"{where}: {width} pixels a row make no square image, grey or of three colours: give the "
            "images as arrays"
        )
    if layout is None:
        raise DataError(
            f"{where}: {width} pixels a row are {side} x {side} colours, in one of two orders: give "
            'layout="NHWC" (red, green, blue of each pixel) or layout="NCHW" (all of red first)'
        )
    if layout == "NHWC":
        return values.reshape(len(rows), side, side, 3)
    return values.reshape(len(rows), 3, side, side).transpose(0, 2, 3, 1)


def _are_numbers(values: Sequence[Any]) -> bool:
    try:
        return all(value is not None and math.isfinite(float(value)) for value in values)
    except (TypeError, ValueError):
        return False
