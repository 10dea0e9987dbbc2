"""IDX files, as MNIST and Fashion-MNIST are published: four files in one folder, gzipped or not."""

import gzip
import math
import re
import zlib
from dataclasses import replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.idx_files import Found, characters, find, holds_idx
from pydistill.data.sources.labels import Labelled, understand
from pydistill.data.sources.stream import DENSEST, read_bytes
from pydistill.errors import DataError
from pydistill.limits import require_bytes, require_unpacked
from pydistill.tasks import Classification

_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_MOST_AXES = 8


class IdxFolder(Source):
    """A folder with ``train-images-idx3-ubyte`` and its companions (test: ``t10k-``), plain or ``.gz``.

    A name may have the set's own before it, as EMNIST's files do; where a folder holds several sets,
    ``subset`` says which.
    """

    understands: ClassVar[str] = (
        "a folder of IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., plain or .gz)"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "subset"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and holds_idx(path)

    def read(self, source: object, options: Options) -> Raw:
        folder = as_path(source)
        assert folder is not None
        files = find(folder, options.subset)
        images: dict[str, npt.NDArray[np.uint8]] = {}
        labels: dict[str, Any] = {}
        for split, (pictures, marks) in files.pairs.items():
            images[split] = read_idx(pictures)
            labels[split] = read_idx(marks)
            if images[split].ndim != 3 or labels[split].ndim != 1:
                raise DataError(
                    f"expected three dimensions in {pictures.name} and one in {marks.name}, found "
                    f"{images[split].ndim} and {labels[split].ndim}"
                )
            if len(images[split]) != len(labels[split]):
                raise DataError(
                    f"{pictures} holds {len(images[split])} images, but {marks.name} "
                    f"{len(labels[split])} labels"
                )
        around = surroundings(folder)
        nearest = next((low for hint in around[:2] if re.search("mnist|fashion", low := hint.lower())), "")
        fashion = "fashion" in nearest
        found = _understood(labels, files, _FASHION if fashion else None, options.class_names)
        splits = {
            split: Split(torch.from_numpy(images[split]).unsqueeze(1), targets)
            for split, targets in found.targets.items()
        }
        return Raw(
            source_name(folder),
            found.task,
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            found.notes,
            named=found.named,
            origins={split: files.pairs[split][0].name for split in splits},
            hints=(files.variant,) if files.variant else (),
            folders=around,
        )


def _understood(
    labels: dict[str, Any],
    files: Found,
    own: tuple[str, ...] | None,
    class_names: tuple[str, ...] | None,
) -> Labelled:
    if class_names is not None or (own is None and files.mapping is None):
        return understand(labels, class_names)
    if files.mapping is None:
        return understand(labels, None, dict.fromkeys(labels, own))
    known = characters(files.mapping)
    found = understand(labels, None)
    letters = tuple(known.get(int(name), name) for name in found.task.class_names)
    if len(set(letters)) < len(letters):
        return found
    note = f"class names are the characters of {files.mapping.name}; these files hold images transposed"
    return replace(found, task=Classification(letters), named=True, notes=(*found.notes, note))


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Raises:
        DataError: Its header is not of that kind, or announces more than may be read, or the file is
            shorter or longer than its header says.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _array(file, path)
    except (OSError, EOFError, MemoryError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _array(file: BufferedIOBase, path: Path) -> npt.NDArray[np.uint8]:
    begin = file.read(4)
    if len(begin) < 4 or begin[:2] != b"\0\0" or begin[2] != 0x08:
        raise DataError(
            f"{path} is no IDX file of unsigned bytes: it must begin with 00 00 08, found "
            f"{begin[:3].hex(' ') or 'nothing'}"
        )
    if begin[3] > _MOST_AXES:
        raise DataError(f"{path} is damaged: its header announces {begin[3]} dimensions: get it anew")
    sizes = file.read(4 * begin[3])
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, 4 * begin[3], 4))
    header, declared, on_disk = 4 + 4 * begin[3], math.prod(shape), path.stat().st_size
    damaged = (
        f"{path} is damaged: its header announces shape {shape}, {header + declared} bytes in all, but "
    )
    zipped = path.suffix == ".gz"
    if len(sizes) < 4 * begin[3] or (not zipped and on_disk != header + declared):
        raise DataError(f"{damaged}it holds {on_disk}: get it anew")
    if zipped and declared > DENSEST * on_disk:
        raise DataError(f"{damaged}{on_disk} bytes cannot unpack to so many: get it anew")
    what = f"{path}, shape {shape}"
    if zipped:
        require_unpacked(declared, on_disk, what)
    else:
        require_bytes(declared, what)
    array = read_bytes(file, declared)
    if len(array) < declared:
        raise DataError(f"{damaged}it holds {header + len(array)}: get it anew")
    if file.read(1):
        raise DataError(f"{damaged}it holds more: get it anew")
    return array.reshape(shape)
