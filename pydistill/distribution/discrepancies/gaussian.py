"""Kullback-Leibler divergence between Gaussians fitted to a class's features, in closed form.

KL(p || q) for p = N(m, S), q = N(n, T) in D dimensions is
``(tr(T^-1 S) + (n - m)' T^-1 (n - m) - D + log det T - log det S) / 2``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill import checks
from pydistill.distribution.discrepancies.base import Discrepancy, State, rounding

DIRECTIONS = ("forward", "reverse", "symmetric")
COVARIANCES = ("diagonal", "full")


@dataclass(frozen=True)
class GaussianKL(Discrepancy):
    """KL divergence between class-wise Gaussians, divided by the number of features.

    A class has fewer images than features, so each covariance is shrunk towards a multiple of the
    identity (O. Ledoit, M. Wolf, 2004): ``(1 - shrinkage) C + shrinkage v I``, with v the mean variance of
    the real features of that class, for real and synthetic alike; so one synthetic image a class will do.
    A class whose real images do not differ (one image, or the same several times) has no variance of its
    own: v is the mean of the other classes' there, or that of all images where no class has one.

    Attributes:
        direction: ``forward``: KL(real || synthetic), which covers the real distribution; ``reverse``:
            KL(synthetic || real); ``symmetric``: their mean.
        covariance: ``diagonal``, or ``full``, whose cost grows with the cube of the features: take
            pooled layers.
        shrinkage: Above 0, at most 1.
    """

    direction: str = "forward"
    covariance: str = "diagonal"
    shrinkage: float = 0.1

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: A choice is unknown, or the shrinkage is not within (0, 1].
        """
        checks.choice("direction", self.direction, DIRECTIONS)
        checks.choice("covariance", self.covariance, COVARIANCES)
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f"shrinkage must be within (0, 1], got {self.shrinkage}")

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        diagonal = self.covariance == "diagonal"
        real_mean, learned_mean = real.mean(1), synthetic.mean(1)
        spread = _spread(real)
        p = real_mean, self._shrunk(_covariance(real, real_mean, diagonal), spread)
        q = learned_mean, self._shrunk(_covariance(synthetic, learned_mean, diagonal), spread)
        divergence = kl_diagonal if diagonal else kl_full
        parts = {"forward": [(p, q)], "reverse": [(q, p)], "symmetric": [(p, q), (q, p)]}[self.direction]
        total = sum((divergence(*a, *b) for a, b in parts), start=real.new_zeros(len(real)))
        return total.sum() / (len(parts) * real.shape[2])

    def _shrunk(self, covariance: Tensor, spread: Tensor) -> Tensor:
        """Covariance (G, D) or (G, D, D) shrunk towards ``spread`` (G,) times the identity."""
        floor = self.shrinkage * spread
        if covariance.ndim == 2:
            return (1 - self.shrinkage) * covariance + floor[:, None]
        identity = torch.eye(covariance.shape[1], dtype=covariance.dtype, device=covariance.device)
        return (1 - self.shrinkage) * covariance + floor[:, None, None] * identity


def _spread(real: Tensor) -> Tensor:
    """(G,) the mean variance of features in sets (G, N, D), above rounding.

    Raises:
        ValueError: No two real images of any class differ.
    """
    own = real.var(1, correction=0).mean(1)
    alike = own <= rounding(real)
    if not bool(alike.any()):
        return own
    if not bool(alike.all()):
        return torch.where(alike, own[~alike].mean(), own)
    whole = real.flatten(0, 1).var(0, correction=0).mean()
    if bool(whole <= rounding(real).max()):
        raise ValueError(
            "the divergence of Gaussians needs real images that differ, found the same features in every "
            "image of every class"
        )
    return whole.expand_as(own)


def kl_diagonal(mean: Tensor, variance: Tensor, other_mean: Tensor, other_variance: Tensor) -> Tensor:
    """KL(N(mean, diag variance) || N(other...)): (G, D) each to (G,); variances above 0."""
    ratio = variance / other_variance
    divergence: Tensor = ratio - 1 - ratio.log() + (mean - other_mean).square() / other_variance
    return divergence.sum(1) / 2


def kl_full(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> Tensor:
    """KL(N(mean, covariance) || N(other...)): (G, D) and (G, D, D), positive definite, to (G,).

    Raises:
        ValueError: A covariance is not positive definite.
    """
    factor, other = _cholesky(covariance), _cholesky(other_covariance)
    apart = torch.linalg.solve_triangular(other, (mean - other_mean)[:, :, None], upper=False)
    spread = torch.linalg.solve_triangular(other, factor, upper=False)
    logs = other.diagonal(dim1=1, dim2=2).log().sum(1) - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    squares: Tensor = spread.square().sum((1, 2)) + apart.square().sum((1, 2))
    return (squares - mean.shape[1]) / 2 + logs


def _cholesky(covariance: Tensor) -> Tensor:
    factor: Tensor
    failed: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed.any()):
        raise ValueError(
            f"the covariance of group {int(failed.nonzero()[0])} is not positive definite: "
            "a larger shrinkage helps, unless features are not finite"
        )
    return factor


def _covariance(sets: Tensor, mean: Tensor, diagonal: bool) -> Tensor:
    """Of (G, N, D) about its mean, divided by N: (G, D), or (G, D, D)."""
    centred = sets - mean[:, None]
    if diagonal:
        return centred.square().mean(1)
    products: Tensor = torch.bmm(centred.transpose(1, 2), centred)
    return products / sets.shape[1]
