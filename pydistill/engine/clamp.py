"""Learned images kept within the range of pixels, whatever the method."""

import torch
from torch import Tensor

from pydistill.data.preprocess import Preprocess
from pydistill.engine.method import State

WITHIN = 1e-5
"""By so much a pixel may leave [0, 1] and count as within: rounding of the way from network input back."""


@torch.no_grad()
def within_pixels(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Stored images as network input, moved to where all their pixels are in [0, 1].

    Pixels are clamped and the change is carried over to network input, so that an image without a pixel
    outside stays as it is, to the bit, and no rounding gathers over many calls. Under a whitening this is
    the nearest image in pixels, not in network input.

    Args:
        images: (M, C, H, W) network input.
        preprocess: What made it of pixels.

    Returns:
        (M, C, H, W) in the memory format of ``images``.
    """
    pixels = preprocess.invert(images)
    clamped = pixels.clamp(0, 1)
    change = preprocess.apply(clamped) - preprocess.apply(pixels)
    outside = (pixels != clamped).flatten(1).any(1)
    change = change.to(images.dtype) * outside.view(-1, 1, 1, 1)
    return torch.empty_like(images).copy_(images + change)


def clamp_state(state: State, preprocess: Preprocess) -> None:
    """Clamp the images that a method's state holds: under ``images``, or among what is ``learned``."""
    held = state if "images" in state else state["learned"]
    held["images"] = within_pixels(held["images"], preprocess)
