"""What every kind of source gives: splits as they are, before anything is held out or normalised."""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from pydistill import tasks
from pydistill.data.real import Split
from pydistill.tasks import Task

TASKS = tuple(tasks.TASKS)
"""What a source may be read for."""


@dataclass(frozen=True)
class Options:
    """How to read a source, where it leaves a choice. None means: found out from the source.

    Attributes:
        image_column: The column of images.
        target_column: The column of targets.
        subset: One of several configurations published under one hub name.
        size: (H, W) every image is brought to: scaled and centre-cropped where images have classes,
            letter-boxed where they have masks or boxes.
        layout: ``"NCHW"`` or ``"NHWC"``, of arrays whose channels cannot be told.
        class_names: One name a class.
        cache: Folder for what ``datasets`` prepares; None: its own.
        task: ``"classification"``, ``"segmentation"`` or ``"detection"``.
        void: Values of masks, or names of classes, that are no class; empty: none is void.
        block_column: The column whose equal values mark images that stay in one split.
    """

    image_column: str | None = None
    target_column: str | None = None
    subset: str | None = None
    size: tuple[int, int] | None = None
    layout: str | None = None
    class_names: tuple[str, ...] | None = None
    cache: Path | None = None
    task: str | None = None
    void: tuple[int | str, ...] | None = None
    block_column: str | None = None

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
        notes: What was decided in reading it, a sentence each.
        named: Whether the class names are the source's own, not mere numbers or the caller's.
        origins: Where each split comes from, as a reader would look for it.
        hints: Other names of the set itself, the most telling first, as of a class of data sets.
        folders: Names of the folders it lies in, nearest first.
        blocks: (N,) int64, the block of each training image, where images of one stay in one split.
    """

    name: str
    task: Task
    train: Split
    validation: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()
    named: bool = False
    origins: Mapping[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    blocks: Tensor | None = None

    @classmethod
    def of(
        cls, name: str, task: Task, splits: Mapping[str, Split], notes: tuple[str, ...], **facts: Any
    ) -> "Raw":
        """A source of the splits ``train`` and, where there are any, ``validation`` and ``test``."""
        parts = (splits["train"], splits.get("validation"), splits.get("test"))
        return cls(name, task, *parts, notes, **facts)

    def splits(self) -> dict[str, Split]:
        """The splits there are, by name."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}


class Source(ABC):
    """One kind of source.

    Class attributes:
        understands: One line, shown where a source is not understood.
        takes: The :class:`Options` that mean something to it, beside ``size`` and ``task``.
        tasks: What it may be read for.
        part_of: Names of other kinds that look at its files themselves.
        yields: Whether a data set in a folder within goes before it.
    """

    understands: ClassVar[str]
    takes: ClassVar[frozenset[str]] = frozenset()
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    part_of: ClassVar[frozenset[str]] = frozenset()
    yields: ClassVar[bool] = False

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
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, a user unknown
        return None


def source_name(path: Path) -> str:
    """What to call a data set that lies at ``path``: its own folder rather than one of a general name.

    Within the hub's cache (``datasets--owner--name/snapshots/...``) it is ``owner/name``.
    """
    parts = path.resolve().parts
    cached = next((part for part in reversed(parts) if part.startswith("datasets--")), None)
    if cached is not None:
        return cached.removeprefix("datasets--").replace("--", "/")
    return path.resolve().stem if path.is_file() else path.resolve().name


def surroundings(path: Path) -> tuple[str, ...]:
    """The names of the folders that ``path`` lies in, nearest first, itself included."""
    found = (*reversed(path.absolute().parts), *reversed(path.resolve().parts))
    return tuple(dict.fromkeys(part for part in found if part.strip("/")))
