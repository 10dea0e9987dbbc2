"""Gradients of a network's loss, laid end to end: what gradient matching compares."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from pydistill import nets
from pydistill.ops.second_order import second_order
from pydistill.optim import Tensors

MATCHED = ("weights", "filters", "all")
"""Which parameters: those of two dimensions or more, convolutions alone, or biases and norms too."""

PER = ("channel", "all")
"""What a distance is taken of: each output channel of each parameter by itself, or all in one."""


class Gradients:
    """A loss's gradients in some parameters of a network that stays as it is.

    Args:
        network: In the mode that it is to run in.
        loss: From outputs (N, K) and targets to a scalar.
        matched: A name of :data:`MATCHED`.

    Raises:
        ValueError: The network has no such parameters.
    """

    def __init__(
        self, network: nets.Network, loss: Callable[[Tensor, Tensor], Tensor], matched: str
    ) -> None:
        least, most = {"weights": (2, 9), "filters": (4, 4), "all": (0, 9)}[matched]
        self._network, self._loss = network, loss
        self.weights: Tensors = {
            name: value.detach().requires_grad_()
            for name, value in network.named_parameters()
            if least <= value.ndim <= most
        }
        if not self.weights:
            raise ValueError(f"{network.spec} has no parameters of the kind {matched!r} to match")

    def offsets(self, per: str) -> list[int]:
        """Where segments begin in what :meth:`of` gives, and the last one ends.

        A parameter of two dimensions or more has a segment for each entry of its first one, its output
        channels (arXiv:2006.05929, appendix A); one of fewer dimensions is a segment.
        """
        if per == "all":
            return [0, self.size]
        segments = ((value, len(value) if value.ndim >= 2 else 1) for value in self.weights.values())
        lengths = (value.numel() // rows for value, rows in segments for _ in range(rows))
        return [0, *itertools.accumulate(lengths)]

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return sum(value.numel() for value in self.weights.values())

    def of(self, images: Tensor, targets: Tensor, *, differentiable: bool) -> Tensor:
        """(P,) for images (N, C, H, W); ``differentiable`` in the images."""
        with torch.enable_grad(), second_order(twice=differentiable):
            outputs = torch.func.functional_call(self._network, self.weights, (images,))
            found = torch.autograd.grad(
                self._loss(outputs, targets), list(self.weights.values()), create_graph=differentiable
            )
        return torch.cat([gradient.flatten() for gradient in found])

    def of_each(self, images: Tensor, targets: Tensor) -> Tensor:
        """(G, P) for images (G, N, C, H, W) and targets (G, N, ...), in one vectorised pass."""

        def loss(weights: Tensors, batch: Tensor, wanted: Tensor) -> Tensor:
            outputs: Tensor = torch.func.functional_call(self._network, weights, (batch,))
            return self._loss(outputs, wanted)

        constant = {name: value.detach() for name, value in self.weights.items()}
        found = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(constant, images, targets)
        return torch.cat([gradient.flatten(1) for gradient in found.values()], 1)
