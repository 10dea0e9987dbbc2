"""Per-instance normalisation with affine, ReLU and 2x2 average pooling in one pass.

The block that the field's ConvNets are made of (Gidaris and Komodakis, arXiv 1804.09458, used since
arXiv 2006.05929). For each image n and channel c, over its M = H W pixels, with biased variance:

    xh = (x - mean) / sqrt(var + eps),   y = weight xh + bias,   out = average of max(y, 0) over 2x2.

An odd last row or column counts in mean and variance and is left out of the pooling, as in
``avg_pool2d(2)``. First and second derivatives are kernels of their own (``csrc/common/norm_relu_pool.h``
has the formulas); the third is refused.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.ops._define import Operator, define
from pydistill.ops._layout import empty_images, vmap_images
from pydistill.ops._library import runs_operator

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def norm_relu_pool(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Normalise each channel of each image, scale and shift it, apply ReLU, average over 2x2 windows.

    Sums are kept in float32 (float64 for float64 input). The memory format of ``x`` is kept: channels_last
    in, channels_last out. Twice differentiable in ``x``, ``weight`` and ``bias``; works under
    ``torch.func.grad`` and ``vmap``; under ``torch.compile`` once differentiable.

    Args:
        x: Images (R, C, H, W), float32, float64 or bfloat16, H and W at least 2. R may be 0.
        weight: Scale (C,), or (G, C) where R is a multiple of G: the first R/G images then use row 0,
            the next R/G row 1, and so on. Of x's dtype; float32 is also taken with bfloat16 images.
        bias: Shift, of the shape and dtype of ``weight``.
        eps: Added to the variance; greater than 0.

    Returns:
        (R, C, H // 2, W // 2), of x's dtype.

    Raises:
        TypeError: An argument is no dense floating-point tensor of a supported dtype, or dtypes are mixed.
        ValueError: Shapes, devices or ``eps`` do not fit.
    """
    _check(x, weight, bias, eps)
    accumulate = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight, bias = (t.to(accumulate).reshape(-1, x.shape[1]) for t in (weight, bias))
    if not runs_operator(x):
        return _reference(x, weight, bias, eps)
    pooled: Tensor = _forward(x, weight, bias, float(eps))[0]
    return pooled


