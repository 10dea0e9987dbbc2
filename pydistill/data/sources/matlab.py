"""MATLAB files of arrays, as SVHN is published."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pydistill.data.real import Split
from pydistill.data.sources.array_names import pairs
from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.labels import some, understand
from pydistill.data.sources.mat5 import read_mat
from pydistill.data.sources.names import assign
from pydistill.data.sources.pixels import from_array
from pydistill.data.sources.walk import shown
from pydistill.errors import DataError


class MatlabFiles(Source):
    """``train_32x32.mat`` and ``test_32x32.mat`` in a folder, or one such file; arrays ``X`` and ``y``.

    Images may be numbered by the last axis, as MATLAB has them. In SVHN's files label 10 is the digit 0.
    """

    understands: ClassVar[str] = (
        "a .mat file of arrays X and y, or a folder of such files (train_32x32.mat, ...)"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "layout"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        if path is None:
            return False
        return path.suffix.lower() == ".mat" if path.is_file() else path.is_dir() and bool(_files(path))

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        files = {path.stem: path} if path.is_file() else _files(path)
        chosen = {"train": path.stem} if path.is_file() else assign(files, str(path))
        if "train" not in chosen:
            raise DataError(f"{path} holds {some(sorted(files))}, none of a training split")
        images, labels = {}, {}
        for split, stem in chosen.items():
            images[split], labels[split] = _read(files[stem], options)
        notes = []
        street_numbers = all(stem.lower().endswith("_32x32") for stem in chosen.values())
        if street_numbers and {int(v) for found in labels.values() for v in np.unique(found)} == set(
            range(1, 11)
        ):
            labels = {split: found % 10 for split, found in labels.items()}
            notes.append("label 10 is the digit 0, as SVHN has it")
        spare = sorted(set(files) - set(chosen.values()))
        notes += [f"files that are not read: {some(spare)}"] if spare else []
        found = understand(labels, options.class_names)
        splits = {split: Split(images[split], targets) for split, targets in found.targets.items()}
        return Raw(
            source_name(path),
            found.task,
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            (*notes, *found.notes),
            named=found.named,
            origins={split: files[chosen[split]].name for split in splits},
            hints=("svhn",) if street_numbers else (),
            folders=surroundings(path),
        )


def _files(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in shown(folder) if path.suffix.lower() == ".mat" and path.is_file()}


def _read(path: Path, options: Options) -> tuple[Any, npt.NDArray[Any]]:
    arrays = read_mat(path)
    x, y = pairs(str(path), arrays)["train"]
    assert y is not None
    images, labels = np.asarray(arrays[x]), np.asarray(arrays[y])
    labels = labels.reshape(-1) if labels.ndim == 2 and 1 in labels.shape else labels
    count = len(labels) if labels.ndim else 0
    if images.ndim in (3, 4) and images.shape[0] != count and images.shape[-1] == count:
        images = np.moveaxis(images, -1, 0)
    return from_array(images, options.layout, f"{path}, {x}"), labels
