"""Pixels in whatever form they come to one (N, C, H, W) tensor, uint8 or float32 in [0, 1]."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.data.sources.letterbox import Letterbox, Size
from pydistill.data.sources.opening import large_pictures, opened
from pydistill.data.sources.picture import Picture, Seen, read_picture
from pydistill.errors import DataError
from pydistill.limits import Allowance

Encoded = tuple[str, bytes]
"""What an image is called in a message, and the content of its file."""

ASK_FOR_SIZE = "size=(height, width), on the command line --size HEIGHTxWIDTH,"
"""What mends images that differ in size."""
_CHUNK = 256
_WORTH_A_THREAD = 16_384
"""Bytes of an encoded image from which decoding in threads pays: below, they only wait for each other
(10,000 CIFAR JPEGs of 0.8 kB took 1.5 times as long in two threads as in one)."""


def fit(images: Tensor, size: Size) -> Tensor:
    """Scale (N, C, H, W) so that ``size`` is just covered, antialiased, then crop the centre to it."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    scale = max(size[0] / height, size[1] / width)
    scaled = max(round(height * scale), size[0]), max(round(width * scale), size[1])
    wide = F.interpolate(images.float(), scaled, mode="bilinear", antialias=True, align_corners=False)
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    cropped = wide[..., top : top + size[0], left : left + size[1]]
    return cropped.round().to(torch.uint8) if images.dtype == torch.uint8 else cropped.contiguous()


def decode(encoded: Iterable[Encoded], size: Size | None, seen: Seen | None = None) -> Tensor:
    """Encoded images (PNG, JPEG, ...) to (N, C, H, W) uint8: grey where all are grey, else RGB.

    Args:
        encoded: Name and content of every image.
        size: Scale and crop every image to it; None: they must agree.
        seen: Counts what was turned, laid on white or brought to 8 bits.

    Raises:
        DataError: An image cannot be decoded, is too large or differs in size; the message names it.
    """
    return _decode(encoded, size, seen, fit, "size=(height, width) to scale and crop them")[0]


def decode_whole(
    encoded: Iterable[Encoded], size: Size | None, seen: Seen | None = None
) -> tuple[Tensor, list[Size]]:
    """As :func:`decode`, but no image is cropped: where ``size`` is given, all are letter-boxed to it.

    Returns:
        Images (N, C, H, W) uint8, and the (height, width) that each had, by which its targets are moved.

    Raises:
        DataError: As for :func:`decode`.
    """
    return _decode(encoded, size, seen, letterboxed, f"{ASK_FOR_SIZE} to letter-box them")


def letterboxed(images: Tensor, size: Size) -> Tensor:
    """Images (N, C, h, w) in the middle of ``size``, whole and in proportion, on black."""
    return Letterbox((images.shape[2], images.shape[3]), size).images(images)


def _decode(
    encoded: Iterable[Encoded],
    size: Size | None,
    seen: Seen | None,
    scale: Callable[[Tensor, Size], Tensor],
    mend: str,
) -> tuple[Tensor, list[Size]]:
    parts, first, stream = [], None, iter(encoded)
    shapes: list[Size] = []
    one = partial(_decode_one, size, Allowance(), scale)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, large_pictures():
        while chunk := list(islice(stream, _CHUNK)):
            found = list((pool.map if worth_threads(chunk) else map)(one, chunk))
            shapes += [shape for _, shape in found]
            if seen is not None:
                for (name, _), (picture, _) in zip(chunk, found, strict=True):
                    seen.add(name, picture)
            arrays = [picture.pixels for picture, _ in found]
            first = first or (chunk[0][0], arrays[0].shape)
            parts.append(_stack(arrays, [name for name, _ in chunk], first, mend))
    if not parts:
        return torch.empty(0, 1, 0, 0, dtype=torch.uint8), []
    channels = max(part.shape[1] for part in parts)
    return torch.cat([part.expand(-1, channels, -1, -1) for part in parts]), shapes


def worth_threads(chunk: Sequence[Encoded]) -> bool:
    """Whether images are large enough that decoding them in threads pays."""
    return sum(len(content) for _, content in chunk) > _WORTH_A_THREAD * len(chunk)


def _decode_one(
    size: Size | None, allowance: Allowance, scale: Callable[[Tensor, Size], Tensor], item: Encoded
) -> tuple[Picture, Size]:
    """A picture, scaled, and the size that it had."""
    with opened(*item) as image:
        channels = 1 if image.mode in ("1", "L", "I", "F") or image.mode.startswith(("LA", "I;16")) else 3
        with allowance.take(item[0], (image.height, image.width), channels, size):
            picture = read_picture(image)
            height, width = picture.pixels.shape[:2]
            return replace(picture, pixels=_scaled(picture.pixels, size, scale)), (height, width)


def _scaled(
    pixels: npt.NDArray[np.uint8], size: Size | None, scale: Callable[[Tensor, Size], Tensor]
) -> npt.NDArray[np.uint8]:
    if size is None or pixels.shape[:2] == size:
        return pixels
    tensor = torch.from_numpy(np.atleast_3d(pixels).copy()).permute(2, 0, 1).unsqueeze(0)
    scaled = scale(tensor, size)[0].permute(1, 2, 0).numpy()
    return scaled[..., 0] if pixels.ndim == 2 else scaled


