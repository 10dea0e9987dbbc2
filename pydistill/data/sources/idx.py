"""IDX files, as MNIST and Fashion-MNIST are published: four files in one folder, gzipped or not."""

import gzip
import math
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, class_indices
from pydistill.errors import DataError

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


class IdxFolder(Source):
    """A folder with ``train-images-idx3-ubyte`` and its companions (test: ``t10k-``), plain or ``.gz``."""

    understands: ClassVar[str] = (
        "a folder of IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., plain or .gz)"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and _find(path, "train-images", 3) is not None

    def read(self, source: object, options: Options) -> Raw:
        folder = as_path(source)
        assert folder is not None
        images, labels = {}, {}
        for split, prefix in (("train", "train"), ("test", "t10k")):
            paths = _find(folder, f"{prefix}-images", 3), _find(folder, f"{prefix}-labels", 1)
            if paths == (None, None):
                continue
            if paths[0] is None or paths[1] is None:
                lacking = "images" if paths[0] is None else "labels"
                raise DataError(f"{folder} has no {prefix}-{lacking}-idx file beside its companion")
            images[split], labels[split] = read_idx(paths[0]), read_idx(paths[1])
            if images[split].ndim != 3 or labels[split].ndim != 1:
                raise DataError(
                    f"expected three dimensions in {paths[0].name} and one in {paths[1].name}, found "
                    f"{images[split].ndim} and {labels[split].ndim}"
                )
            if len(images[split]) != len(labels[split]):
                raise DataError(
                    f"{paths[0]} holds {len(images[split])} images, but {paths[1].name} "
                    f"{len(labels[split])} labels"
                )
        names = options.class_names or (_FASHION if "fashion" in folder.resolve().name.lower() else None)
        targets, task = class_indices(labels, names)
        splits = {key: Split(torch.from_numpy(images[key]).unsqueeze(1), targets[key]) for key in images}
        return Raw(folder.resolve().name, task, splits["train"], test=splits.get("test"))


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Raises:
        DataError: Its header is not of that kind, or it is shorter or longer than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != 0x08:
        raise DataError(
            f"{path} is no IDX file of unsigned bytes: it must begin with 00 00 08, found "
            f"{content[:3].hex(' ') or 'nothing'}"
        )
    header = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4))
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"{path} is damaged: its header announces shape {shape}, {header + math.prod(shape)} bytes in "
            f"all, but it holds {len(content)}: get it anew"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _find(folder: Path, stem: str, dimensions: int) -> Path | None:
    names = (f"{stem}{joint}idx{dimensions}-ubyte{end}" for joint in "-." for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)
