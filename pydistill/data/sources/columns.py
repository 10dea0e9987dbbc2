"""Tables of the library ``datasets`` to splits: which columns hold images and targets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources import cells
from pydistill.data.sources.base import Options, Raw
from pydistill.data.sources.column_choice import Chosen, choose
from pydistill.data.sources.dense import Dense
from pydistill.data.sources.dense_columns import read_masks, read_objects
from pydistill.data.sources.labels import some, understand
from pydistill.data.sources.names import assign
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixels import decode, from_array
from pydistill.errors import DataError


def convert(
    name: str,
    found: Mapping[str, Any],
    options: Options,
    hints: tuple[str, ...] = (),
    folders: tuple[str, ...] = (),
    roots: tuple[Path, ...] = (),
    beside: Path | None = None,
) -> Raw:
    """Splits of ``datasets.Dataset`` tables; ``hints`` and ``folders`` as in :class:`Raw`.

    Where a column of images names files, these are read from ``roots`` only, see :func:`read_inside`.
    ``beside`` is a folder that may name the values of masks, see :func:`names_beside`.

    Raises:
        DataError: No split is the training split, a column cannot be told, or a value is no image or no
            target.
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
    columns = choose(name, sets["train"].features, options)
    notes += columns.notes
    for split, table in sets.items():
        if columns.image not in table.features:
            raise DataError(
                f"{name}: the {split} split has no column {columns.image!r}, only "
                f"{cells.shown(table.features)}"
            )
    info = getattr(sets["train"], "info", None)
    told = [getattr(info, part, None) for part in ("dataset_name", "builder_name")]
    hints = (*hints, *(str(each) for each in told if each))
    if columns.task == "segmentation":
        made = read_masks(name, sets, columns, options, roots, (name, *hints, *folders[:2]), beside)
    elif columns.task == "detection":
        made = read_objects(name, sets, columns, options, roots)
    else:
        made = _classes(name, sets, columns, options, roots)
    return Raw.of(
        name,
        made.task,
        made.splits,
        (*notes, *made.notes),
        named=made.named,
        origins={split: f"split {chosen[split]!r}" for split in made.splits},
        hints=hints,
        folders=folders,
        blocks=_blocks(sets["train"], options.block_column, f"{name}, train"),
    )


def _classes(
    name: str, sets: Mapping[str, Any], columns: Chosen, options: Options, roots: tuple[Path, ...]
) -> Dense:
    """Splits of images and class labels."""
    labels, names = {}, {}
    for split, table in sets.items():
        present = columns.target in table.features
        labels[split] = cells.values(table, columns.target, f"{name}, {split}") if present else [None]
        names[split] = _names(table.features.get(columns.target))
    learned = understand(labels, options.class_names, names)
    seen = Seen()
    splits = {
        split: Split(_images(sets[split], columns.image, f"{name}, {split}", options, seen, roots), targets)
        for split, targets in learned.targets.items()
    }
    return Dense(learned.task, splits, learned.named, (*seen.notes(), *learned.notes))


def _blocks(table: Any, column: str | None, where: str) -> Tensor | None:
    """(N,) int64: training images with the same value in a column have the same number."""
    if column is None:
        return None
    found = [repr(value) for value in cells.values(table, column, where)]
    numbers = {value: at for at, value in enumerate(dict.fromkeys(found))}
    return torch.tensor([numbers[value] for value in found], dtype=torch.int64)


def _names(kind: Any) -> tuple[str, ...] | None:
    names = getattr(kind, "names", None)
    return None if names is None else tuple(map(str, names))


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


def _images(
    table: Any, column: str, where: str, options: Options, seen: Seen, roots: tuple[Path, ...]
) -> Tensor:
    if cells.holds_files(table.features[column]):
        return decode(cells.encoded(table, column, where, roots), options.size, seen)
    found = cells.array(cells.values(table, column, where), where)
    return from_array(found, options.layout, where)
