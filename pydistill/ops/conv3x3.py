"""3x3 convolution of float32 maps on the CPU with fewer multiplications than there are taps.

    y = x * weight + bias,    stride 1, padding 1, dilation 1, one group

by Winograd's F(4x4, 3x3): 36 multiplications for 16 outputs instead of 144, at points chosen for small
rounding errors (``csrc/cpu/conv3x3_tiles.h``). Both gradients are kernels of the same kind, and so are
those of the gradients: the backward pass (grad, x, w) -> (gx, gw) is linear in each of its arguments, and
for cotangents hx and hw

    to grad:         hx * w + x * hw
    (to x, to w):    the backward pass at (grad, hx, hw), crossed over

the first as one kernel that adds both before it transforms back. Any order of derivatives is thus the same
two operators. Fewer than 16 input channels are convolved directly.

There is no CUDA kernel: cuDNN has its own. Where the kernels do not apply torch's convolution is used.

[0] A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks. CVPR 2016, arXiv:1509.09308.
"""

from typing import Any

import torch
from torch import Tensor

from pydistill.ops._define import Operator, define
from pydistill.ops._layout import vmap_each
from pydistill.ops._library import compiled_for

CHANNELS = 16
"""Output channels must be a multiple of this, and input channels where they are not fewer."""


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve maps with 3x3 filters, stride 1, padding 1.

    Differentiable any number of times; works under ``torch.func.grad`` and ``vmap``. Where :func:`fits` the
    kernels are used, and the result is channels_last whatever x is; else it is torch's own convolution.
    Rounding errors are about 1e-6 of the result in norm, against 2e-7 of torch's. A value that is not
    finite, or so large that sums of some tens of it are not, spreads further than over the nine pixels that
    see it: the kernels make not-a-numbers of the whole tiles of 4x4 outputs whose 6x6 inputs hold it.

    Args:
        x: Maps (R, I, H, W), of any floating-point dtype. R may be 0.
        weight: Filters (O, I, 3, 3), of x's dtype.
        bias: Shift (O,), of x's dtype, or None.

    Returns:
        (R, O, H, W), of x's dtype.

    Raises:
        TypeError: An argument is no dense floating-point tensor, or dtypes are mixed.
        ValueError: Shapes or devices do not fit.
    """
    _check(x, weight, bias)
    if not fits(x, weight):
        return _reference(x, weight, bias)
    y: Tensor = _forward(x, weight, bias, None, None)
    return y


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels take such maps and filters, and are faster than torch's convolution.

    They are not where tiles of 4x4 outputs would be nearly empty, or too few for the filters' transform to
    pay.
    """
    if not (x.device.type == "cpu" and compiled_for(x.device) and _COMPILED):
        return False
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or x.ndim != 4:
        return False
    images, _, height, width = x.shape
    tiles = -(-height // 4) * -(-width // 4)
    return _takes(weight) and height * width >= 6 * tiles and images * tiles >= 16


def _takes(weight: Tensor) -> bool:
    out, into = weight.shape[:2]
    few_or_whole = 0 < into < CHANNELS or (into > 0 and into % CHANNELS == 0)
    return weight.shape[2:] == (3, 3) and out > 0 and out % CHANNELS == 0 and few_or_whole


def _reference(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What the kernels compute, in plain torch."""
    return torch.conv2d(x, weight, bias, padding=1)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    given = [("x", x), ("weight", weight), *([] if bias is None else [("bias", bias)])]
    for name, tensor in given:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"conv3x3: {name} must be a tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(f"conv3x3: {name} must be dense, found layout {tensor.layout}; use to_dense()")
        if not tensor.is_floating_point():
            raise TypeError(f"conv3x3: {name} must be of a floating-point dtype, found {tensor.dtype}")
        if tensor.dtype != x.dtype:
            raise TypeError(f"conv3x3: {name} must have x's dtype {x.dtype}, found {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"conv3x3: {name} must be on x's device {x.device}, found {tensor.device}")
    if x.ndim != 4 or x.shape[1] < 1:
        raise ValueError(f"conv3x3: x must be (R, I, H, W) with I at least 1, found shape {tuple(x.shape)}")
    if x.shape[2] < 1 or x.shape[3] < 1:
        raise ValueError(f"conv3x3: height and width must be at least 1, found shape {tuple(x.shape)}")
    if weight.ndim != 4 or weight.shape[0] < 1 or weight.shape[1:] != (x.shape[1], 3, 3):
        raise ValueError(
            f"conv3x3: weight must be (O, {x.shape[1]}, 3, 3) as x has {x.shape[1]} channels, "
            f"found shape {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"conv3x3: bias must be ({weight.shape[0]},), one for each filter, "
            f"found shape {tuple(bias.shape)}"
        )


# ---- the two operators --------------------------------------------------------------------------------
# Raw shapes: x, other (R, I, H, W); grad (R, O, H, W); weight, other_weight (O, I, 3, 3); bias (O,). A
# gradient that is not wanted is (0,).


def _fake_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None, other_weight: Tensor | None
) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _fake_backward(
    grad: Tensor, x: Tensor, weight: Tensor, want_x: bool, want_weight: bool
) -> tuple[Tensor, Tensor]:
    to_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    form = torch.contiguous_format if weight.is_contiguous() else torch.channels_last
    to_weight = torch.empty(weight.shape, dtype=x.dtype, device=x.device, memory_format=form)
    return to_x if want_x else x.new_empty(0), to_weight if want_weight else x.new_empty(0)


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, _, other, other_weight = inputs
    ctx.save_for_backward(x, weight, other, other_weight)


def _backward_of_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, weight, other, other_weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    to_bias = grad.sum((0, 2, 3)) if wanted[2] else None
    to_x, to_weight = _gradients(grad, x, weight, _asked_for(ctx, 0), wanted[1])
    to_other, to_other_weight = _gradients(grad, other, other_weight, wanted[3], wanted[4])
    return to_x, to_weight, to_bias, to_other, to_other_weight


def _asked_for(ctx: Any, at: int) -> bool:
    """Whether the gradient of a tensor argument goes anywhere.

    ``needs_input_grad`` only tells that the argument requires one: of learned images, also where gradients
    of parameters alone are taken.
    """
    if not ctx.needs_input_grad[at]:
        return False
    try:
        asked: bool = torch._C._will_engine_execute_node(ctx.next_functions[at][0])
    except RuntimeError:  # of a leaf whose gradient is returned, torch does not say
        return True
    return asked


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, want_x, want_weight = inputs
    ctx.save_for_backward(*tensors)
    ctx.made = want_x, want_weight
    ctx.set_materialize_grads(False)


def _backward_of_backward(ctx: Any, hx: Tensor | None, hw: Tensor | None) -> tuple[Any, ...]:
    grad, x, weight = ctx.saved_tensors
    hx, hw = (h if made else None for h, made in zip((hx, hw), ctx.made, strict=True))
    wanted = ctx.needs_input_grad
    pairs = [pair for pair in ((hx, weight), (x, hw)) if pair[0] is not None and pair[1] is not None]
    to_grad = None
    if wanted[0] and pairs:
        (first, filters), (second, others) = (*pairs, (None, None))[:2]
        to_grad = _forward(first, filters, None, second, others)
    to_x, to_weight = _gradients(
        grad,
        x if hx is None else hx,
        weight if hw is None else hw,
        wanted[1] and hw is not None,
        wanted[2] and hx is not None,
    )
    return to_grad, to_x, to_weight, None, None


def _gradients(
    grad: Tensor, x: Tensor | None, weight: Tensor | None, want_x: bool, want_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    if not (want_x or want_weight):
        return None, None
    to_x, to_weight = _backward(grad, x, weight, want_x, want_weight)
    return to_x if want_x else None, to_weight if want_weight else None


_backward: Operator = define(
    "conv3x3_backward",
    "(Tensor grad, Tensor x, Tensor weight, bool want_x, bool want_weight) -> (Tensor, Tensor)",
    fake=_fake_backward,
    vmap=vmap_each,
    setup=_setup_backward,
    backward=_backward_of_backward,
)
_forward: Operator = define(
    "conv3x3",
    "(Tensor x, Tensor weight, Tensor? bias, Tensor? other, Tensor? other_weight) -> Tensor",
    fake=_fake_forward,
    vmap=vmap_each,
    setup=_setup_forward,
    backward=_backward_of_forward,
)
_COMPILED: bool = torch._C._dispatch_has_kernel_for_dispatch_key("pydistill::conv3x3", "CPU")
