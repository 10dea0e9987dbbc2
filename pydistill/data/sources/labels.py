"""Labels of every split, in whatever form they come, to one numbering of classes."""

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pydistill.errors import DataError
from pydistill.tasks import Classification, Task

_LARGEST = 65_534
"""Largest number of a class. Above, numbers are marks or identifiers rather than classes."""
_MARKS = (255, 32_767, 65_535)
"""Numbers that stand for "no label" where all others count up without a gap."""


@dataclass(frozen=True)
class Labelled:
    """Labels that every split agrees on.

    Attributes:
        targets: (N,) int64 class indices of every split that has labels.
        task: The classes.
        named: Whether the class names are the source's own, not mere numbers or the caller's.
        notes: What was mapped or left out, a sentence each.
    """

    targets: dict[str, Tensor]
    task: Task
    named: bool
    notes: tuple[str, ...]


@dataclass
class _Column:
    """One split's labels: codes into ``names``, or plain numbers where there are none."""

    codes: npt.NDArray[np.int64]
    names: tuple[str, ...] | None
    texts: bool = False
    notes: list[str] = field(default_factory=list)


def understand(
    labels: Mapping[str, Any],
    class_names: tuple[str, ...] | None,
    own: Mapping[str, tuple[str, ...] | None] | None = None,
) -> Labelled:
    """One numbering of classes for all splits.

    Integers that run from 0 to K - 1 are taken as they are; from 1 to K, or with gaps, in their order.
    Texts are numbered in ``class_names``' order or else in sorted order. Rows of one 1 among zeros are
    its position. Where splits have names of their own, labels agree by name, not by number. A split other
    than the training split that has no labels at all (-1, None, empty) is left out.

    Args:
        labels: (N,) integers or texts of every split, or (N, K) one-hot rows; training split included.
        class_names: What the caller calls the classes.
        own: What each split calls the classes that its integers number.

    Raises:
        DataError: A label is missing, or they are not one class an image, or splits disagree.
    """
    columns: dict[str, _Column] = {}
    notes: list[str] = []
    for split, values in labels.items():
        column = _column(split, values, None if own is None else own.get(split))
        if column is None and split == "train":
            raise DataError("train: no image has a label: give the labels of the training images")
        if column is None:
            notes.append(f"the {split} split of the source has no labels: it is left out")
        else:
            columns[split] = column
            notes += column.notes
    with_names = [split for split, column in columns.items() if column.names is not None]
    if not with_names:
        found = _numbers(columns, class_names)
    elif len(with_names) < len(columns) and any(columns[split].texts for split in with_names):
        others = next(split for split in columns if split not in with_names)
        raise DataError(
            f"labels of the {with_names[0]} split are texts, of the {others} split numbers: give both alike"
        )
    else:
        found = _by_name(columns, with_names[0], class_names)
    return Labelled(found.targets, found.task, found.named, (*notes, *found.notes))


def _column(split: str, values: Any, own: tuple[str, ...] | None) -> _Column | None:
    """A split's labels, or None where it has none at all."""
    array = as_array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        codes = _one_hot(split, array)
        return _Column(codes, own, notes=[f"the {split} split's labels are one-hot rows: read as classes"])
    if array.ndim != 1 or array.dtype.kind not in "iubfUSO":
        raise DataError(
            f"{split}: expected one integer or text a label, found shape {array.shape}, {array.dtype}: "
            "this is for classification only, one class an image"
        )
    if array.dtype.kind in "iub":
        return _from_integers(split, array, own)
    items = array.tolist()
    missing = [at for at, value in enumerate(items) if _is_missing(value)]
    if missing and len(missing) == len(items):
        return None
    if missing:
        raise DataError(
            f"{split}: row {missing[0]} has no label ({len(missing)} of {len(items)} have none): leave "
            "them out"
        )
    if not items:
        return _Column(np.empty(0, np.int64), own)
    if all(isinstance(value, str | bytes) for value in items):
        return _from_texts(split, items)
    strange = next((value for value in items if not isinstance(value, int | float | np.number)), None)
    if isinstance(strange, list | tuple | dict | set | np.ndarray | Tensor):
        raise DataError(
            f"{split}: a label holds several values ({_short(strange)}): several labels an image "
            "(multi-label) are not for this: classification only, one class an image"
        )
    if strange is not None:
        kinds = sorted({type(value).__name__ for value in items})
        raise DataError(
            f"{split}: expected one integer or text a label, found a {type(strange).__name__} among "
            f"{', '.join(kinds)}"
        )
    odd = next((value for value in items if not float(value).is_integer()), None)
    if odd is not None:
        raise DataError(
            f"{split}: expected an integer or text a label, found {odd!r}: values to regress are not for "
            "this: classification only"
        )
    if max(abs(value) for value in items) > 2**62:
        raise DataError(f"{split}: label {max(items, key=abs)!r} is no class")
    column = _from_integers(split, np.asarray([int(value) for value in items]), own)
    if column is not None and array.dtype.kind == "f":
        column.notes.append(f"the {split} split's labels are whole numbers given as {array.dtype}: read so")
    return column


