"""An average of weights along a training, later ones weighing more.

[0] B. T. Polyak, A. B. Juditsky: Acceleration of Stochastic Approximation by Averaging. SIAM J. Control and
    Optimization 30(4), 1992: averages of iterates.
[1] D. P. Kingma, J. Ba: Adam: A Method for Stochastic Optimization. ICLR 2015, arXiv:1412.6980, section 3:
    the same correction of a short history.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pydistill import checks
from pydistill.optim import Tensors


class WeightAverage:
    """An exponential moving average of parameters, one weight a step.

    After t steps it is ``sum_i d^(t-i) p_i / sum_i d^(t-i)`` over the parameters p_1 to p_t after each
    step: the initial ones are no part of it, so that it holds after few steps as well ([1]). Running
    statistics of batch normalisation are not averaged: whoever uses the average takes those of the last
    step.

    Args:
        parameters: Shaped as those that are averaged.
        decay: d, within [0, 1); 0: the last parameters.

    Raises:
        ValueError: The decay is out of range.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        checks.number("average", decay, low=0, below=1)
        self._decay, self._count = decay, 0
        self._mean = {
            name: torch.zeros_like(value, requires_grad=False) for name, value in parameters.items()
        }

    @torch.no_grad()
    def add(self, parameters: Mapping[str, Tensor]) -> None:
        """Take in the parameters after a step."""
        self._count += 1
        weight = (1 - self._decay) / (1 - self._decay**self._count)
        means = [self._mean[name] for name in parameters]
        torch._foreach_lerp_(means, list(parameters.values()), weight)

    @torch.no_grad()
    def put(self, parameters: Mapping[str, Tensor]) -> None:
        """Put the average in place of the parameters; before the first step they stay."""
        if self._count:
            for name, value in parameters.items():
                value.copy_(self._mean[name])

    def state(self) -> dict[str, int | Tensors]:
        """What it is made of, in copies."""
        return {"count": self._count, "mean": {name: value.clone() for name, value in self._mean.items()}}

    @torch.no_grad()
    def restore(self, state: Mapping[str, int | Tensors]) -> None:
        """Go on from a :meth:`state`."""
        count, mean = state["count"], state["mean"]
        if not isinstance(count, int) or isinstance(mean, int):
            raise TypeError("expected a count and tensors by name")
        self._count = count
        for name, value in self._mean.items():
            value.copy_(mean[name])
