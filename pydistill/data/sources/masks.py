"""Masks, a value a pixel, in memory: decoded, of their images' size, scaled as these are."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from pydistill.data.sources.letterbox import Letterbox, Size
from pydistill.data.sources.opening import large_pictures, opened
from pydistill.data.sources.picture import oriented
from pydistill.data.sources.pixels import Encoded, worth_threads
from pydistill.errors import DataError
from pydistill.limits import Allowance
from pydistill.tasks.masks import VOID

_WIDEST = 65_536
"""How far apart the values of a mask may lie: those of 16 bits, and -1."""
_CHUNK = 256


class Values:
    """The values that masks hold, numbered as they are met: masks are kept as codes of one byte.

    Code 255 is of pixels that no mask covers.
    """

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}

    @property
    def seen(self) -> tuple[int, ...]:
        """Every value met, by its code."""
        return tuple(self._codes)

    def encode(self, mask: npt.NDArray[np.integer[Any]], title: str) -> npt.NDArray[np.uint8]:
        """A mask (h, w) of integers as codes.

        Raises:
            DataError: More than 255 values were met.
        """
        low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
        if high - low > _WIDEST:
            raise DataError(
                f"{title}: mask values run from {low} to {high}: expected class indices, one small number "
                "a pixel"
            )
        shifted = mask.astype(np.int64) - low
        found = np.flatnonzero(np.bincount(shifted.ravel())) if mask.size else np.empty(0, np.int64)
        table = np.zeros(int(found[-1]) + 1 if len(found) else 1, np.uint8)
        for place in found.tolist():
            code = self._codes.setdefault(place + low, len(self._codes))
            if code >= VOID:
                raise DataError(
                    f"{title}: masks hold more than {VOID} different values: expected class indices, one "
                    "small number a pixel"
                )
            table[place] = code
        return table[shifted]


@dataclass(frozen=True, eq=False)
class MaskSplit:
    """The masks of one split.

    Attributes:
        codes: (N, H, W) uint8, see :class:`Values`.
        titles: What each is called in a message.
    """

    codes: Tensor
    titles: Sequence[str]


def decode_masks(
    encoded: Iterable[Encoded], shapes: Sequence[Size], size: Size | None, values: Values
) -> MaskSplit:
    """Encoded masks to codes; scaled as their images are, each pixel taking the nearest one's value.

    Args:
        encoded: Name and content of every mask.
        shapes: (height, width) of each one's image before scaling.
        size: What images are letter-boxed to; None: as they are.
        values: Takes the values that are met.

    Raises:
        DataError: A mask cannot be decoded, is no mask of one value a pixel, or is not of its image's size.
    """
    parts: list[Tensor] = []
    titles: list[str] = []
    sizes, stream = iter(shapes), iter(encoded)
    one = partial(_decode_one, Allowance("masks"), size)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, large_pictures():
        while chunk := list(islice(stream, _CHUNK)):
            shape = list(islice(sizes, len(chunk)))
            for (title, _), mask, own in zip(
                chunk, (pool.map if worth_threads(chunk) else map)(one, chunk, shape), shape, strict=True
            ):
                parts.append(_placed(mask, own, size, values, title))
                titles.append(title)
    return MaskSplit(torch.stack(parts) if parts else torch.empty(0, 1, 1, dtype=torch.uint8), titles)


def from_arrays(
    masks: Iterable[npt.NDArray[Any]], titles: Iterable[str], shapes: Sequence[Size], size: Size | None,
    values: Values,
) -> MaskSplit:  # fmt: skip
    """As :func:`decode_masks`, of masks (h, w) at hand."""
    parts: list[Tensor] = []
    named: list[str] = []
    for mask, title, shape in zip(masks, titles, shapes, strict=True):
        mask = np.asarray(mask)
        if mask.ndim == 3 and 1 in (mask.shape[0], mask.shape[2]):
            mask = mask.squeeze(0 if mask.shape[0] == 1 else 2)
        if mask.ndim != 2 or mask.dtype.kind not in "iub":
            raise DataError(
                f"{title}: expected one integer a pixel, found shape {mask.shape}, {mask.dtype}"
            )
        _require_size(mask, shape, title)
        parts.append(_placed(_nearest(mask, shape, size), shape, size, values, title))
        named.append(title)
    return MaskSplit(torch.stack(parts) if parts else torch.empty(0, 1, 1, dtype=torch.uint8), named)


def _decode_one(
    allowance: Allowance, size: Size | None, item: Encoded, shape: Size
) -> npt.NDArray[np.integer[Any]]:
    title, content = item
    with opened(title, content) as image, allowance.take(title, (image.height, image.width), 1, size):
        mask = read_mask(image)
        _require_size(mask, shape, title)
        return _nearest(mask, shape, size)


def _require_size(mask: npt.NDArray[Any], shape: Size, title: str) -> None:
    if mask.shape != shape:
        found, wanted = (f"{height} x {width}" for height, width in (mask.shape, shape))
        raise DataError(
            f"{title}: the mask is {found} (height x width), but its image {wanted}: give masks of their "
            "images' size"
        )


def _nearest(
    mask: npt.NDArray[np.integer[Any]], shape: Size, size: Size | None
) -> npt.NDArray[np.integer[Any]]:
    """The mask at the size that its image has inside ``size``."""
    return mask if size is None else Letterbox(shape, size).mask(mask)


def _placed(
    mask: npt.NDArray[np.integer[Any]], shape: Size, size: Size | None, values: Values, title: str
) -> Tensor:
    """Codes of a scaled mask in the middle of what no mask covers."""
    codes = values.encode(mask, title)
    if size is None or shape == size:
        return torch.from_numpy(codes)
    (top, left), (height, width) = Letterbox(shape, size).corner, codes.shape
    made = torch.full(size, VOID, dtype=torch.uint8)
    made[top : top + height, left : left + width] = torch.from_numpy(codes)
    return made


def read_mask(image: Image.Image) -> npt.NDArray[np.integer[Any]]:
    """The values (h, w) of a picture that is a mask; of one with a palette the indices, not the colours.

    Raises:
        ValueError: It codes classes by colours, or was compressed so that values are not exact.
    """
    if image.format in ("JPEG", "MPO"):
        raise ValueError(
            "a mask stored as JPEG has lost its exact values: save masks as PNG, one class index a pixel"
        )
    upright, _ = oriented(image)
    if upright.mode in ("1", "L", "P"):
        return np.asarray(upright).astype(np.uint8, copy=False)
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        return np.asarray(upright).astype(np.int64)
    bands = np.asarray(upright) if upright.mode in ("LA", "RGB", "RGBA") else None
    if bands is not None:
        colours = bands[..., :-1] if upright.mode in ("LA", "RGBA") else bands
        opaque = colours is bands or bool((bands[..., -1] == 255).all())
        grey = bool((colours == colours[..., :1]).all())
        if opaque and grey:
            return colours[..., 0]
        if opaque:
            odd = colours[(colours != colours[..., :1]).any(-1)]
            raise ValueError(
                f"this mask codes classes by colours, such as {tuple(odd[0].tolist())}: give every colour "
                "the number of its class, and save masks as PNG of one channel, or with a palette, whose "
                "indices are taken"
            )
    raise ValueError(
        f"mode {upright.mode} is no mask: expected one class index a pixel, as in PNG of one channel or "
        "with a palette"
    )
