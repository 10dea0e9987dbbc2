"""Kernel matrices: one matrix product, and everything after it in one pass.

For each batch entry, from rows x_i and y_j, d their Euclidean distance, sums over the bandwidths w:

    linear                x.y
    polynomial            (scale x.y + offset)^degree
    rbf                   sum_w exp(-d^2 / 2 w^2)
    laplacian             sum_w exp(-d / w)
    inverse_multiquadric  sum_w 1 / sqrt(1 + d^2 / w^2)
    nngp, ntk             of a fully connected ReLU network with ``depth`` hidden layers

The last two are the arc-cosine kernels (Cho and Saul, NeurIPS 2009) and the neural tangent kernel (Jacot et
al., arXiv 1806.07572), as kernel-ridge distillation uses them (arXiv 2011.00050). With S_0 = T_0 = x.y / D
and c_l the cosine that Q_l = weight_variance S_(l-1) + bias_variance gives, for each hidden layer

    S_l = sqrt(Q_l(x, x) Q_l(y, y)) / 2  (sqrt(1 - c_l^2) + (pi - acos c_l) c_l) / pi
    T_l = S_l + (pi - acos c_l) / 2 pi  (weight_variance T_(l-1) + bias_variance)

and nngp = S_depth, ntk = T_depth: variances are over fan-in, the readout has variance 1 over fan-in and no
bias. First and second derivatives of the pass are kernels of their own (``csrc/common/gram.h`` has the
formulas), the matrix products are torch's; the third derivative is refused.
"""

import math
from collections.abc import Iterable
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from pydistill.errors import did_you_mean
from pydistill.ops import _gram_plain as plain
from pydistill.ops._bandwidths import out_of_range, smallest
from pydistill.ops._define import Operator, define
from pydistill.ops._gram_plain import KERNELS, Choice
from pydistill.ops._layout import vmap_batches
from pydistill.ops._library import runs_operator

DTYPES = (torch.float32, torch.float64)
MOST_BANDWIDTHS = 64


def gram(
    x: Tensor,
    y: Tensor,
    kernel: str = "rbf",
    *,
    bandwidths: SupportsFloat | Iterable[SupportsFloat] = (1.0,),
    degree: int = 3,
    scale: float | None = None,
    offset: float = 1.0,
    depth: int = 1,
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
) -> Tensor:
    """Kernel matrices between the rows of ``x`` and of ``y``; the module's head has the formulas.

    Distances and angles are right also where rows nearly coincide: for distances both sets are moved by
    their common mean row, and an entry whose difference cancels to less than 1/128 (float64: 2^-14) of its
    terms is computed again from the two rows. Where two rows coincide the Laplacian kernel and the NTK have
    a cusp, as a distance has: the derivative there is the mean of the one-sided ones, and finite.

    Twice differentiable in ``x`` and ``y``; works under ``torch.func.grad`` and ``vmap``; under
    ``torch.compile`` once differentiable. Not-a-numbers stay in their row or column.

    Args:
        x: Rows (B, N, D), float32 or float64. B, N and D may be 0.
        y: Rows (B, M, D), of x's dtype and device.
        kernel: ``"linear"``, ``"polynomial"``, ``"rbf"``, ``"laplacian"`` (of the Euclidean distance, as in
            the literature on MMD; scikit-learn's takes the L1 distance), ``"inverse_multiquadric"``,
            ``"nngp"`` or ``"ntk"``. What follows is ignored by kernels that do not have it.
        bandwidths: One or several w (at most 64) of the three kernels of a distance, in units of the
            distance, above 1e-9 in float32 and 1e-75 in float64; their kernels are summed.
        degree: Of the polynomial; at least 1.
        scale: Of the polynomial; None is 1/D, as in scikit-learn.
        offset: Of the polynomial.
        depth: Hidden layers of the network; at least 1.
        weight_variance: Of the network's weights, times fan-in; greater than 0.
        bias_variance: Of the network's biases; 0 or more.

    Returns:
        (B, N, M), of x's dtype.

    Raises:
        TypeError: An argument is no dense tensor of a supported dtype, dtypes are mixed, or ``degree`` or
            ``depth`` is no integer.
        ValueError: Shapes or devices do not fit, a number is out of range, or there is no such kernel.
    """
    _check("gram", x=x, y=y)
    numbers = (bandwidths, degree, scale, offset, depth, weight_variance, bias_variance)
    choice = _choose("gram", kernel, *numbers, x.shape[-1], x.dtype)
    affine = choice.kernel == "linear" or (choice.kernel == "polynomial" and choice.degree == 1)
    if affine or not runs_operator(x):
        return plain.matrix(x, y, choice)
    return _fused(x, y, choice)


