"""Bytes of a stream into an array, as many as are there and no more than were announced."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

DENSEST = 1032
"""Bytes that one byte of deflated data (gzip, zip) can unpack to, at most."""

_STEP = 1 << 24


class Stream(Protocol):
    """What is read from."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a part of ``buffer``; how much, 0 at the end."""


def read_bytes(file: Stream, count: int) -> npt.NDArray[np.uint8]:
    """Up to ``count`` bytes, fewer where the stream ends before."""
    array = np.empty(count, np.uint8)
    filled = 0
    while filled < count:
        read = file.readinto(array[filled : filled + _STEP].data)
        if not read:
            break
        filled += read
    return array[:filled]
