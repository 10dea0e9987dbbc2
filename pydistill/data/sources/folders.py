"""Folders of image files, one folder a class."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path
from pydistill.data.sources.pixels import decode
from pydistill.errors import DataError
from pydistill.tasks import Classification

_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})
_SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


class ImageFolder(Source):
    """``root/class/*.png``, or ``root/train/class/*.png`` with ``root/test`` and ``root/val`` likewise.

    Classes are numbered in the order of their folders' names (as numbers where all are); files count at
    any depth below.
    """

    understands: ClassVar[str] = (
        "a folder of images (root/class/*.png, or root/train/class/*.png and root/test/...)"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and next(_pictures(path, "*/*"), None) is not None

    def read(self, source: object, options: Options) -> Raw:
        root = as_path(source)
        assert root is not None
        inside = {folder.name: folder for folder in _subfolders(root)}
        whole = "train" not in inside or not set(inside) <= set(_SPLITS)
        roots = {"train": root} if whole else {_SPLITS[name]: folder for name, folder in inside.items()}
        names = options.class_names or _in_order([folder.name for folder in _subfolders(roots["train"])])
        splits = {split: _read(folder, names, options) for split, folder in roots.items()}
        return Raw(
            root.resolve().name,
            Classification(names),
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
        )


def _read(root: Path, names: tuple[str, ...], options: Options) -> Split:
    unknown = sorted({folder.name for folder in _subfolders(root)} - set(names))
    if unknown:
        raise DataError(f"{root} has a folder {unknown[0]!r}, but the classes are {', '.join(names)}")
    files = [(index, path) for index, name in enumerate(names) for path in sorted(_pictures(root / name))]
    images: Tensor = decode(((str(path), _content(path)) for _, path in files), options.size)
    return Split(images, torch.tensor([index for index, _ in files], dtype=torch.int64))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path, pattern: str = "*") -> Iterator[Path]:
    return (path for path in folder.rglob(pattern) if path.suffix.lower() in _ENDINGS and path.is_file())


def _in_order(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names))
