"""How much memory data may ask for: what a file declares is compared before anything is allocated."""

import contextlib
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

from pydistill.errors import DataError

BYTES, PIXELS = "PYDISTILL_MAX_BYTES", "PYDISTILL_MAX_PIXELS"
"""Environment variables that raise or lower the limits."""

_USUAL_PIXELS = 89_478_485
"""Pixels of one picture: Pillow's own limit, a picture of 256 MiB."""
_LARGE = 1 << 24
"""Pixels above which a picture is large."""

_UNPACKED, _FOLD = 1 << 28, 250
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def most_bytes() -> int:
    """Bytes that the images of one data set, or one file of arrays, may take in memory.

    :data:`BYTES` says how many; else it is a quarter of what the machine, the container or the process may
    have: images are copied as they are split.
    """
    return _given(BYTES) or _memory() // 4


def most_pixels() -> int:
    """Pixels that one picture may have: what :data:`PIXELS` says, else 89 million."""
    return _given(PIXELS) or _USUAL_PIXELS


def require_bytes(declared: int, what: str, allowed: int | None = None) -> None:
    """Refuse what would take more than :func:`most_bytes`.

    Args:
        declared: Bytes that a file says it will take.
        what: Named in the message.
        allowed: How much may be taken, where it is known already.

    Raises:
        DataError: It is too much; declared and allowed sizes are named.
    """
    allowed = most_bytes() if allowed is None else allowed
    if declared > allowed:
        raise DataError(
            f"{what}: {declared:,} bytes in memory are declared, {allowed:,} allowed: if it is what you "
            f"mean, raise the limit (environment variable {BYTES})"
        )


def require_unpacked(declared: int, packed: int, what: str) -> None:
    """:func:`require_bytes` of what is packed: beyond 256 MiB, 250-fold at most.

    Where :data:`BYTES` is set, it alone decides.

    Args:
        declared: Bytes that it is said to unpack to.
        packed: Bytes that it takes now.
        what: Named in the message.

    Raises:
        DataError: It is too much; declared and allowed sizes are named.
    """
    likely = max(_UNPACKED, _FOLD * packed)
    require_bytes(declared, what, None if _given(BYTES) else min(likely, most_bytes()))


class Allowance:
    """What pictures of one data set have taken, counted before each is decoded; safe for threads."""

    def __init__(self, what: str = "images") -> None:
        self._what, self._taken = what, 0
        self._lock, self._large = threading.Lock(), threading.Lock()
        self._bytes, self._pixels = most_bytes(), most_pixels()

    @contextlib.contextmanager
    def take(
        self, name: str, shape: tuple[int, int], channels: int, kept: tuple[int, int] | None
    ) -> Iterator[None]:
        """Count a picture, and decode it inside: of large ones there is one at a time in memory.

        Args:
            name: Of the picture, for messages.
            shape: Declared height and width.
            channels: Bytes a pixel.
            kept: Height and width it is scaled to; None: as it is.

        Raises:
            DataError: It has too many pixels, or all together take too many bytes.
        """
        pixels = shape[0] * shape[1]
        if pixels > self._pixels:
            raise DataError(
                f"{name}: {shape[1]} x {shape[0]} pixels ({pixels:,}) are declared, {self._pixels:,} a "
                f"picture allowed: if it is what you mean, raise the limit (environment variable {PIXELS})"
            )
        height, width = kept or shape
        with self._lock:
            self._taken += height * width * channels
            taken = self._taken
        if taken > self._bytes:
            require_bytes(taken, f"{self._what} up to {name}", self._bytes)
        with self._large if pixels > _LARGE else contextlib.nullcontext():
            yield


def _given(name: str) -> int | None:
    text = os.environ.get(name)
    if not text:
        return None
    try:
        value = int(text.replace("_", ""))
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError(f"{name} must be a number above 0, got {text!r}")
    return value


def _memory() -> int:
    """Bytes of memory of the machine, or of the container or the process where that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        whole = whole if soft == resource.RLIM_INFINITY else min(whole, soft)
    try:
        return min(whole, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return whole
