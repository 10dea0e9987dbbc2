"""Digests of tensors by their content."""

import hashlib
from typing import Protocol

import torch
from torch import Tensor

_ROWS = 4096
"""Rows that are copied at a time where a tensor is not contiguous or not on the CPU: bounds memory."""


class Hash(Protocol):
    """What :mod:`hashlib` makes."""

    def update(self, content: bytes | memoryview, /) -> None:
        """Take up bytes."""


def add_tensor(made: Hash, name: str, tensor: Tensor) -> None:
    """Take up a tensor: its name, type, shape and values, whatever its device and memory format."""
    made.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    rows = tensor.detach() if tensor.ndim else tensor.detach()[None]
    for part in torch.split(rows, _ROWS):
        if part.numel():
            made.update(part.cpu().contiguous().flatten().view(torch.uint8).numpy().data)


def digest(*tensors: Tensor) -> str:
    """Hexadecimal SHA-256 of tensors' types, shapes and values, in their order."""
    made = hashlib.sha256()
    for tensor in tensors:
        add_tensor(made, "", tensor)
    return made.hexdigest()