def _reference(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """What the kernels compute, in plain torch: x (R, C, H, W); weight and bias (G, C) in float32 or 64."""
    # Spelled out: torch 2.13's group_norm crashes on the CPU where channels_last images need no gradient.
    values = x.to(weight.dtype)
    centred = values - values.mean((2, 3), keepdim=True)
    variance = (centred * centred).mean((2, 3), keepdim=True)
    repeats = x.shape[0] // weight.shape[0] if weight.shape[0] > 1 else 1
    scale, shift = (t.repeat_interleave(repeats, 0)[:, :, None, None] for t in (weight, bias))
    normal = centred * (torch.rsqrt(variance + eps) * scale) + shift
    return F.avg_pool2d(F.relu(normal), 2).to(x.dtype)


def _check(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> None:
    for name, tensor in (("x", x), ("weight", weight), ("bias", bias)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"norm_relu_pool: {name} must be a tensor, found {type(tensor).__name__}")
        if tensor.layout != torch.strided:
            raise TypeError(
                f"norm_relu_pool: {name} must be dense, found layout {tensor.layout}; use to_dense()"
            )
    if x.dtype not in DTYPES:
        raise TypeError(f"norm_relu_pool: x must be float32, float64 or bfloat16, found {x.dtype}")
    allowed = {x.dtype} | ({torch.float32} if x.dtype == torch.bfloat16 else set())
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor.dtype not in allowed:
            raise TypeError(
                f"norm_relu_pool: {name} must have x's dtype {x.dtype}, found {tensor.dtype}; "
                "mixed dtypes are not supported, save float32 weights for bfloat16 images"
            )
        if tensor.device != x.device:
            raise ValueError(
                f"norm_relu_pool: {name} must be on x's device {x.device}, found {tensor.device}"
            )
    if x.ndim != 4:
        raise ValueError(f"norm_relu_pool: x must be (R, C, H, W), found shape {tuple(x.shape)}")
    if x.shape[2] < 2 or x.shape[3] < 2:
        raise ValueError(
            "norm_relu_pool: height and width must be at least 2 (pooling is 2x2), "
            f"found shape {tuple(x.shape)}"
        )
    if x.shape[1] < 1:
        raise ValueError(f"norm_relu_pool: x must have at least one channel, found shape {tuple(x.shape)}")
    fits = weight.ndim in (1, 2) and weight.shape[-1] == x.shape[1]
    if not fits or (weight.ndim == 2 and (weight.shape[0] < 1 or x.shape[0] % weight.shape[0])):
        raise ValueError(
            f"norm_relu_pool: weight must be (C,) or (G, C) with C = {x.shape[1]} and G a divisor of the "
            f"{x.shape[0]} images, found shape {tuple(weight.shape)}"
        )
    if bias.shape != weight.shape:
        raise ValueError(
            f"norm_relu_pool: bias must have weight's shape {tuple(weight.shape)}, "
            f"found {tuple(bias.shape)}"
        )
    if not eps > 0:
        raise ValueError(f"norm_relu_pool: eps must be greater than 0, found {eps}")


# ---- the operator and its two derivatives -----------------------------------------------------------
# Raw shapes: x (R, C, H, W); grad and pooled (R, C, H//2, W//2); weight, bias (G, C), R a multiple of G;
# mean, rstd (R, C). Statistics and per-channel tensors are float32, or float64 for float64 images.


def _fake_forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    statistic = weight.new_empty(x.shape[:2])
    return empty_images(x, x.shape[2] // 2, x.shape[3] // 2), statistic, torch.empty_like(statistic)


def _fake_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        empty_images(x, x.shape[2], x.shape[3]),
        weight.new_empty(weight.shape),
        bias.new_empty(bias.shape),
    )


def _fake_double_backward(
    ggx: Tensor,
    ggw: Tensor,
    ggb: Tensor,
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = x.shape[2], x.shape[3]
    return (
        empty_images(x, height // 2, width // 2),
        empty_images(x, height, width),
        weight.new_empty(weight.shape),
    )


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, weight, bias, _ = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(x, weight, bias, mean, rstd)


def _backward_of_forward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    return (*_backward(grad, *ctx.saved_tensors), None)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward_of_backward(ctx: Any, ggx: Tensor, ggw: Tensor, ggb: Tensor) -> tuple[Any, ...]:
    # mean and rstd are functions of x: their share is in x's gradient. The bias only moves the mask.
    grad, gx, gw = _double_backward(ggx, ggw, ggb, *ctx.saved_tensors)
    return grad, gx, gw, torch.zeros_like(gw), None, None


_double_backward: Operator = define(
    "norm_relu_pool_double_backward",
    "(Tensor ggx, Tensor ggw, Tensor ggb, Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor mean, "
    "Tensor rstd) -> (Tensor, Tensor, Tensor)",
    fake=_fake_double_backward,
    vmap=vmap_images(images=4),
)
_backward: Operator = define(
    "norm_relu_pool_backward",
    "(Tensor grad, Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor rstd) "
    "-> (Tensor, Tensor, Tensor)",
    fake=_fake_backward,
    vmap=vmap_images(images=1),
    setup=_setup_backward,
    backward=_backward_of_backward,
)
_forward: Operator = define(
    "norm_relu_pool",
    "(Tensor x, Tensor weight, Tensor bias, float eps) -> (Tensor, Tensor, Tensor)",
    fake=_fake_forward,
    vmap=vmap_images(images=0),
    setup=_setup_forward,
    backward=_backward_of_forward,
)
