"""CIFAR-10 and CIFAR-100 in their binary version: records of a label, or two, and 3,072 bytes of pixels."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name
from pydistill.data.sources.inside import own_folder, read_inside
from pydistill.data.sources.labels import understand
from pydistill.errors import DataError

_PIXELS = 3 * 32 * 32
_COLUMNS = ("coarse_label", "fine_label")


class CifarBinary(Source):
    """A folder ``cifar-10-batches-bin`` or ``cifar-100-binary``.

    Labels of the latter are ``fine_label`` unless ``target_column`` is ``coarse_label``.
    """

    understands: ClassVar[str] = "CIFAR's binary version (data_batch_1.bin, ...; or train.bin and test.bin)"
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "target_column"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        if path is None or not path.is_dir():
            return False
        return (path / "data_batch_1.bin").is_file() or (
            (path / "train.bin").is_file() and (path / "fine_label_names.txt").is_file()
        )

    def read(self, source: object, options: Options) -> Raw:
        folder = as_path(source)
        assert folder is not None
        ten = (folder / "data_batch_1.bin").is_file()
        column = options.target_column or ("label" if ten else "fine_label")
        if column not in (("label",) if ten else _COLUMNS):
            raise DataError(
                f"{folder} has no labels {column!r}, only {'label' if ten else ' and '.join(_COLUMNS)}"
            )
        parts = {
            "train": sorted(folder.glob("data_batch_*.bin")) if ten else [folder / "train.bin"],
            "test": [path for path in (folder / "test_batch.bin", folder / "test.bin") if path.is_file()],
        }
        images, labels = {}, {}
        for split, files in parts.items():
            if files:
                records = np.concatenate([_records(path, folder, 1 if ten else 2) for path in files])
                labels[split] = records[:, 0 if ten else _COLUMNS.index(column)]
                images[split] = torch.from_numpy(records[:, -_PIXELS:].reshape(-1, 3, 32, 32).copy())
        title = "batches.meta.txt" if ten else f"{column}_names.txt"
        own = _names(folder / title, folder)
        found = understand(labels, options.class_names, dict.fromkeys(labels, own))
        splits = {split: Split(images[split], targets) for split, targets in found.targets.items()}
        notes = (
            () if ten else (f"labels are {column!r} (target_column= chooses among {', '.join(_COLUMNS)})",)
        )
        return Raw(
            source_name(folder),
            found.task,
            splits["train"],
            test=splits.get("test"),
            notes=(*notes, *found.notes),
            named=found.named and own is not None,
            origins={split: parts[split][0].name + ", ..." * (len(parts[split]) > 1) for split in splits},
            hints=("cifar",),
        )


def _records(path: Path, folder: Path, labels: int) -> np.ndarray:
    content = np.frombuffer(read_inside(path.absolute(), [own_folder(folder)]), np.uint8)
    width = labels + _PIXELS
    if not len(content) or len(content) % width:
        raise DataError(
            f"{path} is damaged: expected records of {width} bytes, found {len(content)} bytes in all"
        )
    return content.reshape(-1, width)


def _names(path: Path, folder: Path) -> tuple[str, ...] | None:
    if not path.is_file():
        return None
    try:
        lines = read_inside(path.absolute(), [own_folder(folder)]).decode().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    return tuple(line.strip() for line in lines if line.strip()) or None
