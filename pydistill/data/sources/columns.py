"""Tables of the library ``datasets`` to splits: which columns hold images and labels."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw
from pydistill.data.sources.inside import read_inside
from pydistill.data.sources.labels import some, understand
from pydistill.data.sources.names import assign
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixels import Encoded, decode, from_array
from pydistill.errors import DataError
from pydistill.extras import need

_LABELS = ("label", "labels")
_LABELS_IN_TURN = ("fine_label", "target", "targets", "class", "cls", "category")
"""Columns of labels, by falling preference, where several are possible; the choice is told."""
_IMAGES = ("image", "images", "img", "picture", "jpg", "jpeg", "png", "webp")
_ROWS = 1000


def convert(
    name: str,
    found: Mapping[str, Any],
    options: Options,
    hints: tuple[str, ...] = (),
    folders: tuple[str, ...] = (),
    roots: tuple[Path, ...] = (),
) -> Raw:
    """Splits of ``datasets.Dataset`` tables; ``hints`` and ``folders`` as in :class:`Raw`.

    Where a column of images names files, these are read from ``roots`` only, see :func:`read_inside`.

    Raises:
        DataError: No split is the training split, a column cannot be told, or a value is no image or label.
    """
    whole = {str(title): table for title, table in found.items()}
    chosen = assign(whole, name)
    if "train" not in chosen:
        raise DataError(f"{name}: expected a split named train, found {', '.join(whole)}")
    spare = sorted(set(whole) - set(chosen.values()))
    notes = [f"splits that are not used: {some(spare)}"] if spare else []
    sets = {split: _whole(whole[title], title, name) for split, title in chosen.items()}
    formats = {split: getattr(table, "format", {}).get("type") for split, table in sets.items()}
    if "custom" in formats.values():
        notes.append(
            "transforms set on the data set are not applied: its images are read as they are stored"
        )
    image, target, why = _columns(name, sets["train"].features, options)
    notes += why
    labels, names = {}, {}
    for split, table in sets.items():
        if image not in table.features:
            raise DataError(
                f"{name}: the {split} split has no column {image!r}, only {_shown(table.features)}"
            )
        labels[split] = _labels(table, target, f"{name}, {split}")
        names[split] = _names(table.features.get(target))
    learned = understand(labels, options.class_names, names)
    seen = Seen()
    splits = {
        split: Split(_images(sets[split], image, f"{name}, {split}", options, seen, roots), targets)
        for split, targets in learned.targets.items()
    }
    info = getattr(sets["train"], "info", None)
    told = [getattr(info, part, None) for part in ("dataset_name", "builder_name")]
    return Raw.of(
        name,
        learned.task,
        splits,
        (*notes, *seen.notes(), *learned.notes),
        named=learned.named,
        origins={split: f"split {chosen[split]!r}" for split in splits},
        hints=(*hints, *(str(each) for each in told if each)),
        folders=folders,
    )


def _whole(table: Any, title: str, name: str) -> Any:
    """``table``, unless it is streamed."""
    if not hasattr(table, "__len__"):
        raise DataError(
            f"{name}, {title}: a streaming data set has no length: load it without streaming=True, or "
            "make a table of what you need, datasets.Dataset.from_list(list(stream.take(n)), "
            "features=stream.features)"
        )
    if not hasattr(table, "features"):
        raise DataError(f"{name}, {title}: expected one table a split, found {type(table).__name__}")
    return table


def _shown(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{column} ({type(kind).__name__})" for column, kind in features.items())


def _columns(name: str, features: Mapping[str, Any], options: Options) -> tuple[str, str, list[str]]:
    from datasets import ClassLabel, Image

    present, notes = _shown(features), []
    for option, column in (
        ("image_column", options.image_column),
        ("target_column", options.target_column),
    ):
        if column is not None and column not in features:
            raise DataError(f"{name}: {option}={column!r} is not among its columns: {present}")
    images = [column for column, kind in features.items() if isinstance(kind, Image)]
    images = images or [column for column in _IMAGES if column in features and _may_hold(features[column])]
    image = options.image_column or (images[0] if len(images) == 1 else None)
    if image is None or not _may_hold(features[image]):
        raise DataError(f"{name}: give image_column, one column of images; its columns are {present}")
    labels = [column for column, kind in features.items() if isinstance(kind, ClassLabel)]
    usual = [column for column in _LABELS if column in features]
    target = options.target_column or next(iter(usual or (labels if len(labels) < 2 else [])), None)
    if target is None:
        target = next(
            (column for column in _LABELS_IN_TURN if column in features and column != image), None
        )
    if target is None:
        raise DataError(
            f"{name}: give target_column, the column of class labels; its columns are {present}"
        )
    others = [column for column in labels if column != target]
    if others and options.target_column is None:
        notes.append(f"labels are column {target!r}; {some(others)} may be had by target_column=")
    return image, target, notes


def _may_hold(kind: Any) -> bool:
    """Whether a column of this type may hold images: pictures, encoded bytes, arrays."""
    from datasets import Image

    if isinstance(kind, Image):
        return True
    if isinstance(kind, Mapping):
        return "bytes" in kind
    name = type(kind).__name__
    return name in ("List", "LargeList", "Sequence", "Array2D", "Array3D") or (
        isinstance(kind, list) or getattr(kind, "dtype", None) in ("binary", "large_binary")
    )


def _names(kind: Any) -> tuple[str, ...] | None:
    names = getattr(kind, "names", None)
    return None if names is None else tuple(map(str, names))


def _labels(table: Any, column: str, where: str) -> Any:
    if column not in table.features:
        return [None]
    return _values(table.select_columns([column]).with_format("arrow")[:], column, where)


def _values(table: Any, column: str, where: str) -> list[Any]:
    """A column of an Arrow table as Python values, once it is found whole: reading damaged ones crashes.

    Raises:
        DataError: It is damaged.
    """
    pyarrow = need("pyarrow", f"{where}, to be read,", "hub")
    try:
        found = table.column(column)
        found.validate(full=True)
        values: list[Any] = found.to_pylist()
    except (pyarrow.ArrowException, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise DataError(f"{where}: column {column!r} is damaged: {error}") from error
    return values


def _images(
    table: Any, column: str, where: str, options: Options, seen: Seen, roots: tuple[Path, ...]
) -> Tensor:
    from datasets import Image

    rows = table.select_columns([column])
    kind = table.features[column]
    if isinstance(kind, Image):
        rows = rows.cast_column(column, Image(decode=False))
    elif not isinstance(kind, Mapping) and getattr(kind, "dtype", None) not in ("binary", "large_binary"):
        return _arrays(_values(rows.with_format("arrow")[:], column, where), where, options)
    return decode(_encoded(rows.with_format("arrow"), column, where, roots), options.size, seen)


def _arrays(values: list[Any], where: str, options: Options) -> Tensor:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{where}: images given as lists differ in size: {error}") from error
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where}: images given as lists differ in size, or a row holds none")
    return from_array(array, options.layout, where)


def _encoded(rows: Any, column: str, where: str, roots: tuple[Path, ...]) -> Iterator[Encoded]:
    at = 0
    for table in rows.iter(batch_size=_ROWS):
        for value in _values(table, column, where):
            value = {"bytes": value} if isinstance(value, bytes) else value
            title = f"{where}, row {at}" + (f" ({value['path']})" if value and value.get("path") else "")
            yield title, _content(value, title, roots)
            at += 1


def _content(value: Any, title: str, roots: tuple[Path, ...]) -> bytes:
    if value and value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value and value.get("path"):
        return read_inside(value["path"], roots, title)
    raise DataError(f"{title} holds no image")