def _stack(
    arrays: Sequence[npt.NDArray[np.uint8]],
    names: Sequence[str],
    first: tuple[str, tuple[int, ...]],
    mend: str,
) -> Tensor:
    for array, name in zip(arrays, names, strict=True):
        if array.shape[:2] != first[1][:2]:
            found, wanted = ("x".join(map(str, shape[:2])) for shape in (array.shape, first[1]))
            raise DataError(
                f"{name} is {found}, but {first[0]} is {wanted}: images must agree in size; give {mend}"
            )
    colour = any(array.ndim == 3 for array in arrays)
    if not colour:
        return torch.from_numpy(np.stack(arrays)).unsqueeze(1)
    same = [array if array.ndim == 3 else np.repeat(array[..., None], 3, 2) for array in arrays]
    return torch.from_numpy(np.stack(same)).permute(0, 3, 1, 2).contiguous()


def from_array(array: npt.NDArray[np.generic] | Tensor, layout: str | None, where: str) -> Tensor:
    """An array of images to (N, C, H, W), uint8 or float32; integers must lie in 0..255.

    Args:
        array: (N, H, W), (N, C, H, W) or (N, H, W, C).
        layout: ``"NCHW"`` or ``"NHWC"``; None: the axis of 1 or 3 channels decides.
        where: What it is called in a message.

    Raises:
        DataError: It has another shape or type, or which axis holds the channels cannot be told.
    """
    tensor = _plain(array, where) if isinstance(array, Tensor) else _as_tensor(array, where)
    if tensor.ndim == 3:
        tensor = tensor.unsqueeze(1)
    elif tensor.ndim == 4:
        tensor = tensor if _layout(tensor, layout, where) == "NCHW" else tensor.permute(0, 3, 1, 2)
    else:
        raise DataError(
            f"{where}: expected images of shape (N, H, W), (N, C, H, W) or (N, H, W, C), found "
            f"{tuple(tensor.shape)}"
        )
    return _eight_bits(tensor, where).contiguous()


def check_pixels(images: Tensor, where: str) -> None:
    """Raise :class:`DataError` on pixels not finite, or floats outside [0, 1], or images of no size."""
    if 0 in images.shape[1:]:
        raise DataError(f"{where}: images of shape {tuple(images.shape[1:])} hold no pixel")
    if images.dtype == torch.uint8:
        return
    low, high = 0.0, 1.0
    for at, part in enumerate(torch.split(images, 4096)):
        if not bool(part.isfinite().all()):
            bad = ~part.isfinite().flatten(1).all(1)
            first = at * 4096 + int(bad.nonzero()[0])
            raise DataError(
                f"{where}: image {first} has pixels that are NaN or infinite: remove or repair it"
            )
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if low < 0 or high > 1:
        scale = (
            "divide by 255, or give them as uint8"
            if low >= 0 and high <= 255
            else "give them before any normalisation, which is done here"
        )
        raise DataError(f"{where}: float pixels must lie in [0, 1], found {low:g} to {high:g}: {scale}")


def _plain(tensor: Tensor, where: str) -> Tensor:
    """In memory, of a type that can be compared."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise DataError(
            f"{where}: expected a dense tensor of numbers, found {tensor.layout}, {tensor.dtype} on "
            f"{tensor.device}"
        )
    wide = tensor.dtype in (torch.uint16, torch.uint32, torch.uint64)
    return tensor.detach().cpu().to(torch.int64 if wide else tensor.dtype)


def _as_tensor(array: npt.NDArray[np.generic], where: str) -> Tensor:
    array = np.asarray(array)
    if array.dtype.kind not in "iufb":
        raise DataError(f"{where}: expected images as numbers, found an array of {array.dtype}")
    wide = {"uint16": "i4", "uint32": "i8", "uint64": "i8"}.get(array.dtype.name)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        wide = "f8"
    native = array.astype(wide or array.dtype.newbyteorder("="), copy=False)
    whole = np.ascontiguousarray(native)  # torch takes no negative strides
    return torch.from_numpy(np.array(whole, copy=not whole.flags.writeable or None))


def _layout(tensor: Tensor, layout: str | None, where: str) -> str:
    if layout is not None:
        return layout
    first, last = tensor.shape[1] in (1, 3), tensor.shape[3] in (1, 3)
    if first == last:
        raise DataError(
            f"{where}: in shape {tuple(tensor.shape)} either axis or none may hold the channels: give "
            'layout="NCHW" or layout="NHWC"'
        )
    return "NCHW" if first else "NHWC"


def _eight_bits(tensor: Tensor, where: str) -> Tensor:
    if tensor.dtype == torch.uint8:
        return tensor
    if tensor.is_floating_point():
        return tensor.float()
    if tensor.is_complex():
        raise DataError(f"{where}: expected real pixels, found {tensor.dtype}")
    if tensor.dtype == torch.bool:
        return tensor.to(torch.uint8) * 255
    low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
    if low < 0 or high > 255:
        raise DataError(
            f"{where}: integer pixels must lie in 0..255, found {low} to {high}: give floats in [0, 1]"
        )
    return tensor.to(torch.uint8)
