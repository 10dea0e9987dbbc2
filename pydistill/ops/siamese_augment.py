"""Differentiable siamese augmentation in one pass: colour, crop, cutout, flip, scale, rotate.

Zhao and Bilen, arXiv 2102.08259. Each image is transformed as its row of parameters says; images that share
a row are transformed alike. The map is linear in the images but for the brightness, so that its derivative
is the adjoint map, and the adjoint's derivative the map without brightness: two kernels give every order of
derivative (``csrc/common/siamese_augment.h`` has the formulas).
"""

from typing import Any

import torch
from torch import Tensor

from pydistill.ops import _siamese_plain as plain
from pydistill.ops._define import Operator, define
from pydistill.ops._layout import empty_images, wrapped
from pydistill.ops._library import abstract, runs_operator
from pydistill.ops._siamese_plain import COLUMNS

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def siamese_augment(images: Tensor, values: Tensor, rows: Tensor | None = None) -> Tensor:
    """Transform images by rows of parameters, in the order colour, crop, cutout, flip, scale, rotate.

    A transform whose parameters are at their identity is left out: an image with none left comes out bit
    for bit as it went in, and crop, cutout and flip alone only move pixels. bfloat16 images are computed on
    in float32 and rounded once. The memory format is kept. Differentiable in the images to any order, not
    in the parameters; works under ``torch.func.grad`` and ``vmap``; under ``torch.compile`` once
    differentiable.

    Args:
        images: (N, C, H, W), float32, float64 or bfloat16; N may be 0.
        values: (G, 13) float32, a row of parameters each; :class:`pydistill.augment.Parameters` says what
            the columns are and in which units. On the CPU or on the images' device.
        rows: (N,) int64, the row of each image, 0 to G - 1, on the CPU or on the images' device. None: an
            image a row where G is N, the same row for all images where G is 1.

    Returns:
        (N, C, H, W), of the images' dtype.

    Raises:
        TypeError: An argument is no dense tensor of a supported dtype.
        ValueError: Shapes or devices do not fit, a row is out of range, or a parameter is not finite.
    """
    _check_images(images)
    _check_parameters(images, values, rows)
    count, groups = images.shape[0], values.shape[0]
    if rows is None:
        each = torch.arange if groups == count else torch.zeros
        rows = each(count, dtype=torch.int64, device=images.device)
    if not runs_operator(images):
        return _reference(images, values, rows)
    augmented: Tensor = _forward(images, values.to(images.device), rows.to(images.device), True)
    return augmented


def _reference(images: Tensor, values: Tensor, rows: Tensor) -> Tensor:
    """What the kernels compute, by the plain-torch transforms."""
    return plain.apply(images, values.cpu()[rows.cpu()])


def _check_images(images: Tensor) -> None:
    _expect_dense("images", images)
    if images.dtype not in DTYPES:
        raise TypeError(
            f"siamese_augment: images must be float32, float64 or bfloat16, found {images.dtype}"
        )
    if images.ndim != 4 or min(images.shape[1:]) < 1:
        raise ValueError(
            "siamese_augment: images must be (N, C, H, W) with at least one channel and one pixel, "
            f"found shape {tuple(images.shape)}"
        )


def _check_parameters(images: Tensor, values: Tensor, rows: Tensor | None) -> None:
    count = images.shape[0]
    _expect_dense("values", values)
    if values.dtype != torch.float32:
        raise TypeError(f"siamese_augment: values must be float32, found {values.dtype}")
    if values.ndim != 2 or values.shape[1] != len(COLUMNS):
        raise ValueError(
            f"siamese_augment: values must be (G, {len(COLUMNS)}), found shape {tuple(values.shape)}"
        )
    _expect_device("values", values, images)
    if _readable(values, images) and not (finite := values.isfinite()).all():
        row, column = (int(at) for at in (~finite).nonzero()[0])
        raise ValueError(
            f"siamese_augment: values must be finite, found {COLUMNS[column]} = "
            f"{values[row, column].item()} in row {row}"
        )
    if rows is None:
        if values.shape[0] not in (1, count):
            raise ValueError(
                f"siamese_augment: without rows, values must have one row or one an image ({count}), "
                f"found {values.shape[0]}"
            )
        return
    _expect_dense("rows", rows)
    if rows.dtype != torch.int64:
        raise TypeError(f"siamese_augment: rows must be int64, found {rows.dtype}")
    if tuple(rows.shape) != (count,):
        raise ValueError(f"siamese_augment: rows must be ({count},), found shape {tuple(rows.shape)}")
    _expect_device("rows", rows, images)
    if count and _readable(rows, images):
        low, high = (int(bound) for bound in rows.aminmax())
        if low < 0 or high >= values.shape[0]:
            raise ValueError(
                f"siamese_augment: rows must be 0 to {values.shape[0] - 1}, found {low} to {high}"
            )


