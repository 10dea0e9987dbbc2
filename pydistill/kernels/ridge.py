"""Kernel ridge regression: the solver that all of it shares, and a predictor on top of it.

With K the kernel matrix of N training rows, Y their targets and r the ridge, relative to the matrix's own
scale (its mean diagonal entry, so that a kernel times a number gives the same predictions):

    a = (K + r mean(diag K) I)^-1 Y,    f(x) = k(x, X) a

Rounding to float32 moves an eigenvalue of K by up to N eps times that scale. Where K + r I has eigenvalues
of that size (fewer features than rows, a wide Gaussian kernel), no solver brings back what is lost, and the
weights are so large that the sum f(x) cancels: there the matrices are made, solved and multiplied in
float64, from the float32 rows.
"""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pydistill.errors import SingularKernelError
from pydistill.kernels.functions import Kernel, parse_kernel
from pydistill.modes import plain_modes
from pydistill.tasks.base import chunks
from pydistill.tasks.classification import predicted, regressed

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData

_LADDER = (1e-10, 1e-8, 1e-6, 1e-4)
"""What is added to the ridge, one after the other, where the matrix cannot be factored in float64."""

_ROWS = 2048
"""Images predicted at a time: bounds memory."""

_ROUNDING = 50.0
"""float32 is used where the ridge, or the smallest pivot of the factor, is this many times what rounding
adds to an eigenvalue."""


def solve(matrix: Tensor, targets: Tensor, ridge: float | Tensor = 1e-6) -> Tensor:
    """Dual weights of kernel ridge regression, by Cholesky; differentiable to any order.

    In float32 where the ridge leaves room for rounding and the factorisation succeeds, else in float64;
    where that fails, a little more is added to the ridge, in steps up to 1e-4, entry by entry of the batch.

    Args:
        matrix: (..., N, N) symmetric, of rows with themselves; float32 or float64.
        targets: (..., N, K).
        ridge: r, relative to the mean diagonal entry; at least 0.

    Returns:
        (..., N, K) of the matrix's dtype.

    Raises:
        ValueError: Shapes do not fit, or the ridge is negative.
        SingularKernelError: The matrix is not finite, its mean diagonal entry is not above 0, or no step
            was enough; the condition number is named.
    """
    return _solve(matrix, targets, ridge)[0]


def _solve(matrix: Tensor, targets: Tensor, ridge: float | Tensor) -> tuple[Tensor, bool]:
    """:func:`solve`, and whether a matrix of float32 is exact enough for what was solved."""
    _check(matrix, targets, ridge)
    count = matrix.shape[-1]
    scale = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
    if not bool(matrix.detach().isfinite().all()):
        raise SingularKernelError("the kernel matrix holds NaN or infinity: are the images finite?")
    if not bool((scale > 0).all()):
        raise SingularKernelError(
            f"the kernel matrix has a mean diagonal entry of {float(scale.min()):g}, expected above 0"
        )
    rounding = _ROUNDING * count * torch.finfo(torch.float32).eps
    if matrix.dtype == torch.float32 and float(ridge) > rounding:
        factor, failed = torch.linalg.cholesky_ex(_regular(matrix, scale, ridge))
        if not bool(failed.any()):
            return torch.cholesky_solve(targets.to(matrix.dtype), factor), True
    wide, scale, more = matrix.double(), scale.double(), torch.zeros_like(scale, dtype=torch.float64)
    for level in (*_LADDER, None):
        factor, failed = torch.linalg.cholesky_ex(_regular(wide, scale, ridge + more))
        if not bool(failed.any()):
            pivots = factor.detach().diagonal(dim1=-2, dim2=-1).square().amin(-1)
            exact = bool((pivots > rounding * scale.detach()).all()) and not bool(more.any())
            return torch.cholesky_solve(targets.double(), factor).to(matrix.dtype), exact
        if level is not None:
            more = torch.where(failed > 0, level, more)
    raise SingularKernelError(
        f"a kernel matrix of {count} rows has a condition number of {_condition(wide, scale, ridge):.1e} "
        f"at a ridge of {float(ridge):g}, and up to {_LADDER[-1]:g} more did not help: ask for a larger "
        "ridge, or look for rows that coincide"
    )


@dataclass(frozen=True)
class Regression:
    """A solved kernel ridge regression.

    Attributes:
        kernel: Its kernel.
        rows: (N, ...) of the training images; float64 where the matrices are.
        weights: (N, K) dual weights, of the same dtype.
    """

    kernel: Kernel
    rows: Tensor
    weights: Tensor

    @plain_modes()
    def outputs(self, rows: Tensor) -> Tensor:
        """(M, K) for rows (M, ...), of their dtype."""
        outputs = self.kernel.between(rows.to(self.rows.dtype), self.rows) @ self.weights
        return outputs.to(rows.dtype)


@plain_modes()
def regression(
    kernel: Kernel, rows: Tensor, targets: Tensor, ridge: float | Tensor = 1e-6, *, wide: bool = False
) -> Regression:
    """Solve for the dual weights of rows; differentiable to any order that the kernel is.

    Args:
        kernel: Whose rows they are.
        rows: (N, ...), float32 or float64.
        targets: (N, K) to regress.
        ridge: As for :func:`solve`.
        wide: Make and solve the matrix in float64 in any case; else where rounding to float32 would show.

    Raises:
        SingularKernelError: As :func:`solve`.
    """
    if rows.dtype == torch.float32 and not wide:
        with contextlib.suppress(SingularKernelError):  # it may be one in float32 alone
            weights, exact = _solve(kernel.between(rows, rows), targets, ridge)
            if exact:
                return Regression(kernel, rows, weights)
    rows = rows.double()
    return Regression(kernel, rows, solve(kernel.between(rows, rows), targets.double(), ridge))


