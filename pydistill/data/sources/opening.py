"""Pictures opened with Pillow: what it raises on damaged ones, and its own limit on their size."""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

from pydistill.errors import DataError
from pydistill.limits import PIXELS, most_pixels

_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on damaged files, each its own."""


@contextlib.contextmanager
def opened(name: str, content: bytes) -> Iterator[Image.Image]:
    """An encoded image, opened; whatever goes wrong with it inside becomes an error that names it.

    Raises:
        DataError: It cannot be decoded, or declares more pixels than Pillow opens.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            yield image
    except UnidentifiedImageError as error:
        begin = content[:8].hex(" ") or "nothing"
        raise DataError(
            f"{name} cannot be decoded as an image: it is of no format known, it begins with {begin}"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{name}: {error}; {most_pixels():,} a picture are allowed: if it is what you mean, raise the "
            f"limit (environment variable {PIXELS})"
        ) from error
    except _DAMAGED as error:
        raise DataError(f"{name} cannot be decoded as an image: {error}") from error


@contextlib.contextmanager
def large_pictures() -> Iterator[None]:
    """Inside, Pillow opens what :func:`most_pixels` allows, and leaves it to us to refuse what is above."""
    own = Image.MAX_IMAGE_PIXELS
    if own is not None:
        Image.MAX_IMAGE_PIXELS = max(own, most_pixels())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of sizes, which are checked, and of metadata, which are unused
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = own
