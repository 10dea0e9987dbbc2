"""Distilled sets for other tools, exactly: parquet. Folders of PNG: :mod:`pydistill.data.folder_export`."""

import base64
import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import Tensor

from pydistill.data.store import assemble, describe, reporting, set_tensors, side_tensors, unsealed
from pydistill.errors import DataError, FileFormatError
from pydistill.extras import need
from pydistill.limits import require_bytes
from pydistill.storage.files import is_there, write_atomically, write_bytes
from pydistill.storage.records import ZEROS, apart, is_stamped, sealed, stamp
from pydistill.tasks import restore

if TYPE_CHECKING:
    import pyarrow as pa

    from pydistill.data.distilled import DistilledData

_KEY = b"pydistill"
_SEAL = b"pydistill.sha256"
_DIGITS = re.compile(re.escape(_SEAL) + rb"\x18\x40([0-9a-f]{64})")
"""The seal in a footer: key, then the encoded length of its value, then its value."""
_ROWS, _VALUES = 1 << 20, 1 << 28
"""Most rows, and most pixels, of a group of rows."""
_LARGEST_INLINE = 1 << 20
"""Bytes of preprocessing kept in a parquet file's metadata; a larger one (whitening) goes beside it."""


def export_parquet(distilled: "DistilledData", path: Path) -> None:
    """Write one row a stored image: ``image`` (C, H, W) float32 network input, ``label`` int64, ``target``.

    Values are exact. ``target`` (K,) float32 is there where targets are soft; ``label`` is then the class
    that the image was made for; ``weight`` float32 where images have weights; ``indices`` int64, one or
    factor**2 of them, where the set knows which real images it is made of.
    ``datasets.load_dataset("parquet", data_files=...)`` gives arrays and class names; pandas gives nested
    arrays. The file's metadata, under ``pydistill``, hold the rest: augmentation, learning rate, factor,
    preprocessing, provenance. A whitening matrix is too large for that and goes to
    ``preprocess-<content>.safetensors`` in the same folder, which must travel with the file.

    Raises:
        OutputError: A file could not be written; one that stood there before is untouched.
    """
    preprocess = safetensors.torch.save(apart(side_tensors(distilled)))
    digest = hashlib.sha256(preprocess).hexdigest()
    inline = len(preprocess) <= _LARGEST_INLINE
    facts = {
        **describe(distilled),
        "preprocess_sha256": digest,
        "preprocess_content": base64.b64encode(preprocess).decode() if inline else None,
        "rows_sha256": _rows_digest(set_tensors(distilled)),
    }
    pa, pq = _pyarrow()
    columns = {"image": distilled.images} | _columns(distilled)
    nested = {name: _nested(column) for name, column in columns.items()}
    table = pa.table(nested).replace_schema_metadata(
        {
            _KEY: json.dumps(sealed(facts)).encode(),
            b"huggingface": json.dumps(_features(distilled)).encode(),
        }
    )
    if not inline:
        write_bytes(_beside(path, digest), preprocess)
    rows = max(1, min(_ROWS, _VALUES // max(1, distilled.images[0].numel())))

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, table.schema, compression="zstd") as writer:
            writer.write_table(table, row_group_size=rows)
            writer.add_key_value_metadata({_SEAL: ZEROS})
        stamp(temporary, _place(temporary))

    write_atomically(path, write)


def from_parquet(kind: "type[DistilledData]", path: Path) -> "DistilledData":
    """Read what :func:`export_parquet` wrote, bit for bit as it was.

    Raises:
        DataError: There is no such file.
        FileFormatError: It is damaged, was altered, or was not written by :func:`export_parquet`.
    """
    if not is_there(path) or not path.is_file():
        raise DataError(f"there is no file {path}")
    pa, pq = _pyarrow()
    try:
        if not is_stamped(path, _place(path)):
            raise ValueError("its content does not match its digest")
        facts = unsealed((pq.read_schema(path).metadata or {}).get(_KEY, b"{}"), path)
        _require_declared(pq.ParquetFile(path).metadata, facts, path)
        table = pq.read_table(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} cannot be read as parquet of a distilled set: {error}; export it again"
        ) from error
    with reporting(path):
        task, made_for = restore(facts["task"]), facts.get("origin")
        column = task.column(facts.get("kind") or ("soft" if len(facts["targets"]) == 2 else "hard"))
        images = _flat(table, "image", facts["images"])
        targets = _flat(table, column, facts["targets"])
        origin = _flat(table, "origin" if column == "label" else "label", made_for) if made_for else None
        weights = _flat(table, "weight", facts["weights"]) if facts.get("weights") else None
        indices = _flat(table, "indices", facts["indices"]) if facts.get("indices") else None
        columns = {
            "images": images,
            "targets": targets,
            "origin": origin,
            "weights": weights,
            "indices": indices,
        }
        own = {name: value for name, value in columns.items() if value is not None}
        if _rows_digest(own) != facts["rows_sha256"]:
            raise ValueError("its rows are not those it was written with")
        preprocess = safetensors.torch.load(_preprocess_content(facts, path))
        return assemble(kind, facts, {**own, **preprocess})


