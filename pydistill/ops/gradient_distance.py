"""Distances between gradients, layer by layer, of many comparisons at once.

Gradient matching asks how far the gradient that synthetic images give a network is from the one that real
images give it. Parameters are laid end to end and cut into segments (an output channel, a layer, or all);
every segment of every comparison is one task of one launch (``csrc/common/gradient_distance.h`` has the
formulas). First and second derivatives are kernels of their own; the third is refused.

[0] B. Zhao, K. R. Mopuri, H. Bilen: Dataset Condensation with Gradient Matching. ICLR 2021,
    arXiv:2006.05929, equation 10 and appendix A: the cosine distance of output channels.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pydistill.ops._define import Operator, define
from pydistill.ops._layout import vmap_batches
from pydistill.ops._library import abstract, runs_operator

KINDS = ("cosine", "l2", "l1")
DTYPES = (torch.float32, torch.float64)


def gradient_distance(
    x: Tensor, y: Tensor, offsets: Sequence[int] | Tensor, kind: str = "cosine", eps: float = 1e-6
) -> Tensor:
    """Distances of the segments of x and y.

    ``cosine``: ``1 - <x, y> / (|x| |y| + eps)``; ``l2``: the sum of squared differences; ``l1``: of
    absolute ones. Where a segment is zero throughout, its norm counts as constant; where two entries are
    equal, the derivative of their absolute difference is 0.

    Twice differentiable in ``x`` and ``y``; works under ``torch.func.grad`` and ``vmap``; under
    ``torch.compile`` once differentiable.

    Args:
        x: Gradients (B, P), one comparison a row, float32 or float64.
        y: Others (B, P) of the same dtype.
        offsets: Where segments begin and the last one ends, rising from 0 to P: S + 1 numbers, or an int64
            tensor of them on x's device, whose values are looked at on the CPU alone.
        kind: A name of :data:`KINDS`.
        eps: Added to the product of norms under ``cosine``; at least 0.

    Returns:
        (B, S) in x's dtype.

    Raises:
        TypeError: An argument is no dense tensor of a supported dtype, or dtypes do not fit.
        ValueError: Shapes or devices do not fit, offsets do not rise from 0 to P, or the kind is unknown.
    """
    _check(x, y, kind, eps)
    marks = _marks(offsets, x)
    if not runs_operator(x):
        return _reference(x, y, marks, kind, eps)
    value: Tensor = _forward(x, y, marks, KINDS.index(kind), float(eps))
    return value


def _reference(x: Tensor, y: Tensor, marks: Tensor, kind: str, eps: float) -> Tensor:
    """What the kernels compute, in plain torch."""
    segment = torch.bucketize(torch.arange(x.shape[1], device=x.device), marks[1:], right=True)

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(len(values), len(marks) - 1).index_add(1, segment, values)

    if kind == "l2":
        return total((x - y) ** 2)
    if kind == "l1":
        difference = x - y
        # The derivative of abs would clear not-a-numbers.
        slope = torch.where(difference.isnan(), difference.detach(), difference.sign())
        return total(difference * slope)
    return 1 - total(x * y) / (_root(total(x * x)) * _root(total(y * y)) + eps)


def _root(square: Tensor) -> Tensor:
    """Square root whose derivatives at 0 are 0; not-a-numbers pass."""
    positive = ~(square <= 0)
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def _check(x: Tensor, y: Tensor, kind: str, eps: float) -> None:
    for name, tensor in (("x", x), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"gradient_distance: {name} must be a tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(f"gradient_distance: {name} must be dense, found layout {tensor.layout}")
        if tensor.dtype not in DTYPES:
            raise TypeError(f"gradient_distance: {name} must be float32 or float64, found {tensor.dtype}")
        if tensor.ndim != 2 or tensor.shape[1] < 1:
            raise ValueError(
                f"gradient_distance: {name} must be (comparisons, parameters), with at least one "
                f"parameter, found shape {tuple(tensor.shape)}"
            )
    if y.dtype != x.dtype:
        raise TypeError(f"gradient_distance: y must have x's dtype {x.dtype}, found {y.dtype}")
    if y.device != x.device:
        raise ValueError(f"gradient_distance: y must be on x's device {x.device}, found {y.device}")
    if y.shape != x.shape:
        raise ValueError(
            f"gradient_distance: y must have x's shape {tuple(x.shape)}, found {tuple(y.shape)}"
        )
    if kind not in KINDS:
        raise ValueError(f"gradient_distance: kind must be one of {', '.join(KINDS)}; found {kind!r}")
    if not eps >= 0:
        raise ValueError(f"gradient_distance: eps must be at least 0, found {eps}")


def _marks(offsets: Sequence[int] | Tensor, x: Tensor) -> Tensor:
    """Offsets as a tensor (S + 1,) on x's device."""
    if not isinstance(offsets, Tensor):
        rising = [int(mark) for mark in offsets]
        _require_rising(rising, x)
        return torch.tensor(rising, dtype=torch.int64, device=x.device)
    if offsets.dtype != torch.int64 or offsets.ndim != 1 or len(offsets) < 2:
        raise ValueError(
            "gradient_distance: offsets must be (S + 1,) int64, S at least 1, "
            f"found {offsets.dtype} of shape {tuple(offsets.shape)}"
        )
    if offsets.device != x.device:
        raise ValueError(
            f"gradient_distance: offsets must be on x's device {x.device}, found {offsets.device}"
        )
    if offsets.device.type == "cpu" and not (torch.compiler.is_compiling() or abstract(offsets)):
        _require_rising(offsets.tolist(), x)
    return offsets


