"""Masks and boxes of tables of the library ``datasets``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydistill.data.sources import cells
from pydistill.data.sources.base import Options
from pydistill.data.sources.boxes import Objects, understand_boxes
from pydistill.data.sources.column_choice import Chosen, ObjectColumns
from pydistill.data.sources.dense import Dense, dense_splits
from pydistill.data.sources.letterbox import Size
from pydistill.data.sources.mask_classes import understand_masks
from pydistill.data.sources.mask_names import names_beside
from pydistill.data.sources.masks import MaskSplit, Values, decode_masks, from_arrays
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixels import decode_whole, from_array, letterboxed
from pydistill.errors import DataError


def read_masks(
    name: str,
    sets: Mapping[str, Any],
    chosen: Chosen,
    options: Options,
    roots: tuple[Path, ...],
    called: Sequence[str],
    beside: Path | None,
) -> Dense:
    """Splits of images and masks; those without any masks are left out.

    Args:
        name: Of the source, for messages.
        sets: A table a split.
        chosen: Which columns.
        options: As the caller gave them.
        roots: Where files that columns name may lie.
        called: Names of the source.
        beside: A folder that may name the classes, see :func:`names_beside`.

    Raises:
        DataError: An image or mask cannot be read, or they do not fit each other.
    """
    values, seen, notes = Values(), Seen(), []
    images: dict[str, Tensor] = {}
    shapes: dict[str, Sequence[Size]] = {}
    masks: dict[str, MaskSplit] = {}
    kind = sets["train"].features[chosen.target]
    for split, table in sets.items():
        where = f"{name}, {split}"
        if cells.is_empty(table, chosen.target):
            if split == "train":
                raise DataError(f"{where}: no image has a mask: give the masks of the training images")
            notes.append(f"the {split} split of the source has no masks: it is left out")
            continue
        images[split], shapes[split] = _images(table, chosen.image, where, options, seen, roots)
        if cells.holds_files(kind):
            encoded = cells.encoded(table, chosen.target, where, roots)
            masks[split] = decode_masks(encoded, shapes[split], options.size, values)
        else:
            grids = cells.values(table, chosen.target, where)
            titles = [f"{where}, row {at}" for at in range(len(grids))]
            masks[split] = from_arrays(grids, titles, shapes[split], options.size, values)
    own = cells.names_of(kind)
    named, said = (dict(enumerate(own)), ()) if own is not None else names_beside(beside)
    found = understand_masks(masks, values, options, named, called)
    return dense_splits(images, found, (*notes, *said, *seen.notes()), shapes, options.size)


def read_objects(
    name: str, sets: Mapping[str, Any], chosen: Chosen, options: Options, roots: tuple[Path, ...]
) -> Dense:
    """Splits of images and boxes; those without any objects are left out. Arguments as above."""
    assert chosen.objects is not None
    where, seen = chosen.objects, Seen()
    images: dict[str, Tensor] = {}
    shapes: dict[str, Sequence[Size]] = {}
    objects: dict[str, list[Objects]] = {}
    notes = []
    for split, table in sets.items():
        title = f"{name}, {split}"
        if any(column not in table.features for column in where.columns):
            notes.append(f"the {split} split of the source has no objects: it is left out")
            continue
        images[split], shapes[split] = _images(table, chosen.image, title, options, seen, roots)
        objects[split] = list(_objects(table, where, title))
    names = {split: cells.names_of(_kind(sets[split].features, where)) for split in objects}
    found = understand_boxes(objects, shapes, options, names)
    return dense_splits(images, found, (*notes, *seen.notes()), shapes, options.size)


def _kind(features: Mapping[str, Any], where: ObjectColumns) -> Any:
    """The type of a split's own categories."""
    if where.column is None:
        return features[where.labels]
    kind = features[where.column]
    fields = kind if isinstance(kind, Mapping) else cells.item_of(kind)
    return fields.get(where.labels) if isinstance(fields, Mapping) else None


def _objects(table: Any, where: ObjectColumns, title: str) -> list[Objects]:
    parts = (where.boxes, where.labels, where.crowds)
    if where.column is None:
        columns = [
            [None] * len(table) if part is None else cells.values(table, part, title) for part in parts
        ]
        rows = [dict(zip(parts, row, strict=True)) for row in zip(*columns, strict=True)]
    else:
        rows = cells.values(table, where.column, title)
    made = []
    for at, row in enumerate(rows):
        if isinstance(row, list):
            row = {part: [each[part] for each in row] for part in parts if part is not None}
        boxes, labels, crowds = ((row or {}).get(part) or () for part in parts)
        made.append(Objects(f"{title}, row {at}", boxes, labels, crowds))
    return made


def _images(
    table: Any, column: str, where: str, options: Options, seen: Seen, roots: tuple[Path, ...]
) -> tuple[Tensor, list[Size]]:
    """Images of a column, whole, and the size that each had."""
    if cells.holds_files(table.features[column]):
        return decode_whole(cells.encoded(table, column, where, roots), options.size, seen)
    found = from_array(cells.array(cells.values(table, column, where), where), options.layout, where)
    shapes = [(found.shape[2], found.shape[3])] * len(found)
    if options.size is None:
        return found, shapes
    return torch.cat([letterboxed(part, options.size) for part in torch.split(found, 1024)]), shapes