def _expect_dense(name: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"siamese_augment: {name} must be a tensor, found {type(tensor).__name__}")
    if tensor.layout != torch.strided:
        raise TypeError(
            f"siamese_augment: {name} must be dense, found layout {tensor.layout}; use to_dense()"
        )


def _expect_device(name: str, tensor: Tensor, images: Tensor) -> None:
    if tensor.device not in (images.device, torch.device("cpu")):
        raise ValueError(
            f"siamese_augment: {name} must be on the CPU or on the images' device {images.device}, "
            f"found {tensor.device}"
        )


def _readable(tensor: Tensor, images: Tensor) -> bool:
    """Whether its numbers can be looked at: not while traced or mapped, and not where there are none."""
    if torch.compiler.is_compiling() or type(tensor) is not Tensor or abstract(tensor) or abstract(images):
        return False
    return not wrapped(tensor)


def _fake(images: Tensor, values: Tensor, rows: Tensor, constant: bool) -> Tensor:
    return empty_images(images, images.shape[2], images.shape[3])


def _fake_backward(grad: Tensor, values: Tensor, rows: Tensor, channels_last: bool) -> Tensor:
    order = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(grad.shape, dtype=grad.dtype, device=grad.device, memory_format=order)


def _vmap(
    overload: Any,
    info: Any,
    in_dims: tuple[int | None, ...],
    images: Tensor,
    values: Tensor,
    rows: Tensor,
    *rest: Any,
) -> tuple[Tensor, int]:
    """Fold the mapped dimension into the images: before them, or behind where it already is."""
    of_images, of_values, of_rows, *_ = in_dims
    size, at = info.batch_size, 1 if of_images == 1 else 0
    images = _along(images, of_images, at, size)
    rows = _along(rows, of_rows, at, size)
    shape = images.shape[:2]
    if of_values is not None:
        values = values.movedim(of_values, 0)
        first = torch.arange(size, device=rows.device) * values.shape[1]
        rows, values = rows + (first if at else first[:, None]), values.flatten(0, 1)
    out = overload(images.flatten(0, 1), values, rows.flatten(), *rest)
    return out.unflatten(0, shape), at


def _along(tensor: Tensor, dim: int | None, at: int, size: int) -> Tensor:
    """With the mapped dimension at ``at``, repeated there where it is not mapped."""
    if dim is not None:
        return tensor.movedim(dim, at)
    return tensor.unsqueeze(at).expand(*tensor.shape[:at], size, *tensor.shape[at:])


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])
    # The gradient lies in memory as the images do, whatever the order of the one that comes in.
    ctx.channels_last = output.shape[1] > 1 and output.stride(1) == 1


def _backward_of_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return _backward(grad, *ctx.saved_tensors, ctx.channels_last), None, None, None


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _backward_of_backward(ctx: Any, grad_grad: Tensor) -> tuple[Any, ...]:
    return _forward(grad_grad, *ctx.saved_tensors, False), None, None, None


_backward: Operator = define(
    "siamese_augment_backward",
    "(Tensor grad, Tensor values, Tensor rows, bool channels_last) -> Tensor",
    fake=_fake_backward,
    vmap=_vmap,
    setup=_setup_backward,
    backward=_backward_of_backward,
)
_forward: Operator = define(
    "siamese_augment",
    "(Tensor images, Tensor values, Tensor rows, bool constant) -> Tensor",
    fake=_fake,
    vmap=_vmap,
    setup=_setup_forward,
    backward=_backward_of_forward,
)
