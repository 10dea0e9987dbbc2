"""What is computed of masks: shares of classes in the cells of a grid, maps on another grid, colours.

A mask (N, H, W) uint8 holds one class index a pixel, or :data:`VOID`. A soft mask (N, K, h, w) holds
probabilities of the classes in the cells of a grid, which may be coarser than the image's pixels; where a
cell is void all of them are 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

VOID = 255
"""Value of pixels without a label: no loss, metric or group counts them."""

_GOLDEN = (5**0.5 - 1) / 2
"""Hues that lie this share of the circle apart stay far from each other however many there are."""


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (N, K, H, W) on a grid of ``size`` = (h, w), (N, K, h, w); differentiable twice.

    A cell of a coarser grid holds the mean over its area; on a finer one values are interpolated bilinearly
    between the centres of cells. Where h does not divide H, or w does not divide W, the mean is over all
    pixels that the cell touches.

    Raises:
        ValueError: There are no maps: outputs are of a network that answers for whole images.
    """
    if maps.ndim != 4:
        raise ValueError(
            "expected maps (N, K, h, w), as of a network that answers for each pixel (unet, for one), "
            f"found {tuple(maps.shape)}"
        )
    height, width = maps.shape[2:]
    if (height, width) == size:
        return maps
    if height % size[0] == 0 and width % size[1] == 0:
        return F.avg_pool2d(maps, (height // size[0], width // size[1]))
    if size[0] <= height and size[1] <= width:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def shares(targets: Tensor, classes: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """(N, K, h, w) the share of each cell's area that is of each class; what is void is of none.

    Args:
        targets: (N, H, W) masks, or (N, K, H, W) soft masks.
        classes: K.
        size: (h, w), no finer than the masks; where it is, a cell takes over the pixel that it lies in.
        dtype: Of the result.
    """
    if not targets.is_floating_point():
        index = torch.arange(classes, device=targets.device)[:, None, None]
        targets = targets[:, None] == index
    targets = targets.to(dtype)
    height, width = targets.shape[2:]
    coarser = size[0] <= height and size[1] <= width
    return resized(targets, size) if coarser else F.adaptive_avg_pool2d(targets, size)


def hard_masks(targets: Tensor) -> Tensor:
    """(N, H, W) uint8: masks as they are, of soft ones the most probable class, void where nothing is."""
    if not targets.is_floating_point():
        return targets
    return torch.where(targets.sum(1) > 0, targets.argmax(1), VOID).to(torch.uint8)


def palette(classes: int) -> Tensor:
    """(K, 3) float32 red, green and blue in [0, 1]: hues a golden section apart, every second darker."""
    index = torch.arange(classes, dtype=torch.float64)
    value, saturation = 1 - 0.3 * (index % 2), 0.8
    turn = (torch.tensor([5.0, 3.0, 1.0]) + 6 * (index * _GOLDEN % 1)[:, None]) % 6
    lacking = torch.minimum(turn, 4 - turn).clamp(0, 1) * saturation
    return (value[:, None] * (1 - lacking)).float()


def painted(pixels: Tensor, masks: Tensor, colours: Tensor) -> Tensor:
    """(N, 3, H, W) pixels in [0, 1], half of them the colour of their class; void pixels stay as they are.

    Args:
        pixels: (N, C, H, W) in [0, 1]. Where C is not 3 their mean is shown, as grey.
        masks: (N, h, w) uint8, of the pixels' grid or a coarser one.
        colours: (K, 3).
    """
    if pixels.shape[1] != 3:
        pixels = pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    rows, columns = (
        torch.arange(side, device=masks.device) * own // side
        for side, own in zip(pixels.shape[2:], masks.shape[1:], strict=True)
    )
    masks = masks[:, rows][:, :, columns].to(pixels.device)
    void = masks == VOID
    inks = colours.to(pixels)[torch.where(void, 0, masks).long()].permute(0, 3, 1, 2)
    return torch.where(void[:, None], pixels, (pixels + inks) / 2)
