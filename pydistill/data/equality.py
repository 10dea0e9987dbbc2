"""Equality by content, for frozen records that hold tensors."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class ByContent:
    """Base of dataclasses (``eq=False``) that are equal where every field is, tensors by type and value.

    Where a tensor lies (device, memory format) does not matter. Equal ones have equal hashes.
    """

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(
            alike(getattr(self, each.name), getattr(other, each.name))
            for each in dataclasses.fields(self)  # type: ignore[arg-type]
        )

    def __hash__(self) -> int:
        values = (getattr(self, each.name) for each in dataclasses.fields(self))  # type: ignore[arg-type]
        return hash((type(self).__name__, *map(_outline, values)))


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same: tensors by type and value, mappings and sequences part by part."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
            return False
        return one.dtype == other.dtype and torch.equal(one.detach().cpu(), other.detach().cpu())
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if _is_sequence(one) and _is_sequence(other):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def _outline(value: Any) -> Any:
    """Something hashable that equal values share: of tensors, types and shapes alone."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape)
    if isinstance(value, Mapping):
        return frozenset((key, _outline(part)) for key, part in value.items())
    if _is_sequence(value):
        return tuple(map(_outline, value))
    return value


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
