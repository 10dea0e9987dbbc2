"""Memory formats and mapped dimensions of images: what fake kernels and vmap rules share."""

from typing import Any

import torch
from torch import Tensor

from pydistill.ops._define import Vmap


def wrapped(tensor: Tensor) -> bool:
    """Whether a tensor stands for another one within ``torch.func``."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def image_format(x: Tensor) -> torch.memory_format:
    """The format that kernels work and answer in for images x (R, C, H, W).

    It is x's own; for strided x the one that is nearer. ``order_of`` in ``csrc/common/tensors.h`` says the
    same.
    """
    if x.is_contiguous():
        return torch.contiguous_format
    if x.is_contiguous(memory_format=torch.channels_last) or x.stride(1) == 1:
        return torch.channels_last
    return torch.contiguous_format


def empty_images(x: Tensor, height: int, width: int) -> Tensor:
    """Unset (R, C, height, width) with x's dtype, device and format: for fake kernels."""
    shape = (x.shape[0], x.shape[1], height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=image_format(x))


def vmap_images(images: int) -> Vmap:
    """The vmap rule of an operator whose tensors all begin with (rows or groups of rows, channels).

    The mapped dimension is folded into the rows or into the channels, whichever needs no copy of the
    images: between rows and channels, where vmapped convolutions leave it, it joins the channels; anywhere
    else it joins the rows, and per-group tensors grow in groups.

    Args:
        images: Position of the images among the arguments; their mapped dimension decides.
    """

    def rule(overload: Any, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        target = 1 if in_dims[images] == 1 else 0
        folded = [_fold(arg, dim, target, info.batch_size) for arg, dim in zip(args, in_dims, strict=True)]
        results = overload(*folded)
        unfolded = tuple(result.unflatten(target, (info.batch_size, -1)) for result in results)
        return unfolded, (target,) * len(unfolded)

    return rule


def _fold(arg: Any, dim: int | None, target: int, size: int) -> Any:
    if not isinstance(arg, Tensor):
        return arg
    if dim is None:
        arg = arg.unsqueeze(target).expand(*arg.shape[:target], size, *arg.shape[target:])
    return (arg if dim is None else arg.movedim(dim, target)).flatten(target, target + 1)


def vmap_batches(overload: Any, info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    """The vmap rule of an operator whose tensors all begin with a batch: the mapped dimension joins it."""
    folded = [_fold(arg, dim, 0, info.batch_size) for arg, dim in zip(args, in_dims, strict=True)]
    results = overload(*folded)
    several = results if isinstance(results, tuple) else (results,)
    size = info.batch_size
    unfolded = tuple(result.unflatten(0, (size, result.shape[0] // size)) for result in several)
    return (unfolded, (0,) * len(unfolded)) if isinstance(results, tuple) else (unfolded[0], 0)


def vmap_each(overload: Any, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
    """The vmap rule of an operator that takes one of everything: once for each, and stacked."""
    results = [
        overload(
            *(arg if dim is None else arg.select(dim, at) for arg, dim in zip(args, in_dims, strict=True))
        )
        for at in range(info.batch_size)
    ]
    if isinstance(results[0], tuple):
        stacked = tuple(torch.stack(several) for several in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)
    return torch.stack(results), 0