def gram_diagonal(
    x: Tensor,
    kernel: str = "rbf",
    *,
    bandwidths: SupportsFloat | Iterable[SupportsFloat] = (1.0,),
    degree: int = 3,
    scale: float | None = None,
    offset: float = 1.0,
    depth: int = 1,
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
) -> Tensor:
    """The diagonal of ``gram(x, x, ...)``, without the matrix; differentiable to any order.

    Args:
        x: Rows (B, N, D), float32 or float64.
        kernel: As for :func:`gram`, like all that follows.
        bandwidths: Of the kernels of a distance, whose diagonal is their number.
        degree: Of the polynomial.
        scale: Of the polynomial.
        offset: Of the polynomial.
        depth: Hidden layers of the network.
        weight_variance: Of the network's weights, times fan-in.
        bias_variance: Of the network's biases.

    Returns:
        (B, N), of x's dtype.

    Raises:
        TypeError: As :func:`gram`.
        ValueError: As :func:`gram`.
    """
    _check("gram_diagonal", x=x)
    numbers = (bandwidths, degree, scale, offset, depth, weight_variance, bias_variance)
    choice = _choose("gram_diagonal", kernel, *numbers, x.shape[-1], x.dtype)
    return plain.diagonal(x, choice)


def _fused(x: Tensor, y: Tensor, choice: Choice) -> Tensor:
    # The kernels look at the rows themselves only to repair entries: no derivative goes that way.
    rows = (x.detach(), y.detach())
    if choice.kernel in plain.DISTANCES:
        x, y = plain.centred(x, y)
    kind = KERNELS.index(choice.kernel) - 1
    if choice.kernel == "polynomial":
        squares = x.new_zeros(x.shape[:2]), y.new_zeros(y.shape[:2])
        numbers = (choice.degree, choice.scale, choice.offset)
    else:
        squares = _squares(x), _squares(y)
        numbers = (choice.depth, (choice.weight_variance / 2) ** choice.depth / max(x.shape[-1], 1), 0.0)
    if choice.kernel in plain.ANGLES and choice.bias_variance > 0:
        kind += len(plain.ANGLES)
        numbers = (choice.depth, choice.weight_variance, choice.bias_variance)
    matrix: Tensor = _forward(plain.product(x, y), *squares, *rows, kind, *numbers, list(choice.bandwidths))
    return matrix


# ---- checks -----------------------------------------------------------------------------------------