def _require_declared(found: Any, facts: dict[str, Any], path: Path) -> None:
    """Refuse columns of more values than the facts say, or than may be read, before reading any."""
    with reporting(path):
        sizes = {"image": math.prod(facts["images"]), "target": math.prod(facts["targets"])}
        sizes |= {"indices": math.prod(facts["indices"])} if facts.get("indices") else {}
    require_bytes(4 * sum(sizes.values()), str(path))
    groups = [found.row_group(at) for at in range(found.num_row_groups)]
    columns = [group.column(at) for group in groups for at in range(group.num_columns)]
    for name in {column.path_in_schema.partition(".")[0] for column in columns}:
        held = sum(each.num_values for each in columns if each.path_in_schema.partition(".")[0] == name)
        if held > sizes.get(name, found.num_rows) or found.num_rows > sizes["image"]:
            raise ValueError(f"column {name!r} holds {held:,} values, more than its facts say")


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


def _place(path: Path) -> int:
    """Where the digest of the file stands in its footer."""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - 8))
        end = handle.read(8)
        length = int.from_bytes(end[:4], "little") + 8
        if end[4:] != b"PAR1" or length > size:
            raise ValueError("it is no whole parquet file")
        handle.seek(size - length)
        found = list(_DIGITS.finditer(handle.read(length)))
    if len(found) != 1:
        raise ValueError("it does not describe a distilled set, or was altered: it holds no digest")
    return size - length + found[0].start(1)


def _beside(path: Path, digest: str) -> Path:
    """Named by content, so that exports into one folder share it and none replaces another's."""
    return path.with_name(f"preprocess-{digest[:12]}.safetensors")


def _rows_digest(columns: dict[str, Tensor]) -> str:
    return hashlib.sha256(safetensors.torch.save(apart(columns))).hexdigest()


def _pyarrow() -> tuple[Any, Any]:
    """``pyarrow`` and its ``parquet``, which belong to an extra."""
    what = "A parquet file"
    return need("pyarrow", what), need("pyarrow.parquet", what)


def _nested(tensor: Tensor) -> "pa.Array":
    """(N, A, B, ...) as a column of N nested lists."""
    array: npt.NDArray[Any] = tensor.detach().cpu().contiguous().numpy()
    pa, _ = _pyarrow()
    column = pa.array(array.reshape(-1))
    lists, offset = (pa.ListArray, np.int32) if array.size < 2**31 else (pa.LargeListArray, np.int64)
    for axis in range(array.ndim - 1, 0, -1):
        count = math.prod(array.shape[:axis])
        offsets = np.arange(count + 1, dtype=np.int64) * array.shape[axis]
        column = lists.from_arrays(pa.array(offsets.astype(offset)), column)
    return column


def _flat(table: "pa.Table", name: str, shape: list[int]) -> Tensor:
    column = table.column(name).combine_chunks()
    pa, _ = _pyarrow()
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.flatten()
    return torch.from_numpy(column.to_numpy(zero_copy_only=False).copy()).reshape(shape)


def _columns(distilled: "DistilledData") -> dict[str, Tensor]:
    """Targets; where there are any, what images were made for, weights and indices."""
    own = distilled.task.columns(distilled.targets, distilled.hard_targets)
    if distilled.kind == "hard" and distilled.origin is not None:  # classes that a network gave
        own["origin"] = distilled.origin
    if distilled.weights is not None:
        own["weight"] = distilled.weights
    if distilled.indices is not None:
        packed = distilled.factor**2
        own["indices"] = distilled.indices if packed == 1 else distilled.indices.view(-1, packed)
    return own


def _features(distilled: "DistilledData") -> dict[str, Any]:
    """The column types as ``datasets`` keeps them in a parquet file's metadata."""
    features = {name: _feature(column) for name, column in _columns(distilled).items()}
    if "label" in features:
        features["label"] = {"_type": "ClassLabel", "names": list(distilled.task.class_names)}
    image = {"_type": "Array3D", "shape": list(distilled.images.shape[1:]), "dtype": "float32"}
    return {"info": {"features": {"image": image, **features}}}


def _feature(column: Tensor) -> dict[str, Any]:
    dtype = str(column.dtype).removeprefix("torch.")
    if column.ndim == 1:
        return {"_type": "Value", "dtype": dtype}
    if column.ndim == 2:
        return {"_type": "Sequence", "feature": {"_type": "Value", "dtype": dtype}}
    return {"_type": f"Array{column.ndim - 1}D", "shape": list(column.shape[1:]), "dtype": dtype}
