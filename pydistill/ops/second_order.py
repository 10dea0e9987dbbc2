"""Convolutions whose second derivative is as cheap as their first.

torch derives a convolution twice by forming the weight's gradient as a convolution with a kernel as large
as the map, for which the vendors' libraries have no fast path on a CPU. The same derivatives are four
convolutions of the ordinary kinds. With y = x * w, its backward pass (g, x, w) -> (gx, gw) is linear in
each of its arguments; for cotangents hx of gx and hw of gw

    to g:            hx * w + x * hw
    (to x, to w):    the backward pass of a convolution, at (g, hx, hw) in place of (g, x, w)

with the two crossed over: x's comes from hw, w's from hx. Where :mod:`pydistill.ops.conv3x3` has kernels
for them, on the CPU, they are run; elsewhere the vendors' libraries are.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pydistill.ops._layout import wrapped
from pydistill.ops.conv3x3 import conv3x3, fits

_Numbers = list[int]


class second_order(TorchFunctionMode):  # noqa: N801 (used as a context, like torch.no_grad)
    """Within it ``torch.conv2d`` is :func:`convolution`; networks need no change.

    Args:
        twice: Whether second derivatives are wanted. Without them the only gain is from kernels that are
            faster than torch's, and where there are none nothing changes.
    """

    def __init__(self, twice: bool = True) -> None:
        super().__init__()
        self.twice = twice

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            return convolution(*args, **(kwargs or {}), twice=self.twice)
        return func(*args, **(kwargs or {}))


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | str | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    *,
    twice: bool = True,
) -> Tensor:
    """As ``torch.conv2d``; where ``twice``, the second derivative is cheap with every kind of filter."""
    if isinstance(padding, str) or input.ndim != 4 or wrapped(input) or wrapped(weight):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    numbers = (_pair(stride), _pair(padding), _pair(dilation), groups)
    if numbers == ([1, 1], [1, 1], [1, 1], 1) and fits(input, weight):
        return conv3x3(input, weight, bias)
    if not twice:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    maps: Tensor = _Forward.apply(input, weight, *numbers)  # type: ignore[no-untyped-call]
    return maps if bias is None else maps + bias.view(1, -1, 1, 1)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, *numbers: Any) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.numbers = numbers
        stride, padding, dilation, groups = numbers
        return torch.conv2d(x, w, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, w = ctx.saved_tensors
        wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        return (*_Backward.apply(grad, x, w, wanted, *ctx.numbers), None, None, None, None)  # type: ignore[no-untyped-call]


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, w: Tensor, wanted: tuple[bool, bool], *numbers: Any
    ) -> Any:
        ctx.save_for_backward(grad, x, w)
        ctx.numbers = numbers
        ctx.set_materialize_grads(False)
        return _backward(grad, x, w, wanted, numbers)

    @staticmethod
    def backward(ctx: Any, hx: Tensor | None, hw: Tensor | None) -> Any:
        grad, x, w = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.numbers
        needs = ctx.needs_input_grad
        to_grad = None
        if needs[0]:
            parts = [(hx, w), (x, hw)]
            for left, right in parts:
                if left is not None and right is not None:
                    part = torch.conv2d(left, right, None, stride, padding, dilation, groups)
                    to_grad = part if to_grad is None else to_grad + part
        wanted = needs[1] and hw is not None, needs[2] and hx is not None
        to_x = to_w = None
        if any(wanted):
            left = x if hx is None else hx
            right = w if hw is None else hw
            to_x, to_w = _backward(grad, left, right, wanted, ctx.numbers)
        return (to_grad, to_x, to_w, None, None, None, None, None)


def _backward(grad: Tensor, x: Tensor, w: Tensor, wanted: tuple[bool, bool], numbers: Any) -> Any:
    stride, padding, dilation, groups = numbers
    to_x, to_w, _ = torch.ops.aten.convolution_backward(
        grad, x, w, None, stride, padding, dilation, False, [0, 0], groups, [*wanted, False]
    )
    return to_x, to_w


def _pair(value: int | tuple[int, ...]) -> _Numbers:
    return [value, value] if isinstance(value, int) else list(value)
