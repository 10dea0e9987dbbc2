"""Squared maximum mean discrepancy between batches of sets, in memory of the sets' own size.

Gretton, Borgwardt, Rasch, Schoelkopf and Smola, "A kernel two-sample test", JMLR 13 (2012), equation 3
and lemma 6: the biased estimate over all pairs, the unbiased one without those of a row and itself. The
kernel is a sum of Gaussians over the bandwidths. Matrices of all pairs are never stored: tiles of them
become sums, and the gradient, as they are made (``csrc/common/mmd.h`` has the formulas). First and second
derivatives are kernels of their own; the third is refused.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pydistill.ops._bandwidths import out_of_range, smallest
from pydistill.ops._define import Operator, define
from pydistill.ops._layout import vmap_batches
from pydistill.ops._library import abstract, runs_operator

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def mmd(x: Tensor, y: Tensor, bandwidths: Sequence[float] | Tensor, unbiased: bool = False) -> Tensor:
    """MMD^2 of each pair of sets, with kernel ``k(a, b) = sum over sigma of exp(-|a-b|^2 / (2 sigma^2))``.

    Biased: mean of k over all pairs in x, plus that in y, less twice that between x and y; never below 0
    but for rounding. Unbiased: without the pairs of a row and itself, over n (n - 1); of either sign. The
    kernels take memory in proportion to N + M, gradients included, which are made together with the value
    where x or y requires them; they keep the digits of nearly equal rows' distances, whatever the rows'
    norms; and their result does not depend on the number of threads. The plain-torch reference, where no
    kernels are loaded, holds matrices of all pairs and promises neither.

    Twice differentiable in ``x`` and ``y``; works under ``torch.func.grad`` and ``vmap``; under
    ``torch.compile`` once differentiable. A set that is not finite throughout makes its result and the
    whole gradient not a number.

    Args:
        x: Sets (B, N, D), float32, float64 or bfloat16, N and D at least 1. B may be 0.
        y: Sets (B, M, D), M at least 1, of x's dtype; bfloat16 and float32 may be mixed.
        bandwidths: Standard deviations sigma of the Gaussians, in units of the rows, greater than 0: a
            sequence of numbers, or a tensor (S,) or (B, S). No gradient flows to them. Values of a tensor
            that cannot be looked at (in ``vmap`` over it, in ``torch.compile``) are not checked: bad ones
            make the result not a number.
        unbiased: Leave out each row's pair with itself; needs N and M at least 2.

    Returns:
        (B,), float64 for float64 sets, else float32.

    Raises:
        TypeError: An argument is no dense floating-point tensor of a supported dtype, or dtypes do not fit.
        ValueError: Shapes or devices do not fit, a set is empty or too small, or a bandwidth is not a
            finite number greater than 0.
    """
    _check(x, y, unbiased)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    x, y = x.to(dtype), y.to(dtype)
    weights = _weights(bandwidths, x)
    if not runs_operator(x):
        return _reference(x, y, weights, unbiased)
    grad = torch.is_grad_enabled()
    value: Tensor = _forward(x, y, weights, unbiased, grad and x.requires_grad, grad and y.requires_grad)[0]
    return value


def _reference(x: Tensor, y: Tensor, weights: Tensor, unbiased: bool) -> Tensor:
    """What the kernels compute, in plain torch and with matrices of all pairs; weights (B, S)."""
    centre = torch.cat([x, y], 1).mean(1, keepdim=True).detach()
    x, y = x - centre, y - centre

    def total(a: Tensor, b: Tensor) -> Tensor:
        products = a @ b.transpose(1, 2)
        norms = (a * a).sum(2)[:, :, None] + (b * b).sum(2)[:, None, :]
        distance = norms - 2 * products
        # Rounding may have made it negative; clamping it would cut its derivatives off.
        distance = distance + (distance.clamp_min(0) - distance).detach()
        if a is b and unbiased:
            others = ~torch.eye(a.shape[1], dtype=torch.bool, device=a.device)
            distance = distance.flatten(1)[:, others.flatten()]
        kernels = sum(torch.exp(distance.flatten(1) * -w[:, None]) for w in weights.unbind(1))
        return torch.as_tensor(kernels).sum(1)

    n, m = x.shape[1], y.shape[1]
    own_x, own_y = (count * (count - 1 if unbiased else count) for count in (n, m))
    return total(x, x) / own_x + total(y, y) / own_y - 2 / (n * m) * total(x, y)


def _check(x: Tensor, y: Tensor, unbiased: bool) -> None:
    for name, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"mmd: {name} must be a tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(f"mmd: {name} must be dense, found layout {tensor.layout}; use to_dense()")
        if tensor.dtype not in DTYPES:
            raise TypeError(f"mmd: {name} must be float32, float64 or bfloat16, found {tensor.dtype}")
        if tensor.ndim != 3:
            raise ValueError(
                f"mmd: {name} must be (sets, rows, features), found shape {tuple(tensor.shape)}; "
                "one set alone is tensor[None]"
            )
        if tensor.shape[1] < 1 or tensor.shape[2] < 1:
            raise ValueError(
                f"mmd: {name} must have at least one row and one feature a set, "
                f"found shape {tuple(tensor.shape)}"
            )
        if unbiased and tensor.shape[1] < 2:
            raise ValueError(
                "mmd: unbiased=True needs at least two rows a set, "
                f"found shape {tuple(tensor.shape)} of {name}"
            )
    if (x.dtype == torch.float64) != (y.dtype == torch.float64):
        raise TypeError(f"mmd: y must have x's dtype {x.dtype}, found {y.dtype}")
    if y.device != x.device:
        raise ValueError(f"mmd: y must be on x's device {x.device}, found {y.device}")
    if y.shape[0] != x.shape[0] or y.shape[2] != x.shape[2]:
        raise ValueError(
            f"mmd: y must have x's number of sets and features, x being {tuple(x.shape)}, "
            f"found {tuple(y.shape)}"
        )


def _weights(bandwidths: Sequence[float] | Tensor, x: Tensor) -> Tensor:
    """1 / (2 sigma^2) for each set, (B, S), of x's dtype and on its device; computed in float64."""
    if not isinstance(bandwidths, Tensor):
        return _weights_of_numbers(bandwidths, x)
    if not bandwidths.is_floating_point():
        raise TypeError(f"mmd: bandwidths must be floating-point, found {bandwidths.dtype}")
    shape = tuple(bandwidths.shape)
    if bandwidths.ndim not in (1, 2) or shape[-1] < 1 or (bandwidths.ndim == 2 and shape[0] != x.shape[0]):
        raise ValueError(
            f"mmd: bandwidths must be (S,) or (B, S) with B = {x.shape[0]} and S at least 1, "
            f"found shape {shape}"
        )
    if bandwidths.device != x.device:
        raise ValueError(f"mmd: bandwidths must be on x's device {x.device}, found {bandwidths.device}")
    sigma = bandwidths.detach().to(torch.float64)
    fits = (sigma > smallest(x.dtype)) & sigma.isfinite()
    if _visible(sigma) and not bool(fits.all()):
        raise ValueError(out_of_range("mmd", sigma[~fits][0].item(), x.dtype))
    weights = torch.where(fits, 0.5 / (sigma * sigma), torch.nan).to(x.dtype)
    return weights.expand(x.shape[0], shape[-1])