def _regular(matrix: Tensor, scale: Tensor, ridge: float | Tensor) -> Tensor:
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return matrix + (ridge * scale)[..., None, None] * eye


def _condition(matrix: Tensor, scale: Tensor, ridge: float | Tensor) -> float:
    """The largest over a batch; infinite where an eigenvalue is not above 0."""
    values = torch.linalg.eigvalsh(_regular(matrix, scale, ridge).detach())
    low, high = values[..., 0], values[..., -1]
    worst = torch.where(low > 0, high / low, torch.inf)
    return float(worst.max())


def _check(matrix: Tensor, targets: Tensor, ridge: float | Tensor) -> None:
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"expected a square kernel matrix (..., N, N), got {tuple(matrix.shape)}")
    if matrix.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"expected a kernel matrix of float32 or float64, got {matrix.dtype}")
    if targets.ndim < 2 or targets.shape[-2] != matrix.shape[-1]:
        raise ValueError(
            f"expected targets (..., {matrix.shape[-1]}, K) beside a kernel matrix of "
            f"{matrix.shape[-1]} rows, got {tuple(targets.shape)}"
        )
    if not float(ridge) >= 0:
        raise ValueError(f"ridge must be at least 0, got {float(ridge)}")


class KernelRidge:
    """Kernel ridge regression on images, in scikit-learn's manner.

    Classes are regressed as one-hot rows less their mean, so that 0 says nothing; the class predicted is
    the one with the largest output.

    Args:
        kernel: What :func:`pydistill.kernels.parse_kernel` takes, or a kernel; None: the one that a
            distilled set was made for, else ``ntk``.
        ridge: Relative to the mean diagonal entry of the kernel matrix; None: the distilled set's, else
            1e-6.
    """

    def __init__(self, kernel: str | Kernel | None = None, *, ridge: float | None = None) -> None:
        self.kernel = kernel
        self.ridge = ridge

    @plain_modes()
    def fit(self, images: "DistilledData | Tensor", targets: Tensor | None = None) -> "KernelRidge":
        """Solve for the dual weights.

        Args:
            images: A distilled set, whose views are taken, all alike whatever weights it has; or network
                input (N, C, H, W).
            targets: (N,) integer classes, or (N, K) values to regress, where ``images`` is a tensor.

        Raises:
            TypeError: Targets are given beside a distilled set, or missing beside a tensor; or images or
                targets are no tensor of real numbers.
            ValueError: The kernel is unknown, or there is not one target an image.
            SingularKernelError: The kernel matrix cannot be solved for.
        """
        kernel, ridge, teacher = self.kernel or "ntk", 1e-6, None
        if isinstance(images, Tensor):
            if targets is None:
                raise TypeError("fit takes a distilled set alone, or images and their targets")
            _check_images(images)
            values = _values(targets)
        elif targets is not None:
            raise TypeError("a distilled set has targets of its own; pass it alone")
        else:
            recipe, teacher = images.recipe, images.teacher()
            kernel, ridge = self.kernel or recipe.kernel or "ntk", recipe.ridge
            values, images = images.regressed(), images.views()[0]
        if len(images) != len(values):
            raise ValueError(f"expected one target an image, got {len(images)} and {len(values)}")
        self.kernel_ = parse_kernel(kernel, teacher) if isinstance(kernel, str) else kernel
        ridge = ridge if self.ridge is None else self.ridge
        self.regression_ = regression(self.kernel_, self.kernel_.rows(images), values, ridge, wide=True)
        return self

    @plain_modes(gradients=False)
    def decision_function(self, images: Tensor) -> Tensor:
        """Outputs (N, K) for network input (N, C, H, W), of its dtype."""
        _check_images(images)
        if not hasattr(self, "regression_"):
            raise ValueError("this KernelRidge is not fitted yet: call fit first")
        parts = [
            self.regression_.outputs(self.kernel_.rows(images[part])) for part in chunks(len(images), _ROWS)
        ]
        return torch.cat(parts)

    def predict(self, images: Tensor) -> Tensor:
        """(N,) int64 classes for network input (N, C, H, W)."""
        return predicted(self.decision_function(images))

    def score(self, images: Tensor, targets: Tensor) -> float:
        """Accuracy, a fraction, on network input with classes (N,).

        Raises:
            ValueError: There is not one class an image.
        """
        if tuple(targets.shape) != (len(images),):
            raise ValueError(f"expected classes ({len(images)},), one an image, got {tuple(targets.shape)}")
        return float((self.predict(images) == targets).double().mean())


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, got {type(images).__name__}")
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"images must be network input of float32 or float64, got {images.dtype}")


def _values(targets: Tensor) -> Tensor:
    """(N, K) to regress: classes (N,) as one-hot rows less their mean, values as they are."""
    if not isinstance(targets, Tensor) or targets.is_complex():
        found = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise TypeError(f"targets must be a tensor of classes or of real values, got {found}")
    if targets.is_floating_point():
        return targets
    if targets.ndim > 1:
        return targets.double()
    classes = targets.long()
    if len(classes) and int(classes.min()) < 0:
        raise ValueError(f"targets must be classes counted from 0, found {int(classes.min())}")
    return regressed(classes)
