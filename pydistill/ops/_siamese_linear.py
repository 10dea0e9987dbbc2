"""Linear maps of images whose adjoints are maps of this file too: every order of derivative exists."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def channels_inside(images: Tensor) -> bool:
    """Whether a pixel's channels lie side by side in memory (channels_last); false for one channel."""
    return images.shape[1] > 1 and images.stride(1) == 1


def grey(images: Tensor) -> Tensor:
    """(N, 1, H, W) mean over channels. A matrix product where channels lie inside: faster."""
    if not channels_inside(images):
        return images.mean(1, keepdim=True)
    share = images.new_full((images.shape[1],), 1 / images.shape[1])
    return (images.movedim(1, -1) @ share)[:, None]


def take(images: Tensor, index: Tensor) -> Tensor:
    """Images by index, in the memory format they have."""
    if not channels_inside(images):
        return images.index_select(0, index)
    return images.movedim(1, -1).index_select(0, index).movedim(-1, 1)


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Move each image by whole pixels; what enters from outside is zero.

    Args:
        images: (N, C, H, W).
        offsets: (N, 2) int64 on the device of ``images``: output (i, j) is input (i + y, j + x).
    """
    shifted: Tensor = _Shift.apply(images, offsets)  # type: ignore[no-untyped-call]
    return shifted


def resample(images: Tensor, matrices: Tensor) -> Tensor:
    """Bilinear sampling about the image's centre; what lies outside is zero.

    Output at an offset p = (x, y) from the centre, in pixels, is input at the matrix times p. A pixel at
    the edge blends into zero within one pixel.

    ``align_corners`` makes no difference to such a map: either convention puts the centre in the same
    place, and its unit of length stands on both sides of the matrix. False is passed throughout.

    Args:
        images: (N, C, H, W), float32 or float64.
        matrices: (N, 2, 2), or (1, 2, 2) for all images, of the dtype and device of ``images``.
    """
    grid = _grid(matrices, images.shape[2], images.shape[3]).expand(len(images), -1, -1, -1)
    resampled: Tensor = _Resample.apply(images, grid)  # type: ignore[no-untyped-call]
    return resampled


def _grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W, 2) where to sample, in units of half a width and half a height from the centre."""
    x = torch.arange(1 - width, width, 2, device=matrices.device).to(matrices.dtype) / 2
    y = torch.arange(1 - height, height, 2, device=matrices.device).to(matrices.dtype) / 2
    half = torch.tensor([width, height], device=matrices.device).to(matrices.dtype) / 2
    scaled = matrices / half[:, None]
    across = scaled[:, None, None, :, 0] * x[:, None]
    down = scaled[:, None, None, :, 1] * y[:, None, None]
    return across + down


class _Shift(torch.autograd.Function):
    """The adjoint of a shift that fills with zeros is the opposite shift."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, offsets: Tensor) -> Tensor:
        count, channels, height, width = images.shape
        limits = torch.tensor([height, width], device=offsets.device)
        offsets = torch.minimum(torch.maximum(offsets, -limits), limits)
        margin = int(offsets.abs().max())
        padded = F.pad(images, (margin,) * 4)
        image = torch.arange(count, device=offsets.device)[:, None]
        row = torch.arange(height, device=offsets.device) + offsets[:, :1] + margin
        column = offsets[:, 1:] + margin
        tall, wide = height + 2 * margin, width + 2 * margin
        # Each row of the result is a window of the padded pixels in memory order, copied as one piece.
        if channels_inside(images):
            start = (image * tall + row) * wide + column
            pixels = padded.permute(0, 2, 3, 1).reshape(-1).unfold(0, width * channels, channels)
            windows = pixels.index_select(0, start.flatten())
            return windows.view(count, height, width, channels).permute(0, 3, 1, 2)
        plane = image * channels + torch.arange(channels, device=offsets.device)
        start = (plane[:, :, None] * tall + row[:, None]) * wide + column[:, None]
        windows = padded.reshape(-1).unfold(0, width, 1).index_select(0, start.flatten())
        return windows.view(count, channels, height, width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (offsets,) = ctx.saved_tensors
        return shift(gradients[0], -offsets), None


class _Resample(torch.autograd.Function):
    """Bilinear sampling. torch has no second derivative of it; as a map of the images it is linear."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradients[0], grid), None  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    """The adjoint of :class:`_Resample`: each pixel's value spread over the four it was blended from."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, grid: Tensor) -> Tensor:
        # The images stand in the operator's signature for their shape only: the map is linear in them.
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            gradient, gradient, grid, 0, 0, False, [True, False]
        )[0]
        return spread

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        return _Resample.apply(gradients[0], grid), None  # type: ignore[no-untyped-call]
