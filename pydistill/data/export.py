"""Distilled sets for other tools: PNG folders (lossy) and parquet (exact)."""

import base64
import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from torch import Tensor

from pydistill.data.distilled import DistilledData
from pydistill.data.store import assemble, describe, reporting, side_tensors, unsealed
from pydistill.errors import DataError, FileFormatError, OutputError
from pydistill.files import partial, write_atomically, write_bytes
from pydistill.pictures import to_picture
from pydistill.records import sealed

_KEY = b"pydistill"
_LARGEST_INLINE = 1 << 20
"""Bytes of preprocessing kept in a parquet file's metadata; a larger one (whitening) goes beside it."""


def export_folder(distilled: DistilledData, folder: Path) -> None:
    """Write ``folder/<class>/<number>.png`` and ``folder/export.json``.

    This is lossy: pixels are clamped to [0, 1] and rounded to 8 bits. ``export.json`` says how many were
    clamped, and holds what PNG cannot: class names in order, augmentation, learning rate, factor. Pictures
    are of the stored images: at a factor above 1 each is to be cut into ``factor**2`` patches, enlarged as
    :func:`pydistill.data.formation.decode` does, before it is trained on. Soft targets are written to
    ``targets.csv``, exactly, a row a picture; the folder is then that of the class the image was made for.

    Args:
        distilled: The set.
        folder: Made here; must not exist, or be empty.

    Raises:
        ValueError: Images have neither 1 nor 3 channels.
        OutputError: ``folder`` holds something already, or could not be written; nothing is left behind.
    """
    if distilled.images.shape[1] not in (1, 3):
        raise ValueError(
            f"PNG holds 1 or 3 channels, the images have {distilled.images.shape[1]}: use parquet"
        )
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: choose another folder, or remove it first")
        with partial(folder) as temporary:
            temporary.mkdir()
            _fill(distilled, temporary)
            temporary.replace(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error


def _fill(distilled: DistilledData, folder: Path) -> None:
    pixels, classes = distilled.pixels().cpu(), distilled.classes.tolist()
    titles = _folder_names(distilled.task.class_names)
    for index in set(classes):  # a class without a picture gets no folder: an empty one cannot be loaded
        (folder / titles[index]).mkdir()
    files = [f"{titles[index]}/{at:05d}.png" for at, index in enumerate(classes)]
    for file, image in zip(files, pixels, strict=True):
        to_picture(image).save(folder / file)
    clamped = float(((pixels < 0) | (pixels > 1)).float().mean())
    about = {
        "lossy": "pixels were clamped to [0, 1] and rounded to 8 bits: train on the saved set instead",
        "clamped_share_of_pixels": clamped,
        "class_names": list(distilled.task.class_names),
        "folders": titles,
        "augment": distilled.augment,
        "learning_rate": distilled.learning_rate,
        "factor": distilled.factor,
    }
    (folder / "export.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if distilled.targets.is_floating_point():
        with (folder / "targets.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(["file", *distilled.task.class_names])
            writer.writerows(
                [file, *map(repr, row)] for file, row in zip(files, distilled.targets.tolist(), strict=True)
            )


def _folder_names(names: tuple[str, ...]) -> list[str]:
    """Class names as folder names; numbered where two would become the same."""
    plain = [re.sub(r"[^\w.+-]+", "_", name).strip(".") or "class" for name in names]
    distinct = len({name.lower() for name in plain}) == len(plain)
    return plain if distinct else [f"{at:03d}_{name}" for at, name in enumerate(plain)]


def export_parquet(distilled: DistilledData, path: Path) -> None:
    """Write one row a stored image: ``image`` (C, H, W) float32 network input, ``label`` int64, ``target``.

    Values are exact. ``target`` (K,) float32 is there where targets are soft; ``label`` is then the class
    that the image was made for. ``datasets.load_dataset("parquet", data_files=...)`` gives arrays and class
    names; pandas gives nested arrays. The file's metadata, under ``pydistill``, hold the rest:
    augmentation, learning rate, factor, preprocessing, provenance. A whitening matrix is too large for
    that and goes to ``preprocess-<content>.safetensors`` in the same folder, which must travel with
    the file.

    Raises:
        OutputError: A file could not be written; one that stood there before is untouched.
    """
    preprocess = safetensors.torch.save(side_tensors(distilled))
    digest = hashlib.sha256(preprocess).hexdigest()
    inline = len(preprocess) <= _LARGEST_INLINE
    facts = {
        **describe(distilled),
        "preprocess_sha256": digest,
        "preprocess_content": base64.b64encode(preprocess).decode() if inline else None,
        "rows_sha256": _rows_digest(distilled.images, distilled.targets, distilled.origin),
    }
    columns: dict[str, pa.Array] = {
        "image": _nested(distilled.images),
        "label": pa.array(distilled.classes.cpu().numpy()),
    }
    if distilled.targets.is_floating_point():
        columns["target"] = _nested(distilled.targets)
    elif distilled.origin is not None:  # classes that a network gave
        columns["origin"] = pa.array(distilled.origin.cpu().numpy())
    table = pa.table(columns).replace_schema_metadata(
        {
            _KEY: json.dumps(sealed(facts)).encode(),
            b"huggingface": json.dumps(_features(distilled)).encode(),
        }
    )
    if not inline:
        write_bytes(_beside(path, digest), preprocess)
    write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def from_parquet(path: Path) -> DistilledData:
    """Read what :func:`export_parquet` wrote, bit for bit as it was.

    Raises:
        DataError: There is no such file.
        FileFormatError: It is damaged, was altered, or was not written by :func:`export_parquet`.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} cannot be read as parquet: {error}") from error
    facts = unsealed((table.schema.metadata or {}).get(_KEY, b"{}"), path)
    with reporting(path):
        soft = len(facts["targets"]) == 2
        images = _flat(table, "image", facts["images"])
        targets = _flat(table, "target" if soft else "label", facts["targets"])
        made_for = facts.get("origin")
        origin = _flat(table, "label" if soft else "origin", made_for) if made_for else None
        if _rows_digest(images, targets, origin) != facts["rows_sha256"]:
            raise ValueError("its rows are not those it was written with")
        own = {"images": images, "targets": targets} | ({} if origin is None else {"origin": origin})
        preprocess = safetensors.torch.load(_preprocess_content(facts, path))
        return assemble(facts, {**own, **preprocess})


def _preprocess_content(facts: dict[str, Any], path: Path) -> bytes:
    inline, digest = facts["preprocess_content"], facts["preprocess_sha256"]
    beside = _beside(path, digest)
    try:
        content = base64.b64decode(inline) if inline is not None else beside.read_bytes()
    except OSError as error:
        raise ValueError(f"{beside}, which belongs to it, cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{beside} is not the file written with it")
    return content


def _beside(path: Path, digest: str) -> Path:
    """Named by content, so that exports into one folder share it and none replaces another's."""
    return path.with_name(f"preprocess-{digest[:12]}.safetensors")


def _rows_digest(images: Tensor, targets: Tensor, origin: Tensor | None) -> str:
    columns = {"images": images, "targets": targets} | ({} if origin is None else {"origin": origin})
    content = safetensors.torch.save({name: value.cpu().contiguous() for name, value in columns.items()})
    return hashlib.sha256(content).hexdigest()


def _nested(tensor: Tensor) -> pa.Array:
    """(N, A, B, ...) as a column of N nested lists."""
    array: npt.NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    column = pa.array(array.reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        count = int(np.prod(array.shape[:axis]))
        column = pa.ListArray.from_arrays(
            pa.array(np.arange(count + 1, dtype=np.int32) * array.shape[axis]), column
        )
    return column


def _flat(table: pa.Table, name: str, shape: list[int]) -> Tensor:
    column = table.column(name).combine_chunks()
    while pa.types.is_list(column.type):
        column = column.flatten()
    return torch.from_numpy(column.to_numpy(zero_copy_only=False).copy()).reshape(shape)


def _features(distilled: DistilledData) -> dict[str, Any]:
    """The column types as ``datasets`` keeps them in a parquet file's metadata."""
    features: dict[str, Any] = {
        "image": {"_type": "Array3D", "shape": list(distilled.images.shape[1:]), "dtype": "float32"},
        "label": {"_type": "ClassLabel", "names": list(distilled.task.class_names)},
    }
    if distilled.targets.is_floating_point():
        features["target"] = {"_type": "Sequence", "feature": {"_type": "Value", "dtype": "float32"}}
    elif distilled.origin is not None:
        features["origin"] = {"_type": "Value", "dtype": "int64"}
    return {"info": {"features": features}}
