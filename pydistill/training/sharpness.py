"""Descent towards flat minima: the gradient is taken where the loss is steepest nearby.

[0] P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur: Sharpness-Aware Minimization for Efficiently Improving
    Generalization. ICLR 2021, arXiv:2010.01412.
[1] J. Zhuang et al.: Surrogate Gap Minimization Improves Sharpness-Aware Training. ICLR 2022,
    arXiv:2203.08065, algorithm 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill import checks
from pydistill.optim import Tensors
from pydistill.training.descent import Direction, Steepest


@dataclass(frozen=True)
class SurrogateGap(Direction):
    """Algorithm 1 of [1]; with an ``alpha`` of 0 that of [0].

    With g the gradient where the parameters stand and s that at a distance ``rho`` along g, the step goes
    along ``s - alpha * (g's part at right angles to s)``. Statistics of batch normalisation are those of
    the first pass. Two passes a step.

    Attributes:
        rho: Radius within which the steepest place is looked for.
        alpha: How much of that part is taken off.

    Raises:
        ValueError: A value is out of range.
    """

    rho: float
    alpha: float = 0.0

    def __post_init__(self) -> None:
        checks.number("rho", self.rho, above=0)
        checks.number("alpha", self.alpha, low=0)

    def find(
        self,
        parameters: Tensors,
        buffers: Mapping[str, Tensor],
        passed: Callable[[], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, Tensors]:
        """See the base class.

        Raises:
            ValueError: The parameters are of several networks.
        """
        losses, outputs, plain = Steepest().find(parameters, buffers, passed)
        if losses.ndim:
            raise ValueError("sharpness-aware descent is of one network at a time, got a stack")
        kept = {name: value.clone() for name, value in buffers.items()}
        before = {name: value.detach().clone() for name, value in parameters.items()}
        scale = self.rho / (_inner(plain, plain).sqrt() + 1e-12)
        with torch.no_grad():
            for name, value in parameters.items():
                value.add_(scale * plain[name])
        _, _, steep = Steepest().find(parameters, buffers, passed)
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(before[name])
            for name, value in buffers.items():  # statistics are of the weights themselves
                value.copy_(kept[name])
        along = _inner(plain, steep) / _inner(steep, steep)
        return (
            losses,
            outputs,
            {name: steep[name] - self.alpha * (plain[name] - along * steep[name]) for name in parameters},
        )


def _inner(one: Tensors, other: Tensors) -> Tensor:
    return torch.stack([(one[name] * other[name]).sum() for name in one]).sum()
