"""One DM image step in plain torch, arranged as the paper's public code arranges it: the yardstick.

Class by class, eager, NCHW, a fresh network a step, 256 real images a class of which no graph is kept,
and the siamese augmentation in its single mode: one transform drawn a class, the same parameters for
real and synthetic images. Written from the papers' formulas (arXiv:2110.04181, arXiv:2102.08259), not
taken from anyone's repository. It may read the global generator: it is a yardstick, not the library.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainConvNet(nn.Module):
    """ConvNet-D/width: 3x3 convolution, instance norm as one group a channel, ReLU, 2x2 average pooling."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(
                layer
                for at in range(depth)
                for layer in (
                    nn.Conv2d(width if at else channels, width, 3, padding=1),
                    nn.GroupNorm(width, width, affine=True),
                    nn.ReLU(inplace=True),
                    nn.AvgPool2d(2),
                )
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to the flattened embedding (N, D)."""
        return self.layers(images).flatten(1)


def colour(images: Tensor) -> Tensor:
    """Brightness, saturation, contrast."""
    bright, saturate, contrast = torch.rand(3, 1, 1, 1, 1).unbind()
    images = images + (bright - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturate) + grey
    level = images.mean((1, 2, 3), keepdim=True)
    return (images - level) * (contrast + 0.5) + level


def crop(images: Tensor, ratio: float = 0.125) -> Tensor:
    """A shift with zero padding, as one gather."""
    count, _, height, width = images.shape
    limits = int(height * ratio + 0.5), int(width * ratio + 0.5)
    down, right = (int(torch.randint(-limit, limit + 1, ())) for limit in limits)
    which, rows, columns = torch.meshgrid(
        torch.arange(count), torch.arange(height), torch.arange(width), indexing="ij"
    )
    rows, columns = (rows + down + 1).clamp(0, height + 1), (columns + right + 1).clamp(0, width + 1)
    padded = F.pad(images, [1, 1, 1, 1])
    return padded.permute(0, 2, 3, 1).contiguous()[which, rows, columns].permute(0, 3, 1, 2)


def cutout(images: Tensor, ratio: float = 0.5) -> Tensor:
    """A square of zeros."""
    count, _, height, width = images.shape
    size = int(height * ratio + 0.5), int(width * ratio + 0.5)
    top = int(torch.randint(0, height + (1 - size[0] % 2), ())) - size[0] // 2
    left = int(torch.randint(0, width + (1 - size[1] % 2), ())) - size[1] // 2
    mask = torch.ones(count, height, width)
    mask[:, max(top, 0) : top + size[0], max(left, 0) : left + size[1]] = 0
    return images * mask[:, None]


def flip(images: Tensor) -> Tensor:
    """Left to right, or not."""
    return images.flip(3) if torch.rand(()) < 0.5 else images


def scale(images: Tensor, ratio: float = 1.2) -> Tensor:
    """Stretch both axes."""
    along = torch.rand(2) * (ratio - 1 / ratio) + 1 / ratio
    return _warp(images, torch.diag(along))


def rotate(images: Tensor, degrees: float = 15.0) -> Tensor:
    """Turn about the centre."""
    angle = torch.deg2rad((torch.rand(()) - 0.5) * 2 * degrees)
    return _warp(images, torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2))


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    theta = torch.cat([matrix, torch.zeros(2, 1)], 1).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, align_corners=True)


TRANSFORMS: tuple[Callable[[Tensor], Tensor], ...] = (colour, crop, cutout, flip, scale, rotate)


def augment(images: Tensor, seed: int) -> Tensor:
    """One transform for the whole batch; the same seed gives the same transform and parameters."""
    torch.manual_seed(seed)
    return TRANSFORMS[int(torch.randint(len(TRANSFORMS), ()))](images)


def step(
    real: Tensor,
    members: list[Tensor],
    synthetic: Tensor,
    optimiser: torch.optim.Optimizer,
    *,
    width: int,
    depth: int,
    batch_real: int,
    seed: int,
) -> float:
    """One image step.

    Args:
        real: (N, C, H, W) float32, every training image, preprocessed; the step runs on its device.
        members: The positions of each class's images.
        synthetic: (K * ipc, C, H, W) float32 with gradient, class after class.
        optimiser: Of ``synthetic``.
        width: Channels of the network.
        depth: Blocks of the network.
        batch_real: Real images a class.
        seed: Of this step.

    Returns:
        The loss.
    """
    torch.manual_seed(seed)
    ipc = len(synthetic) // len(members)
    with real.device:
        network = PlainConvNet(real.shape[1], width, depth).requires_grad_(False)
        loss = torch.zeros(())
        for at, member in enumerate(members):
            batch = real[member[torch.randperm(len(member))[:batch_real]]]
            own = synthetic[at * ipc : (at + 1) * ipc]
            chosen = seed * len(members) + at
            target = network(augment(batch, chosen)).detach()
            learned = network(augment(own, chosen))
            loss = loss + (target.mean(0) - learned.mean(0)).square().sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())
