"""What every kind of source gives: splits as they are, before anything is held out or normalised."""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pydistill.data.real import Split
from pydistill.errors import DataError
from pydistill.tasks import Classification, Task


@dataclass(frozen=True)
class Options:
    """How to read a source, where it leaves a choice. None means: found out from the source.

    Attributes:
        image_column: The column of images.
        target_column: The column of targets.
        subset: One of several configurations published under one hub name.
        size: (H, W) every image is scaled and centre-cropped to.
        layout: ``"NCHW"`` or ``"NHWC"``, of four-dimensional arrays.
        class_names: One name a class.
        cache: Folder for what ``datasets`` prepares; None: its own.
    """

    image_column: str | None = None
    target_column: str | None = None
    subset: str | None = None
    size: tuple[int, int] | None = None
    layout: str | None = None
    class_names: tuple[str, ...] | None = None
    cache: Path | None = None

    def given(self) -> set[str]:
        """Names of the options that are not None."""
        return {f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None}


@dataclass(frozen=True, eq=False)
class Raw:
    """A source as it is.

    Attributes:
        name: A short name for it.
        task: What a target is.
        train: Training images.
        validation: A validation split of the source's own, or None.
        test: A test split of the source's own, or None.
        notes: As in :class:`~pydistill.data.real.RealData`.
    """

    name: str
    task: Task
    train: Split
    validation: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()

    def splits(self) -> dict[str, Split]:
        """The splits there are, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}


class Source(ABC):
    """One kind of source.

    Class attributes:
        understands: One line, shown where a source is not understood.
        takes: The :class:`Options` that mean something to it, beside ``size``.
    """

    understands: ClassVar[str]
    takes: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def recognises(self, source: object) -> bool:
        """Whether ``source`` is of this kind; cheap, reads no images."""

    @abstractmethod
    def read(self, source: object, options: Options) -> Raw:
        """Read all of it.

        Raises:
            DataError: It is damaged, or holds what cannot be used; the message names the part.
        """


def as_path(source: object) -> Path | None:
    """The existing file or folder that ``source`` names, or None."""
    if not isinstance(source, str | os.PathLike):
        return None
    path = Path(source).expanduser()
    return path if path.exists() else None


def class_indices(
    labels: Mapping[str, npt.NDArray[Any]], class_names: tuple[str, ...] | None
) -> tuple[dict[str, Tensor], Task]:
    """Labels of every split as int64 class indices, and the task they make.

    Integers must already run from 0 to K - 1. Texts are class names, numbered in ``class_names``' order
    or else in sorted order.

    Raises:
        DataError: Labels are of another type or shape, or unknown to ``class_names``, or have gaps.
    """
    for split, values in labels.items():
        if values.ndim != 1 or values.dtype.kind not in "iubUSO":
            raise DataError(
                f"{split}: expected one integer or text a label, found shape {values.shape}, {values.dtype}"
            )
    if any(values.dtype.kind in "USO" for values in labels.values()):
        return _from_names(labels, class_names)
    found = sorted({int(value) for values in labels.values() for value in np.unique(values)})
    count = len(class_names) if class_names is not None else (found[-1] + 1 if found else 0)
    gaps = class_names is None and found != list(range(count))
    if gaps or (found and not 0 <= found[0] <= found[-1] < count):
        raise DataError(
            f"labels must be numbered 0 to {count - 1 if class_names else 'K - 1'} without gaps, found "
            f"{_some(found)}: renumber them, or give the labels as texts"
        )
    names = class_names or tuple(str(value) for value in found)
    targets = {split: torch.from_numpy(values.astype(np.int64)) for split, values in labels.items()}
    return targets, Classification(names)


def _from_names(
    labels: Mapping[str, npt.NDArray[Any]], class_names: tuple[str, ...] | None
) -> tuple[dict[str, Tensor], Task]:
    texts = {split: [_text(value) for value in values.tolist()] for split, values in labels.items()}
    found = sorted({value for values in texts.values() for value in values})
    names = class_names or tuple(found)
    unknown = [value for value in found if value not in names]
    if unknown:
        raise DataError(f"labels {_some(unknown)} are not among the class names {_some(names)}")
    index = {name: at for at, name in enumerate(names)}
    targets = {
        split: torch.tensor([index[value] for value in values], dtype=torch.int64)
        for split, values in texts.items()
    }
    return targets, Classification(names)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _some(values: Sequence[object], most: int = 12) -> str:
    shown = ", ".join(repr(value) for value in values[:most])
    return f"[{shown}{', ...' if len(values) > most else ''}]"
