"""Where images lie among each other: features that selection and analysis measure distances in."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import nets, seeds
from pydistill.data.preprocess import as_unit
from pydistill.data.real import RealData, Split
from pydistill.errors import did_you_mean
from pydistill.modes import plain_modes
from pydistill.tasks import Task
from pydistill.tasks.base import chunks

if TYPE_CHECKING:
    from pydistill.scores.store import Scores

Embedder: TypeAlias = Callable[[Tensor], Tensor]
"""Of a user's own: network input (M, C, H, W) to features (M, ...)."""

KINDS = ("random", "trained", "thumbnails")
NETWORK_WIDTH = 32
"""Of networks of random weights."""
_SIDE, _COMPONENTS = 8, 64
"""Of a thumbnail, and most principal components that are kept of it."""
_AT_ONCE = 128
_READ = 4096
"""Images that a network, and anything else, is given at once: bounds memory."""


@plain_modes()
def embed(
    data: RealData,
    split: Split,
    kind: str | Path | Embedder | Tensor | np.ndarray[Any, Any] = "random",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    scores: "Scores | None" = None,
) -> Tensor:
    """Features of a split's images.

    Args:
        data: The real data; its preprocessing is applied.
        split: Of it.
        kind: ``random``: the last block of a ConvNet of width 32 with random weights. ``trained``: what the
            network of ``scores`` makes of the training images. ``thumbnails``: images shrunk to 8 x 8 by
            area, their principal components (64 at most) scaled to unit variance. A path of a ``.npy``
            file or an array: (N, ...) features, a row an image of the split. Or a function from network
            input (M, C, H, W) to features.
            Of a network's features of images of no one class, means over the places of each class follow
            each other, zero where an image has nothing of it, and then the share of each class.
        seed: Random weights derive from it.
        device: Where a network computes.
        scores: For ``trained``.

    Returns:
        (N, D) float32 on the CPU.

    Raises:
        ValueError: The kind is unknown, needs scores that are not given, or features are not one row an
            image or not finite.
    """
    if isinstance(kind, Tensor | np.ndarray):
        return _checked(torch.as_tensor(kind), len(split), "the embedding")
    if callable(kind):
        parts = [_of(kind(data.inputs(split, part, device))) for part in chunks(len(split), _AT_ONCE)]
        return _checked(torch.cat(parts), len(split), "the embedding")
    text = str(kind)
    if text.endswith(".npy"):
        return _checked(read_numbers(Path(kind), f"the embedding {kind}"), len(split), text)
    if text == "thumbnails":
        return thumbnails(split)
    if text == "random":
        return network_features(random_network(data, seed, device), data, split, device)
    if text == "trained":
        if scores is None or split is not data.train:
            raise ValueError(
                "the embedding 'trained' is of the training images and needs their scores: make them with "
                "compute_scores or pydistill scores"
            )
        scores.require(data)
        return _checked(torch.from_numpy(scores.embedding.astype(np.float32)), len(split), "the embedding")
    raise ValueError(
        f"unknown embedding {text!r}{did_you_mean(text, KINDS)}; expected {', '.join(KINDS)} or a .npy file"
    )


def random_network(data: RealData, seed: int, device: torch.device | str = "cpu") -> nets.Network:
    """The task's usual network, of width 32, with random weights, in evaluation mode."""
    generator = seeds.generator(seed, "embedding")
    description = f"{data.task.network}:width={NETWORK_WIDTH}"
    network = nets.build(description, data.shape, data.task.outputs, generator, device=device)
    return network.requires_grad_(False).eval()


@torch.no_grad()
def network_features(
    network: nets.Network, data: RealData, split: Split, device: torch.device | str = "cpu"
) -> Tensor:
    """(N, D) float32 on the CPU, see :func:`embed`; the network should be in evaluation mode."""
    parts = []
    for part in chunks(len(split), _AT_ONCE):
        images = data.inputs(split, part, device)
        parts.append(features_of(network, data.task, images, split.targets[part].to(images.device)).cpu())
    return torch.cat(parts)


def features_of(network: nets.Network, task: Task, images: Tensor, targets: Tensor) -> Tensor:
    """(M, D) float32 of a batch: the network's embedding, or its last block's means by class."""
    if task.by_class:
        found: Tensor = network(images, "embedding").float()
        return found
    maps, size = network(images, "blocks")[-1], (images.shape[2], images.shape[3])
    return torch.stack(
        [_by_class(task, maps[at : at + 1], targets[at : at + 1], size) for at in range(len(images))]
    )


def _by_class(task: Task, maps: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
    sums, mass = task.group_sums(maps, target, size)
    means = torch.where(mass[:, None] > 0, sums / mass[:, None].clamp(min=1e-12), 0.0)
    return torch.cat([means.flatten(), mass / mass.sum().clamp(min=1e-12)])


def flat_thumbnails(images: Tensor, side: int) -> Tensor:
    """(N, C * side**2) float32 in [0, 1]: images (N, C, H, W) as flat thumbnails, means over areas."""
    parts = torch.split(images, _READ)
    return torch.cat([F.adaptive_avg_pool2d(as_unit(part), side).flatten(1) for part in parts])


def thumbnails(split: Split, components: int = _COMPONENTS) -> Tensor:
    """(N, D) principal components of images shrunk to 8 x 8, each of unit variance, D as many as there are.

    Components below a thousandth of the first one's deviation are left out.
    """
    small = flat_thumbnails(split.images, _SIDE)
    small -= small.mean(0)
    values, vectors = torch.linalg.eigh(small.T.double() @ small.double() / len(small))
    kept = min(components, int((values > 1e-6 * values[-1].clamp(min=1e-30)).sum()) or 1)
    basis = vectors[:, -kept:].flip(1) / values[-kept:].flip(0).clamp(min=1e-30).sqrt()
    found: Tensor = small @ basis.float()
    return found


def _of(found: Any) -> Tensor:
    if not isinstance(found, Tensor):
        raise ValueError(f"expected features as a tensor (M, ...), found {type(found).__name__}")
    return found.detach().float().cpu()


def read_numbers(path: Path, what: str) -> Tensor:
    """What a ``.npy`` file holds, float32.

    Args:
        path: Of the file.
        what: What it is for, with its path, for messages.

    Raises:
        ValueError: It cannot be read, or holds no real numbers.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{what} cannot be read: {error}") from error
    if not np.issubdtype(found.dtype, np.number) or np.issubdtype(found.dtype, np.complexfloating):
        raise ValueError(f"{what} holds {found.dtype}, expected numbers")
    return torch.from_numpy(found.astype(np.float32))


def _checked(found: Tensor, images: int, what: str) -> Tensor:
    """Features (N, D) float32 on the CPU."""
    if found.ndim < 2 or len(found) != images:
        raise ValueError(
            f"{what} has shape {tuple(found.shape)}, expected a row for each of the {images} images"
        )
    flat = found.detach().flatten(1).float().cpu()
    for part in chunks(images, _READ):
        if not bool(flat[part].isfinite().all()):
            bad = int(torch.nonzero(~flat[part].isfinite().all(1))[0]) + part.start
            raise ValueError(f"{what} holds NaN or infinity, first in the row of image {bad}")
    return flat