def _check(op: str, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(f"{op}: {name} must be dense, found layout {tensor.layout}; use to_dense()")
        if tensor.dtype not in DTYPES:
            raise TypeError(
                f"{op}: {name} must be float32 or float64, found {tensor.dtype}; use {name}.float()"
            )
        if tensor.ndim != 3:
            size = "N" if name == "x" else "M"
            fix = f"; use {name}[None] for one set of rows" if tensor.ndim == 2 else ""
            raise ValueError(f"{op}: {name} must be (B, {size}, D), found shape {tuple(tensor.shape)}{fix}")
    if "y" not in tensors:
        return
    x, y = tensors["x"], tensors["y"]
    if y.dtype != x.dtype:
        raise TypeError(f"{op}: y must have x's dtype {x.dtype}, found {y.dtype}")
    if y.device != x.device:
        raise ValueError(f"{op}: y must be on x's device {x.device}, found {y.device}")
    if y.shape[0] != x.shape[0] or y.shape[2] != x.shape[2]:
        raise ValueError(
            f"{op}: y must be (B, M, D) with B = {x.shape[0]} and D = {x.shape[2]} as in x, "
            f"found shape {tuple(y.shape)}"
        )


def _choose(
    op: str,
    kernel: str,
    bandwidths: SupportsFloat | Iterable[SupportsFloat],
    degree: int,
    scale: float | None,
    offset: float,
    depth: int,
    weight_variance: float,
    bias_variance: float,
    features: int,
    dtype: torch.dtype,
) -> Choice:
    if kernel not in KERNELS:
        hint = did_you_mean(kernel, KERNELS) if isinstance(kernel, str) else ""
        raise ValueError(f"{op}: kernel must be one of {', '.join(KERNELS)}; found {kernel!r}{hint}")
    if isinstance(bandwidths, Tensor):
        bandwidths = bandwidths.reshape(-1)
    several = bandwidths if isinstance(bandwidths, Iterable) else (bandwidths,)
    widths = tuple(float(width) for width in several)
    if not 1 <= len(widths) <= MOST_BANDWIDTHS:
        raise ValueError(f"{op}: bandwidths must be 1 to {MOST_BANDWIDTHS} numbers, found {len(widths)}")
    for width in widths:
        if not smallest(dtype) < width < math.inf:
            raise ValueError(out_of_range(op, width, dtype))
    for name, number in (("degree", degree), ("depth", depth)):
        if not isinstance(number, int) or isinstance(number, bool):
            raise TypeError(f"{op}: {name} must be an integer, found {number!r}")
        if not 1 <= number < 1 << 20:
            raise ValueError(f"{op}: {name} must be at least 1, found {number}")
    for name, value in (("scale", scale), ("offset", offset)):
        if value is not None and not -math.inf < value < math.inf:
            raise ValueError(f"{op}: {name} must be finite, found {value}")
    if not 0 < weight_variance < math.inf:
        raise ValueError(
            f"{op}: weight_variance must be greater than 0 and finite, found {weight_variance}"
        )
    if not 0 <= bias_variance < math.inf:
        raise ValueError(f"{op}: bias_variance must be 0 or more and finite, found {bias_variance}")
    return Choice(
        kernel,
        widths,
        degree,
        1 / max(features, 1) if scale is None else float(scale),
        float(offset),
        depth,
        float(weight_variance),
        float(bias_variance),
    )


# ---- the operators ----------------------------------------------------------------------------------
# Raw shapes: s, grad and what is returned for them (B, N, M); qx (B, N), qy (B, M), the squared norms; rows
# x (B, N, D) and y (B, M, D), to repair entries with. Then the kernel's number, its degree or depth, scale,
# offset and bandwidths.

_NUMBERS = "int kind, int degree, float scale, float offset, float[] bandwidths"
_GIVEN = f"Tensor s, Tensor qx, Tensor qy, Tensor x, Tensor y, {_NUMBERS}"


def _like(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in tensors)


def _fake_squares(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:2])


def _fake_forward(s: Tensor, *_: Any) -> Tensor:
    return s.new_empty(s.shape)


def _fake_backward(grad: Tensor, s: Tensor, qx: Tensor, qy: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return _like(s, qx, qy)


def _fake_double_backward(
    hs: Tensor, hx: Tensor, hy: Tensor, grad: Tensor, s: Tensor, qx: Tensor, qy: Tensor, *_: Any
) -> tuple[Tensor, ...]:
    return _like(s, s, qx, qy)


def _keep(tensors: int) -> Any:
    """Saves as many leading arguments as tensors, the rest as numbers."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:tensors])
        ctx.numbers = inputs[tensors:]

    return setup


def _backward_of_squares(ctx: Any, grad: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors
    gradient: Tensor = (2 * grad).unsqueeze(-1) * x
    return gradient


def _backward_of_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return (*_backward(grad, *ctx.saved_tensors, *ctx.numbers), *(None,) * 7)


def _backward_of_backward(ctx: Any, hs: Tensor, hx: Tensor, hy: Tensor) -> tuple[Any, ...]:
    return (*_double_backward(hs, hx, hy, *ctx.saved_tensors, *ctx.numbers), *(None,) * 7)


_squares: Operator = define(
    "gram_squares",
    "(Tensor x) -> Tensor",
    fake=_fake_squares,
    vmap=vmap_batches,
    setup=_keep(1),
    backward=_backward_of_squares,
)
_double_backward: Operator = define(
    "gram_double_backward",
    f"(Tensor hs, Tensor hx, Tensor hy, Tensor grad, {_GIVEN}) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake_double_backward,
    vmap=vmap_batches,
)
_backward: Operator = define(
    "gram_backward",
    f"(Tensor grad, {_GIVEN}) -> (Tensor, Tensor, Tensor)",
    fake=_fake_backward,
    vmap=vmap_batches,
    setup=_keep(6),
    backward=_backward_of_backward,
)
_forward: Operator = define(
    "gram",
    f"({_GIVEN}) -> Tensor",
    fake=_fake_forward,
    vmap=vmap_batches,
    setup=_keep(5),
    backward=_backward_of_forward,
)
