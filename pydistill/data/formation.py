"""Multi-formation: one stored image holds ``factor`` x ``factor`` smaller ones, each enlarged to a view.

[0] J.-H. Kim et al.: Dataset Condensation via Efficient Synthetic-Data Parameterization (IDC). ICML 2022,
arXiv:2205.14959: its uniform formation. As there, views are enlarged bilinearly. Different from there:
sides that ``factor`` does not divide are refused, where [0]'s code pads them with grey; real images are
shrunk by area, where it takes the nearest pixel; and the views of one stored image follow each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import checks
from pydistill.data.real import RealData
from pydistill.tasks import Draw

_LARGEST = 4096
"""Most real images shrunk at once: bounds memory."""


def check_factor(factor: int, shape: Sequence[int]) -> None:
    """Refuse a factor that does not cut images into whole patches.

    Args:
        factor: Views along each side of a stored image.
        shape: (..., H, W).

    Raises:
        TypeError: ``factor`` is not an integer.
        ValueError: It is below 1, or does not divide both sides; the factors that do are listed.
    """
    checks.integer("factor", factor, 1)
    height, width = shape[-2:]
    if height % factor or width % factor:
        fitting = [str(f) for f in range(1, min(height, width) + 1) if not (height % f or width % f)]
        raise ValueError(
            f"factor {factor} does not divide images of {height}x{width} pixels; "
            f"factors that do: {', '.join(fitting)}"
        )


def decode(images: Tensor, factor: int) -> Tensor:
    """Stored images to views: patches, row by row, enlarged bilinearly (corners not aligned).

    Differentiable to any order, in ``images``' own memory format.

    Args:
        images: (M, C, H, W), floating point.
        factor: Patches along each side.

    Returns:
        (M * factor**2, C, H, W), all views of the first image first; at factor 1 ``images`` itself.

    Raises:
        TypeError, ValueError: ``images`` or ``factor`` is not as said.
    """
    return enlarge(cut(images, factor), factor)


def cut(images: Tensor, factor: int) -> Tensor:
    """The first half of :func:`decode`: patches (M * factor**2, C, H / factor, W / factor)."""
    _check_images(images)
    check_factor(factor, images.shape)
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    patches = images.reshape(count, channels, factor, height // factor, factor, width // factor)
    if _is_channels_last(images):
        return patches.permute(0, 2, 4, 3, 5, 1).flatten(0, 2).permute(0, 3, 1, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def enlarge(patches: Tensor, factor: int) -> Tensor:
    """The second half of :func:`decode`: patches (V, C, h, w) as views (V, C, h * factor, w * factor)."""
    if factor == 1:
        return patches
    size = (patches.shape[2] * factor, patches.shape[3] * factor)
    return F.interpolate(patches, size=size, mode="bilinear", align_corners=False)


def encode(images: Tensor, factor: int) -> Tensor:
    """Images packed into stored ones: each shrunk by the mean over squares of ``factor`` pixels a side.

    The inverse layout of :func:`decode`: image ``m * factor**2 + v`` becomes patch ``v`` of stored image
    ``m``. What is finer than a square is lost.

    Args:
        images: (M * factor**2, C, H, W), floating point.
        factor: Patches along each side of a stored image.

    Returns:
        (M, C, H, W) in ``images``' own memory format; at factor 1 ``images`` itself.

    Raises:
        TypeError, ValueError: ``images`` or ``factor`` is not as said.
    """
    _check_images(images)
    check_factor(factor, images.shape)
    if len(images) % factor**2:
        raise ValueError(
            f"expected a multiple of {factor**2} images to pack by factor {factor}, got {len(images)}"
        )
    if factor == 1:
        return images
    small = F.avg_pool2d(images, factor)
    patches = small.view(-1, factor, factor, *small.shape[1:])  # (M, row, column, C, h, w)
    if _is_channels_last(images):
        return patches.permute(0, 1, 4, 2, 5, 3).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def repeat_targets(targets: Tensor, factor: int) -> Tensor:
    """Targets (M, ...) of stored images as those of their views (M * factor**2, ...), in decode's order."""
    return targets if factor == 1 else targets.repeat_interleave(factor**2, dim=0)


@dataclass(frozen=True)
class Packed:
    """Real images packed into stored ones.

    Attributes:
        images: (M, C, H, W) float32 network input, channels_last.
        targets: (M, ...) of the stored images, which hold views of one group each.
        groups: (M,) int64, on the CPU.
        indices: (M * factor**2,) int64, on the CPU: each view's image, in :func:`decode`'s order.
    """

    images: Tensor
    targets: Tensor
    groups: Tensor
    indices: Tensor


def pack(data: RealData, draw: Draw, factor: int, device: torch.device | str = "cpu") -> Packed:
    """Training images packed ``factor**2`` to a stored one, group by group, as network input.

    What ``random`` selects, what evaluation compares with, and where a method may start from. Where the
    number of a group's images is no multiple of ``factor**2``, its first ones fill up its last stored one.

    Args:
        data: Where the images are.
        draw: Which, and of which groups.
        factor: Real images along each side of a stored one; 1: the images as they are.
        device: Where to put the result.

    Raises:
        TypeError, ValueError: ``factor`` is not one for these images.
    """
    check_factor(factor, data.shape)
    each = factor**2
    picks, groups = [], []
    for group in torch.unique(draw.groups):
        members = draw.indices[draw.groups == group]
        stored = -(-len(members) // each)
        picks.append(members[torch.arange(stored * each) % len(members)])
        groups.append(group.repeat(stored))
    indices = torch.cat(picks)
    at_once = each * max(1, _LARGEST // each)
    parts = torch.split(indices, at_once)
    packed = [encode(data.inputs(data.train, part, device), factor) for part in parts]
    images = torch.cat(packed).contiguous(memory_format=torch.channels_last)
    targets = data.task.pack(data.train.targets[indices], factor)
    return Packed(images, targets.to(device), torch.cat(groups), indices)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4:
        raise ValueError(f"expected images (M, C, H, W), got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise TypeError(f"expected floating-point images, got {images.dtype}")


def _is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
