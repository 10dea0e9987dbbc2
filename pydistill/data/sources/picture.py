"""One picture as Pillow opens it to 8-bit pixels as they are meant to be seen."""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from pydistill.errors import DataError

_ORIENTATION = 0x0112
_DARK = 16
"""High bytes below this everywhere: 16-bit files that hold 8 or 12 bits, which would all be black."""


@dataclass(frozen=True)
class Picture:
    """Pixels of one picture and what was done to it.

    Attributes:
        pixels: (H, W) of a grey picture, (H, W, 3) of any other.
        turned: Whether it was turned or mirrored as its EXIF orientation says.
        on_white: Whether it has transparent parts and was laid on white.
        frames: Whether it has several frames, of which this is the first.
        deep: The largest high byte of a picture of 16 bits a channel; None: it has 8.
    """

    pixels: npt.NDArray[np.uint8]
    turned: bool = False
    on_white: bool = False
    frames: bool = False
    deep: int | None = None


class Seen:
    """Counts over a data set of what was done to its pictures."""

    def __init__(self) -> None:
        self.turned = self.on_white = self.frames = self.deep = self.brightest = 0
        self.first_deep = ""

    def add(self, name: str, picture: Picture) -> None:
        """Count one picture."""
        self.turned += picture.turned
        self.on_white += picture.on_white
        self.frames += picture.frames
        if picture.deep is not None:
            self.first_deep = self.first_deep or name
            self.deep += 1
            self.brightest = max(self.brightest, picture.deep)

    def notes(self) -> tuple[str, ...]:
        """What was done, a sentence each.

        Raises:
            DataError: Pictures of 16 bits a channel use a small part of their range only.
        """
        if self.deep and self.brightest < _DARK:
            raise DataError(
                f"{self.first_deep} has more than 8 bits a channel (16), but no such image reaches "
                f"{_DARK * 256} of 65535: nothing would be left of them in 8 bits; scale them to the whole "
                "range, or give them as 8-bit images or float arrays"
            )
        told = (
            (self.turned, "turned as the orientation in the file says"),
            (self.on_white, "laid on white where transparent"),
            (self.frames, "read by the first of several frames"),
            (self.deep, "brought from 16 to 8 bits a channel"),
        )
        return tuple(
            f"{count:,} {'picture is' if count == 1 else 'pictures are'} {what}"
            for count, what in told
            if count
        )


def read_picture(image: Image.Image) -> Picture:
    """A picture as it is meant to be seen: turned by its EXIF orientation, transparent parts on white.

    Raises:
        ValueError: It has more than 16 bits a channel, or all it shows is in its transparency.
    """
    frames = bool(getattr(image, "is_animated", False))
    wide = ";16" in str(getattr(image, "tile", ""))
    if image.mode.startswith("I;16") or (image.mode == "I" and (wide or image.format in ("PNG", "PPM"))):
        upright, turned = oriented(image)
        high = np.asarray(upright).astype(np.int64)
        if high.size and (int(high.min()) < 0 or int(high.max()) > 65535):
            raise ValueError(
                f"mode {image.mode} has more than 8 bits a channel, and values outside 0..65535"
            )
        grey = ((high + 128) // 257).astype(np.uint8)
        return Picture(grey, turned, frames=frames, deep=int(high.max()) >> 8 if high.size else 0)
    if image.mode.startswith(("I", "F")):
        raise ValueError(
            f"mode {image.mode} has more than 8 bits a channel: give such images as float arrays"
        )
    upright, turned = oriented(image)
    grey_mode = upright.mode in ("1", "L", "LA", "La")
    pixels = _on_white(upright, grey_mode) if upright.has_transparency_data else None
    laid = pixels is not None
    if pixels is None:
        plain = upright if upright.mode in ("L", "RGB") else upright.convert("L" if grey_mode else "RGB")
        pixels = np.asarray(plain)
    deep = int(pixels.max()) if wide and pixels.size else None
    return Picture(pixels, turned, laid, frames, deep)


def oriented(image: Image.Image) -> tuple[Image.Image, bool]:
    """A picture turned as its EXIF orientation says, and whether that changed it."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, struct.error):
        return image, False  # metadata that cannot be read says nothing
    if orientation not in range(2, 9):
        return image, False
    return ImageOps.exif_transpose(image), True


def _on_white(image: Image.Image, grey: bool) -> npt.NDArray[np.uint8] | None:
    """Laid on white; None where nothing of it is transparent."""
    array = np.asarray(image.convert("RGBA"))
    alpha = array[..., 3:].astype(np.uint32)
    if bool((alpha == 255).all()):
        return None
    laid = ((array[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if _is_constant(laid) and not _is_constant(array):
        raise ValueError(
            "on white nothing of it is seen, what it shows being in its transparency alone: lay such "
            "images on a background of your choice and save them without transparency"
        )
    return laid[..., 0] if grey else laid


def _is_constant(array: npt.NDArray[np.uint8]) -> bool:
    return bool((array == array[:1, :1]).all())
