"""One gradient-matching image step in plain torch, arranged as the papers' public code arranges it.

Class by class, eager, NCHW; the real batch's gradient has a graph of its own and is then cut off, the
synthetic one's with ``create_graph``; the distance goes parameter by parameter; all classes' graphs stand
until one backward pass. Written from the papers' formulas (arXiv:2006.05929, arXiv:2102.08259), not taken
from anyone's repository. It may read the global generator: it is a yardstick, not the library.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.plain_dm import PlainConvNet, augment


class PlainClassifier(nn.Module):
    """The yardstick's ConvNet with a linear classifier on 3 x 32 x 32 images of ten classes."""

    def __init__(self, channels: int, width: int, depth: int, side: int, outputs: int) -> None:
        super().__init__()
        self.features = PlainConvNet(channels, width, depth)
        self.classifier = nn.Linear(width * (side >> depth) ** 2, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, K)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def distance(synthetic: Tensor, real: Tensor) -> Tensor:
    """1 - cosine of each output channel, summed; vectors do not count."""
    if synthetic.ndim < 2:
        return torch.zeros((), device=synthetic.device)
    one, other = synthetic.flatten(1), real.flatten(1)
    products, norms = (one * other).sum(1), one.norm(dim=1) * other.norm(dim=1)
    return (1 - products / (norms + 1e-6)).sum()


def step(
    network: nn.Module,
    real: Tensor,
    members: list[Tensor],
    synthetic: Tensor,
    optimiser: torch.optim.Optimizer,
    *,
    batch_real: int,
    augmented: bool,
    seed: int,
) -> float:
    """One image step.

    Args:
        network: What is matched in.
        real: (N, C, H, W) float32, every training image, preprocessed; the step runs on its device.
        members: The positions of each class's images.
        synthetic: (K * ipc, C, H, W) float32 with gradient, class after class.
        optimiser: Of ``synthetic``.
        batch_real: Real images a class.
        augmented: Whether both branches are augmented alike (DSA).
        seed: Of this step.

    Returns:
        The loss.
    """
    torch.manual_seed(seed)
    ipc, weights = len(synthetic) // len(members), list(network.parameters())
    with real.device:
        loss = torch.zeros(())
        for at, member in enumerate(members):
            batch = real[member[torch.randperm(len(member))[:batch_real]]]
            own = synthetic[at * ipc : (at + 1) * ipc]
            if augmented:
                chosen = seed * len(members) + at
                batch, own = augment(batch, chosen), augment(own, chosen)
            wanted = torch.autograd.grad(F.cross_entropy(network(batch), _targets(at, batch)), weights)
            found = torch.autograd.grad(
                F.cross_entropy(network(own), _targets(at, own)), weights, create_graph=True
            )
            for ours, theirs in zip(found, wanted, strict=True):
                loss = loss + distance(ours, theirs.detach().clone())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def _targets(group: int, images: Tensor) -> Tensor:
    return torch.full((len(images),), group)
