"""``.npz`` files: every array's header is checked against the archive and the limit before it is read."""

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from pydistill.data.sources.stream import DENSEST, read_bytes
from pydistill.errors import DataError
from pydistill.limits import require_bytes, require_unpacked

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What ``zipfile`` and the parser of headers raise on damaged files."""
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """The arrays in an ``.npz`` file by name; files in it that are no arrays are left out.

    Raises:
        DataError: It is damaged, holds pickled objects, or declares more than may be read; the message
            names the array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            require_bytes(sum(member.file_size for member in members), str(path))
            return {
                member.filename.removesuffix(".npy"): _read(archive, member, path)
                for member in members
                if member.filename.endswith(".npy")
            }
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an .npz file: {error}{_hint(path)}") from error


def _hint(path: Path) -> str:
    try:
        with path.open("rb") as file:
            single = file.read(6) == b"\x93NUMPY"
    except OSError:
        return ""
    return ": it is a plain .npy file of one array; save images and labels with np.savez" if single else ""


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> npt.NDArray[Any]:
    name = f"array {member.filename.removesuffix('.npy')!r} in {path}"
    try:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in a way that NumPy does not write")
        if member.file_size > DENSEST * member.compress_size + 64:
            raise ValueError(
                f"{member.file_size:,} bytes are declared, which {member.compress_size:,} bytes cannot hold"
            )
        require_unpacked(member.file_size, member.compress_size, name)
        with archive.open(member) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # files of Python 2 are read, slower
            return _array(cast("BufferedIOBase", opened), member.file_size)
    except _UNREADABLE as error:
        raise DataError(f"{name} cannot be read: {error}") from error


def _array(file: BufferedIOBase, size: int) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"its format is {version}, expected (1, 0) or (2, 0)")
    shape, fortran, kind = _READERS[version](file)
    if kind.hasobject:
        raise ValueError(
            "it holds pickled Python objects, which are never unpickled (allow_pickle): leave it out, or "
            "save it as numbers or texts"
        )
    if min(shape, default=0) < 0 or not kind.itemsize or len(shape) > 32:
        raise ValueError(f"its header announces shape {shape} of {kind}")
    count = math.prod(shape)
    if file.tell() + count * kind.itemsize != size:
        raise ValueError(
            f"its header announces shape {shape} of {kind}, {count * kind.itemsize:,} bytes, but the "
            f"archive {size - file.tell():,}"
        )
    content = read_bytes(file, count * kind.itemsize)
    if len(content) < count * kind.itemsize or file.read(1):
        raise ValueError("it is shorter or longer than its header announces")
    array = content.view(kind)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