def _weights_of_numbers(bandwidths: Sequence[float], x: Tensor) -> Tensor:
    if isinstance(bandwidths, str) or not isinstance(bandwidths, Sequence):
        raise TypeError(
            "mmd: bandwidths must be a sequence of numbers or a tensor, "
            f"found {type(bandwidths).__name__}; one bandwidth alone is [sigma]"
        )
    if not bandwidths:
        raise ValueError("mmd: bandwidths must hold at least one number, found none")
    sigmas = [float(sigma) for sigma in bandwidths]
    for sigma in sigmas:
        if not smallest(x.dtype) < sigma < math.inf:
            raise ValueError(out_of_range("mmd", sigma, x.dtype))
    weights = torch.tensor([0.5 / sigma**2 for sigma in sigmas], dtype=x.dtype, device=x.device)
    return weights.expand(x.shape[0], len(sigmas))


def _visible(tensor: Tensor) -> bool:
    """Whether a tensor's values can be looked at here: not while it is traced or mapped."""
    if torch.compiler.is_compiling() or abstract(tensor):
        return False
    return not torch._C._functorch.is_batchedtensor(tensor)


# ---- the operator and its two derivatives -----------------------------------------------------------
# Raw shapes: x (B, N, D), y (B, M, D); weights (B, S); value, grad (B,); unit_x, ggx as x, unit_y, ggy as
# y, or (B, 0, D) in the place of a gradient that is not wanted. All of one dtype, float32 or float64.


