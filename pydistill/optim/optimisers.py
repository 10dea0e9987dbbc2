"""Optimisers as pure functions on dicts of tensors: images, one network, or many stacked networks.

Each has two forms of the same update. ``update`` returns new tensors and can be differentiated, also in
the learning rate, which unrolled training needs. ``update_`` changes its arguments in place and keeps no
graph, which plain training wants. A state is a plain tree of dicts, tensors and numbers, so that it can
lie in a checkpoint.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pydistill import checks

Tensors: TypeAlias = dict[str, Tensor]
_Many: TypeAlias = list[Tensor] | tuple[Tensor, ...]
OptimiserState: TypeAlias = dict[str, Any]
Rate: TypeAlias = float | Tensor
"""A number, a scalar tensor, or (E,): one rate for each of E networks whose parameters are stacked along
their first axis."""


class Optimiser(ABC):
    """Moves parameters along their gradients."""

    @abstractmethod
    def init(self, parameters: Mapping[str, Tensor]) -> OptimiserState:
        """The state before the first update: zeros shaped as the parameters."""

    @abstractmethod
    def update(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> tuple[Tensors, OptimiserState]:
        """The moved parameters and the next state; arguments stay as they are.

        Differentiable in parameters, gradients, state and learning rate, to any order.
        """

    @abstractmethod
    def update_(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> None:
        """Move ``parameters`` and ``state`` in place, outside any graph; ``gradients`` stay as they are."""


@dataclass(frozen=True)
class Sgd(Optimiser):
    """Stochastic gradient descent, as ``torch.optim.SGD`` without dampening.

    ``g = gradient + weight_decay * p``, ``b = momentum * b + g``, ``p = p - learning_rate * d`` with
    ``d = b``, or ``d = g + momentum * b`` for Nesterov.

    Attributes:
        momentum: In [0, 1).
        nesterov: Look ahead; needs momentum.
        weight_decay: Factor of the L2 penalty, at least 0.

    Raises:
        ValueError: A value is out of range.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        checks.number("momentum", _plain(self.momentum), low=0, below=1)
        checks.number("weight_decay", _plain(self.weight_decay), low=0)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got 0")

    def init(self, parameters: Mapping[str, Tensor]) -> OptimiserState:
        return {"momentum": _zeros(parameters)} if self.momentum else {}

    def update(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> tuple[Tensors, OptimiserState]:
        moved, buffers = {}, {}
        for name, parameter in parameters.items():
            direction = gradients[name]
            if self.weight_decay:
                direction = direction + self.weight_decay * parameter
            if self.momentum:
                buffers[name] = self.momentum * state["momentum"][name] + direction
                direction = direction + self.momentum * buffers[name] if self.nesterov else buffers[name]
            moved[name] = parameter - _rate(learning_rate, parameter) * direction
        return moved, {"momentum": buffers} if self.momentum else {}

    @torch.no_grad()
    def update_(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> None:
        values: _Many
        directions: _Many
        values, directions = _aligned(parameters, gradients)
        if self.weight_decay:
            directions = torch._foreach_add(directions, values, alpha=self.weight_decay)
        if self.momentum:
            buffers = [state["momentum"][name] for name in parameters]
            torch._foreach_mul_(buffers, self.momentum)
            torch._foreach_add_(buffers, directions)
            if self.nesterov:
                directions = torch._foreach_add(directions, buffers, alpha=self.momentum)
            else:
                directions = buffers
        _descend(values, directions, learning_rate)


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (arXiv 1412.6980, algorithm 1), as ``torch.optim.Adam`` or, decoupled, ``torch.optim.AdamW``.

    Attributes:
        beta1: Decay of the mean of gradients, in [0, 1).
        beta2: Decay of the mean of squared gradients, in [0, 1).
        eps: Added to the root of the mean square, above 0.
        weight_decay: Factor of the L2 penalty, at least 0.
        decoupled: Shrink the parameters by ``learning_rate * weight_decay`` instead (arXiv 1711.05101).

    Raises:
        ValueError: A value is out of range.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        checks.number("beta1", self.beta1, low=0, below=1)
        checks.number("beta2", self.beta2, low=0, below=1)
        checks.number("weight_decay", _plain(self.weight_decay), low=0)
        checks.number("eps", self.eps, above=0)

    def init(self, parameters: Mapping[str, Tensor]) -> OptimiserState:
        return {"step": 0, "first": _zeros(parameters), "second": _zeros(parameters)}

    def update(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> tuple[Tensors, OptimiserState]:
        step = state["step"] + 1
        moved, firsts, seconds = {}, {}, {}
        for name, parameter in parameters.items():
            rate, gradient, base = _rate(learning_rate, parameter), gradients[name], parameter
            if self.weight_decay and self.decoupled:
                base = parameter * (1 - rate * self.weight_decay)
            elif self.weight_decay:
                gradient = gradient + self.weight_decay * parameter
            firsts[name] = self.beta1 * state["first"][name] + (1 - self.beta1) * gradient
            seconds[name] = self.beta2 * state["second"][name] + (1 - self.beta2) * gradient.square()
            root = _root(seconds[name] / (1 - self.beta2**step))
            moved[name] = base - rate * (firsts[name] / (1 - self.beta1**step)) / (root + self.eps)
        return moved, {"step": step, "first": firsts, "second": seconds}

    @torch.no_grad()
    def update_(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> None:
        state["step"] += 1
        values: _Many
        steps: _Many
        values, steps = _aligned(parameters, gradients)
        firsts = [state["first"][name] for name in parameters]
        seconds = [state["second"][name] for name in parameters]
        if self.weight_decay and self.decoupled:
            for value in values:
                value.mul_(1 - _rate(learning_rate, value) * self.weight_decay)
        elif self.weight_decay:
            steps = torch._foreach_add(steps, values, alpha=self.weight_decay)
        torch._foreach_mul_(firsts, self.beta1)
        torch._foreach_add_(firsts, steps, alpha=1 - self.beta1)
        torch._foreach_mul_(seconds, self.beta2)
        torch._foreach_addcmul_(seconds, steps, steps, 1 - self.beta2)
        roots = torch._foreach_div(seconds, 1 - self.beta2 ** state["step"])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, self.eps)
        directions = torch._foreach_div(firsts, 1 - self.beta1 ** state["step"])
        torch._foreach_div_(directions, roots)
        _descend(values, directions, learning_rate)


@dataclass(frozen=True)
class AsUnrolled(Optimiser):
    """An optimiser that rounds in place as its differentiable update does: to repeat an unrolled training.

    Attributes:
        inner: The optimiser.
    """

    inner: Optimiser

    def init(self, parameters: Mapping[str, Tensor]) -> OptimiserState:
        return self.inner.init(parameters)

    def update(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> tuple[Tensors, OptimiserState]:
        return self.inner.update(parameters, gradients, state, learning_rate)

    @torch.no_grad()
    def update_(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: OptimiserState,
        learning_rate: Rate,
    ) -> None:
        moved, memory = self.inner.update(parameters, gradients, state, learning_rate)
        for name, value in parameters.items():
            value.copy_(moved[name])
        state.update(memory)


def move_each(
    optimiser: Optimiser,
    values: dict[str, Any],
    gradients: Mapping[str, Tensor],
    states: dict[str, OptimiserState],
    rates: Mapping[str, Rate],
) -> None:
    """Move tensors that have a rate and a state each; ``values`` and ``states`` get new entries.

    For what a method learns at different rates, such as images, labels and learning rates.
    """
    for name, gradient in gradients.items():
        moved, states[name] = optimiser.update(
            {name: values[name]}, {name: gradient}, states[name], rates[name]
        )
        values[name] = moved[name]


def _zeros(parameters: Mapping[str, Tensor]) -> Tensors:
    return {name: torch.zeros_like(value, requires_grad=False) for name, value in parameters.items()}


def _aligned(parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> tuple[_Many, _Many]:
    return list(parameters.values()), [gradients[name] for name in parameters]


def _descend(values: _Many, directions: _Many, rate: Rate) -> None:
    if isinstance(rate, Tensor):
        for value, direction in zip(values, directions, strict=True):
            value.sub_(_rate(rate, value) * direction)
    else:
        torch._foreach_add_(values, directions, alpha=-rate)


def _rate(rate: Rate, parameter: Tensor) -> Rate:
    """``rate`` in a shape that multiplies ``parameter``: one a network where it is (E,)."""
    if not isinstance(rate, Tensor) or rate.ndim == 0:
        return rate
    return rate.view(-1, *[1] * (parameter.ndim - 1))


def _root(square: Tensor) -> Tensor:
    """Square root whose derivative at 0 is 0, not infinite: a gradient that is exactly 0 stays harmless."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def _plain(value: float | Tensor) -> float:
    """A setting as a number; learned ones are tensors."""
    return value.item() if isinstance(value, Tensor) else value
