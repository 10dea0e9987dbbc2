"""Arrays of numbers in MATLAB files of version 5 to 7 (``-v7``), each size checked before it is believed.

The format is MathWorks' "MAT-File Format": elements of a type, a count of bytes and content; matrices are
elements of elements, possibly deflated. Cells, structures, texts, sparse and complex matrices are left out.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pydistill.data.sources.inside import read_inside
from pydistill.data.sources.stream import DENSEST
from pydistill.errors import DataError
from pydistill.limits import require_unpacked

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x800
_MOST_AXES = 32


def read_mat(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of real numbers by name.

    Raises:
        DataError: It is of another version, damaged, or declares more than may be read.
    """
    content = memoryview(read_inside(path.absolute(), ()))
    try:
        order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:_HEADER]))
        if order is None or struct.unpack(f"{order}H", content[124:126])[0] != 0x0100:
            raise ValueError("it is of another version")
        found = {}
        for kind, part in _elements(content[_HEADER:], order):
            element = _inflated(part, order, path) if kind == _COMPRESSED else (kind, part)
            named = _matrix(element[1], order) if element[0] == _MATRIX else None
            if named is not None:
                found[named[0]] = named[1]
        return found
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as a MATLAB file of version 5 to 7: {error}; save it with -v7, or give "
            "the arrays"
        ) from error


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Types and contents of elements that lie one after the other."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack(f"{order}II", content[at : at + 8])
        if kind >> 16:  # a small one: both numbers in one word, four bytes of content
            size, kind, begin, step = kind >> 16, kind & 0xFFFF, at + 4, 8
            if size > 4:
                raise ValueError(f"a small element announces {size} bytes")
        else:
            begin = at + 8
            step = 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        if begin + size > len(content):
            raise ValueError(f"an element announces {size:,} bytes, {len(content) - begin:,} are there")
        yield kind, content[begin : begin + size]
        at += step


def _inflated(part: memoryview, order: str, path: Path) -> tuple[int, memoryview]:
    """The one element that a deflated element holds."""
    stream = zlib.decompressobj()
    begin = stream.decompress(part, 8)
    kind, size = struct.unpack(f"{order}II", begin)
    if size > DENSEST * len(part):
        raise ValueError(f"a deflated element announces {size:,} bytes, which {len(part):,} cannot hold")
    require_unpacked(size, len(part), f"{path}, a deflated element")
    content = stream.decompress(stream.unconsumed_tail, size + 1) if size else b""
    if len(content) != size or stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
        raise ValueError(f"a deflated element announces {size:,} bytes, but holds another number")
    return kind, memoryview(content)


def _matrix(content: memoryview, order: str) -> tuple[str, npt.NDArray[np.generic]] | None:
    """Name and values of a matrix; None where these are no real numbers."""
    parts = _elements(content, order)
    (_, flags), (kind, sizes) = next(parts, (0, content[:0])), next(parts, (0, content[:0]))
    word = struct.unpack(f"{order}I", flags[:4])[0]
    if word & 0xFF not in _CLASSES or word & _COMPLEX:
        return None
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    if _STORED.get(kind) != "i4" or min(shape, default=-1) < 0 or len(shape) > _MOST_AXES:
        raise ValueError(f"a matrix announces shape {shape}")
    (_, name), (kind, values) = next(parts, (0, content[:0])), next(parts, (0, content[:0]))
    if kind not in _STORED:
        raise ValueError(f"values of type {kind}")
    stored = np.dtype(f"{order}{_STORED[kind]}")
    size = math.prod(shape) * stored.itemsize
    if size != len(values):
        raise ValueError(
            f"a matrix announces shape {shape} of {stored}, {size:,} bytes, but holds {len(values):,}"
        )
    array = np.frombuffer(values, stored).reshape(shape, order="F")
    with np.errstate(invalid="ignore"):
        made: npt.NDArray[np.generic] = array.astype(_CLASSES[word & 0xFF])
    return bytes(name).decode("latin1"), made