def _gradient(rows: Tensor, want: bool) -> Tensor:
    return rows.new_empty(rows.shape[0], rows.shape[1] if want else 0, rows.shape[2])


def _fake_forward(
    x: Tensor, y: Tensor, weights: Tensor, unbiased: bool, want_x: bool, want_y: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape[0]), _gradient(x, want_x), _gradient(y, want_y)


def _fake_backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    unit_x: Tensor,
    unit_y: Tensor,
    unbiased: bool,
    want_x: bool,
    want_y: bool,
) -> tuple[Tensor, Tensor]:
    return _gradient(x, want_x), _gradient(y, want_y)


def _fake_double_backward(
    ggx: Tensor,
    ggy: Tensor,
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    unbiased: bool,
    want_x: bool,
    want_y: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _fake_forward(x, y, weights, unbiased, want_x, want_y)


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, y, weights, ctx.unbiased, _, _ = inputs
    _, unit_x, unit_y = output
    ctx.mark_non_differentiable(unit_x, unit_y)
    ctx.save_for_backward(x, y, weights, unit_x, unit_y)


def _backward_of_forward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    x, y, weights, unit_x, unit_y = ctx.saved_tensors
    want = ctx.needs_input_grad[:2]
    grad_x, grad_y = _backward(grad, x, y, weights, unit_x, unit_y, ctx.unbiased, *want)
    return *_wanted(want, (grad_x, grad_y)), None, None, None, None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grad, x, y, weights, _, _, ctx.unbiased, _, _ = inputs
    ctx.save_for_backward(grad, x, y, weights)


def _backward_of_backward(ctx: Any, ggx: Tensor, ggy: Tensor) -> tuple[Any, ...]:
    # unit_x and unit_y are functions of x and y: their share is in the gradients of those.
    want = ctx.needs_input_grad[1:3]
    grad, grad_x, grad_y = _double_backward(ggx, ggy, *ctx.saved_tensors, ctx.unbiased, *want)
    return grad, *_wanted(want, (grad_x, grad_y)), None, None, None, None, None, None


def _wanted(want: Sequence[bool], made: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    return tuple(tensor if wanted else None for wanted, tensor in zip(want, made, strict=True))


_double_backward: Operator = define(
    "mmd_double_backward",
    "(Tensor ggx, Tensor ggy, Tensor grad, Tensor x, Tensor y, Tensor weights, bool unbiased, bool want_x, "
    "bool want_y) -> (Tensor, Tensor, Tensor)",
    fake=_fake_double_backward,
    vmap=vmap_batches,
)
_backward: Operator = define(
    "mmd_backward",
    "(Tensor grad, Tensor x, Tensor y, Tensor weights, Tensor unit_x, Tensor unit_y, bool unbiased, "
    "bool want_x, bool want_y) -> (Tensor, Tensor)",
    fake=_fake_backward,
    vmap=vmap_batches,
    setup=_setup_backward,
    backward=_backward_of_backward,
)
_forward: Operator = define(
    "mmd",
    "(Tensor x, Tensor y, Tensor weights, bool unbiased, bool want_x, bool want_y) "
    "-> (Tensor, Tensor, Tensor)",
    fake=_fake_forward,
    vmap=vmap_batches,
    setup=_setup_forward,
    backward=_backward_of_forward,
)
