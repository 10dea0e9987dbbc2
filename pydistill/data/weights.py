"""Weights of a set's images: by how much the loss of each counts, 1 on average."""

import torch
from torch import Tensor

_ROUNDING = 1e-5
"""How far from 1 the mean of float32 numbers that were divided by theirs may be."""


def check_weights(weights: Tensor, count: int) -> None:
    """Refuse what are no weights of ``count`` images.

    Raises:
        ValueError: They are not (M,) float32, finite, at least 0 and of mean 1 up to rounding.
    """
    if weights.shape != (count,) or weights.dtype != torch.float32:
        raise ValueError(
            f"expected weights ({count},) float32, one a stored image, found {tuple(weights.shape)} "
            f"{weights.dtype}"
        )
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()):
        wrong = weights[~(weights.isfinite() & (weights >= 0))]
        raise ValueError(f"expected finite weights of at least 0, found {float(wrong[0]):g}")
    if not _is_one(mean := _mean(weights)):
        raise ValueError(f"expected weights of mean 1, found {mean:g}: divide them by it")


def normalised(weights: Tensor) -> Tensor:
    """Weights (M,) of at least 0 in the same proportions with mean 1, float32.

    Those that have it up to rounding stay as they are, to the bit.

    Raises:
        ValueError: All of them are 0.
    """
    mean = _mean(weights)
    if mean == 0:
        raise ValueError("expected a weight above 0, found none")
    return (weights if _is_one(mean) else weights.double() / mean).float()


def span(weights: Tensor) -> str:
    """``0.2 to 3.1``: the smallest weight and the largest."""
    low, high = (float(value) for value in weights.aminmax())
    return f"{low:.3g} to {high:.3g}"


def _mean(weights: Tensor) -> float:
    return float(weights.double().mean())


def _is_one(mean: float) -> bool:
    return abs(mean - 1) <= _ROUNDING