def _require_rising(marks: Sequence[int], x: Tensor) -> None:
    length = x.shape[1]
    rising = all(one < other for one, other in itertools.pairwise(marks))
    if len(marks) < 2 or marks[0] != 0 or marks[-1] != length or not rising:
        shown = list(marks) if len(marks) <= 6 else [*marks[:3], "...", *marks[-2:]]
        raise ValueError(
            f"gradient_distance: offsets must rise from 0 to {length}, the number of parameters, "
            f"found {shown}"
        )


# ---- the operator and its two derivatives -----------------------------------------------------------
# Raw shapes: x, y (B, P); offsets (S + 1,); value, grad (B, S); ggx, ggy as x, or (B, 0) for zeros;
# gradients as x, or (B, 0) where they are not wanted.


def _gradient(x: Tensor, want: bool) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] if want else 0)


def _fake_forward(x: Tensor, y: Tensor, offsets: Tensor, kind: int, eps: float) -> Tensor:
    return x.new_empty(x.shape[0], offsets.shape[0] - 1)


def _fake_backward(
    grad: Tensor, x: Tensor, y: Tensor, offsets: Tensor, kind: int, eps: float, want_x: bool, want_y: bool
) -> tuple[Tensor, Tensor]:
    return _gradient(x, want_x), _gradient(x, want_y)


def _fake_double_backward(
    ggx: Tensor,
    ggy: Tensor,
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    offsets: Tensor,
    kind: int,
    eps: float,
    want_x: bool,
    want_y: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(grad), _gradient(x, want_x), _gradient(x, want_y)


def _vmap(overload: Any, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
    """The mapped dimension joins the comparisons; offsets are the same for all."""
    at = next(i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.dtype == torch.int64)
    if in_dims[at] is not None:
        raise NotImplementedError("gradient_distance: offsets cannot be mapped by vmap")

    def compared(*others: Any) -> Any:
        return overload(*others[:at], args[at], *others[at:])

    return vmap_batches(compared, info, in_dims[:at] + in_dims[at + 1 :], *args[:at], *args[at + 1 :])


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, y, offsets, ctx.kind, ctx.eps = inputs
    ctx.save_for_backward(x, y, offsets)


def _backward_of_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    want = ctx.needs_input_grad[:2]
    made = _backward(grad, *ctx.saved_tensors, ctx.kind, ctx.eps, *want)
    return *_wanted(want, made), None, None, None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    grad, x, y, offsets, ctx.kind, ctx.eps, _, _ = inputs
    ctx.save_for_backward(grad, x, y, offsets)


def _backward_of_backward(ctx: Any, ggx: Tensor, ggy: Tensor) -> tuple[Any, ...]:
    want = ctx.needs_input_grad[1:3]
    grad, to_x, to_y = _double_backward(ggx, ggy, *ctx.saved_tensors, ctx.kind, ctx.eps, *want)
    return grad, *_wanted(want, (to_x, to_y)), None, None, None, None, None


def _wanted(want: Sequence[bool], made: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    return tuple(tensor if wanted else None for wanted, tensor in zip(want, made, strict=True))


_TAIL = "Tensor x, Tensor y, Tensor offsets, int kind, float eps"

_double_backward: Operator = define(
    "gradient_distance_double_backward",
    f"(Tensor ggx, Tensor ggy, Tensor grad, {_TAIL}, bool want_x, bool want_y) -> (Tensor, Tensor, Tensor)",
    fake=_fake_double_backward,
    vmap=_vmap,
)
_backward: Operator = define(
    "gradient_distance_backward",
    f"(Tensor grad, {_TAIL}, bool want_x, bool want_y) -> (Tensor, Tensor)",
    fake=_fake_backward,
    vmap=_vmap,
    setup=_setup_backward,
    backward=_backward_of_backward,
)
_forward: Operator = define(
    "gradient_distance",
    f"({_TAIL}) -> Tensor",
    fake=_fake_forward,
    vmap=_vmap,
    setup=_setup_forward,
    backward=_backward_of_forward,
)
