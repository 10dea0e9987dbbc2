"""Gradients of the last layer as outer products, never written out."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pydistill.selection.similarity import Index
from pydistill.tasks.base import chunks

_ROWS = 4096
"""Images of a part: bounds memory."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of n images by the weights of a layer, g_i = outer(residuals[i], inputs[i]).

    An inner product is that of the residuals times that of the inputs, so that n gradients take n (K + D)
    numbers, and not n K D.

    Attributes:
        residuals: (n, K) float32, derivatives by the layer's outputs.
        inputs: (n, D) float32, what the layer is given.
    """

    residuals: Tensor
    inputs: Tensor

    def __len__(self) -> int:
        return len(self.residuals)

    @cached_property
    def lengths(self) -> Tensor:
        """(n,) of the gradients."""
        found: Tensor = self.residuals.norm(dim=1) * self.inputs.norm(dim=1)
        return found

    def distances(self, rows: Index, columns: Index = slice(None)) -> Tensor:
        """(b, c) from those in ``rows`` to those in ``columns``.

        They have an absolute error of about 1e-3 of the longer gradient of both, where they are equal in
        most digits; that of a gradient to itself is 0.
        """
        found = self.residuals[rows] @ self.residuals[columns].T
        found *= self.inputs[rows] @ self.inputs[columns].T
        squares, every = self.lengths.square(), torch.arange(len(self))
        found.mul_(-2).add_(squares[columns]).add_(squares[rows][:, None]).clamp_(min=0).sqrt_()
        return found.masked_fill_(every[rows][:, None] == every[columns], 0)

    def along(self, direction: Tensor) -> Tensor:
        """(n,) float32 inner products with one vector, given as (K, D)."""
        scale = direction.abs().max().clamp(min=torch.finfo(direction.dtype).tiny)
        by_output = self.inputs @ (direction / scale).float().T
        return (by_output * self.residuals).sum(1) * scale

    def sum(self, rows: Tensor | None = None) -> Tensor:
        """(K, D) float64: of all gradients, or of those in ``rows``."""
        every = torch.arange(len(self)) if rows is None else rows
        found = torch.zeros(self.residuals.shape[1], self.inputs.shape[1], dtype=torch.float64)
        for part in chunks(len(every), _ROWS):
            own = every[part]
            found += self.residuals[own].double().T @ self.inputs[own].double()
        return found
