"""Distilled sets for other tools, exactly: parquet. Folders of PNG: :mod:`pydistill.data.folder_export`."""

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor

from pydistill.data.distilled import DistilledData
from pydistill.data.store import assemble, describe, reporting, side_tensors, unsealed
from pydistill.errors import DataError, FileFormatError
from pydistill.extras import need
from pydistill.files import write_atomically, write_bytes
from pydistill.records import sealed

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = b"pydistill"
_LARGEST_INLINE = 1 << 20
"""Bytes of preprocessing kept in a parquet file's metadata; a larger one (whitening) goes beside it."""


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
    pa, pq = _pyarrow()
    columns: dict[str, Any] = {
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
    pa, pq = _pyarrow()
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


def _pyarrow() -> tuple[Any, Any]:
    """``pyarrow`` and its ``parquet``, which belong to an extra."""
    what = "A parquet file"
    return need("pyarrow", what), need("pyarrow.parquet", what)


def _nested(tensor: Tensor) -> "pa.Array":
    """(N, A, B, ...) as a column of N nested lists."""
    array: npt.NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    pa, _ = _pyarrow()
    column = pa.array(array.reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        count = int(np.prod(array.shape[:axis]))
        column = pa.ListArray.from_arrays(
            pa.array(np.arange(count + 1, dtype=np.int32) * array.shape[axis]), column
        )
    return column


def _flat(table: "pa.Table", name: str, shape: list[int]) -> Tensor:
    column = table.column(name).combine_chunks()
    pa, _ = _pyarrow()
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