def _from_integers(split: str, array: npt.NDArray[Any], own: tuple[str, ...] | None) -> _Column | None:
    if len(array) and int(array.max()) > 2**62:
        raise DataError(f"{split}: label {int(array.max())} is no class")
    codes = array.astype(np.int64)
    if len(codes) and bool((codes == -1).all()):
        return None
    if own is not None and len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(own):
        raise DataError(
            f"{split}: labels run from {int(codes.min())} to {int(codes.max())}, but its {len(own)} class "
            f"names are numbered 0 to {len(own) - 1}"
        )
    return _Column(codes, own)


def _from_texts(split: str, items: list[Any]) -> _Column:
    try:
        texts = [value.decode() if isinstance(value, bytes) else str(value) for value in items]
    except UnicodeDecodeError as error:
        raise DataError(f"{split}: a label is text that is not UTF-8: {error}") from error
    names = tuple(sorted(set(texts)))
    index = {name: at for at, name in enumerate(names)}
    return _Column(np.asarray([index[text] for text in texts], np.int64), names, texts=True)


def _one_hot(split: str, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "iubf":
        raise DataError(f"{split}: expected one integer or text a label, found shape {array.shape}")
    marks = array != 0
    if not bool(((array == 0) | (array == 1)).all()):
        raise DataError(
            f"{split}: labels of shape {array.shape} hold other numbers than 0 and 1: probabilities or "
            "values to regress are not for this: classification only, one class an image"
        )
    counts = marks.sum(1)
    if bool((counts != 1).any()):
        row = int((counts != 1).argmax())
        raise DataError(
            f"{split}: row {row} marks {int(counts[row])} classes: several labels an image (multi-label) "
            "or none are not for this: classification only, one class an image"
        )
    codes: npt.NDArray[np.int64] = marks.argmax(1).astype(np.int64)
    return codes


def _numbers(columns: dict[str, _Column], class_names: tuple[str, ...] | None) -> Labelled:
    found = sorted({int(value) for column in columns.values() for value in np.unique(column.codes)})
    _refuse_marks(found)
    notes = []
    first, last = (found[0], found[-1]) if found else (0, -1)
    if class_names is not None:
        shift = 1 if (first, last) == (1, len(class_names)) else 0
        if not shift and found and not 0 <= first <= last < len(class_names):
            raise DataError(
                f"labels must be numbered 0 to {len(class_names) - 1} or 1 to {len(class_names)}, as "
                f"many as class names, found {some(found)}: renumber them, or give the labels as texts"
            )
        order, names = list(range(shift, len(class_names) + shift)), class_names
    else:
        order, names = found, tuple(str(value) for value in found)
    if order and order != list(range(len(order))):
        way = "numbered from 1" if order == list(range(1, len(order) + 1)) else "numbered with gaps"
        notes.append(
            f"labels are {way} ({some(order)}): they are classes 0 to {len(order) - 1} in that order"
        )
    lookup = np.asarray(order, np.int64)
    targets = {
        split: torch.from_numpy(np.searchsorted(lookup, column.codes).astype(np.int64))
        for split, column in columns.items()
    }
    return Labelled(targets, Classification(names), False, tuple(notes))


def _refuse_marks(found: Sequence[int]) -> None:
    """Raise where a number among labels is no class: a mark of images without one, or an identifier."""
    if not found:
        return
    if found[0] < 0 and list(found) != [-1, 1]:
        raise DataError(
            f"labels must not be below 0, found {some(found)}: leave out the images that have no label"
        )
    if found[-1] > _LARGEST:
        raise DataError(
            f"label {found[-1]} is no number of a class (at most {_LARGEST}): leave out images without a "
            "label, or give the labels as texts"
        )
    rest = list(found[:-1])
    counting = rest in (list(range(len(rest))), list(range(1, len(rest) + 1)))
    if found[-1] in _MARKS and rest and counting and found[-1] > len(rest) + 1:
        raise DataError(
            f"label {found[-1]} stands apart from {some(rest)}: such a number marks images without a "
            "label: leave them out, or give the labels as texts"
        )


def _by_name(columns: dict[str, _Column], first: str, class_names: tuple[str, ...] | None) -> Labelled:
    """Classes by name: in the training split's order, or where names are the labels themselves, sorted."""
    notes = []
    leading = columns["train"].names or columns[first].names
    assert leading is not None
    if any(column.texts for column in columns.values()):
        used = {plain(name) for column in columns.values() for name in _used(column)}
        own = {
            plain(name): name
            for column in columns.values()
            if not column.texts
            for name in column.names or ()
        }
        leading = tuple(sorted(used)) if not own else leading
    renamed = class_names is not None and not any(column.texts for column in columns.values())
    if renamed and class_names is not None and set(map(plain, class_names)) != set(map(plain, leading)):
        if len(class_names) != len(leading):
            raise DataError(
                f"{len(class_names)} class names given, but the source has {len(leading)}: {some(leading)}"
            )
        names = class_names
    else:
        leading = names = class_names or leading
    index = {plain(name): at for at, name in enumerate(leading)}
    targets = {}
    for split, column in columns.items():
        own_names = column.names
        if own_names is None:
            notes.append(
                f"the {split} split has numbers without class names: read as the others number them"
            )
            own_names = leading
        unknown = sorted({name for name in _used(column, own_names) if plain(name) not in index})
        if unknown:
            raise DataError(
                f"{split}: labels {some(unknown)} are not among the class names {some(leading)}: rename "
                "them or leave them out"
            )
        if own_names != leading:
            if not column.texts:
                notes.append(
                    f"the {split} split numbers its classes in another way: they are matched by name"
                )
            table = torch.tensor([index.get(plain(name), -1) for name in own_names], dtype=torch.int64)
            targets[split] = table[torch.from_numpy(column.codes)]
        else:
            targets[split] = torch.from_numpy(column.codes)
    return Labelled(targets, Classification(names), class_names is None, tuple(notes))


def _used(column: _Column, names: tuple[str, ...] | None = None) -> list[str]:
    names = column.names if names is None else names
    codes = [int(code) for code in np.unique(column.codes)]
    if names is None:
        return []
    outside = [code for code in codes if not 0 <= code < len(names)]
    if outside:
        raise DataError(f"label {outside[0]} has no name among {some(names)}")
    return [names[code] for code in codes]


def as_array(values: Any) -> npt.NDArray[Any]:
    """Labels as an array; a list of other things than numbers becomes one of objects, nothing converted."""
    if isinstance(values, Tensor):
        plain = values.detach().cpu()
        return (plain.float() if plain.is_floating_point() and plain.itemsize < 4 else plain).numpy()
    if isinstance(values, np.ndarray | np.generic) or not isinstance(values, Iterable):
        return np.asarray(values)
    items = list(values)
    if items and all(isinstance(value, int | np.integer) for value in items):
        return np.asarray(items)
    array = np.empty(len(items), object)
    array[:] = items
    return array


def plain(name: str) -> str:
    """A name in the one form that is compared: composed characters, as some file systems do not have it."""
    return unicodedata.normalize("NFC", name)


def some(values: Sequence[object], most: int = 12) -> str:
    """The first of many values, as a message shows them."""
    shown = ", ".join(repr(value) for value in values[:most])
    return f"[{shown}{', ...' if len(values) > most else ''}]"


def shortened(parts: Sequence[str], most: int = 20) -> list[str]:
    """The first of many parts of a sentence, and how many more there are."""
    return [*parts] if len(parts) <= most else [*parts[:most], f"{len(parts) - most} more"]


def _is_missing(value: object) -> bool:
    return value is None or value in ("", b"") or (isinstance(value, float) and math.isnan(value))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
