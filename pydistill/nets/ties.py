"""Weights that a network uses in several places: one tensor under several names.

Such a weight is drawn, kept and counted once, under the first of its names, as ``named_parameters`` has it.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def tied(module: nn.Module) -> list[list[str]]:
    """The names of each parameter or buffer that has several."""
    return [names for names in _names(module).values() if len(names) > 1]


def tie(module: nn.Module, groups: list[list[str]]) -> None:
    """Let the names of each group mean the tensor of its first one."""
    for first, *others in groups:
        holder, _, own = first.rpartition(".")
        tensor = getattr(module.get_submodule(holder), own)
        for name in others:
            holder, _, own = name.rpartition(".")
            setattr(module.get_submodule(holder), own, tensor)


def refuse_shared_memory(module: nn.Module) -> None:
    """Refuse parameters and buffers that are views of one another: drawn one by one they would come apart.

    Raises:
        ValueError: Two of them share memory and are not one tensor; they are named.
    """
    seen: dict[int, str] = {}
    for name, tensor in _tensors(module, remove_duplicate=True).items():
        other = seen.setdefault(tensor.untyped_storage()._cdata, name)
        if other != name:
            raise ValueError(
                f"{other} and {name} share memory but are two tensors: assign the same parameter to both, "
                "or derive one from the other in the forward pass"
            )


def once(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Hook of ``state_dict``: a weight with several names has its first one alone."""
    for _first, *others in tied(module):
        for name in others:
            state.pop(prefix + name, None)


def every_name(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Hook of ``load_state_dict``: names that are not given take what another name of the weight has."""
    for names in tied(module):
        given = [prefix + name for name in names if prefix + name in state]
        for name in names:
            if given:
                state.setdefault(prefix + name, state[given[0]])


def _names(module: nn.Module) -> Mapping[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for name, tensor in _tensors(module, remove_duplicate=False).items():
        groups.setdefault(id(tensor), []).append(name)
    return groups


def _tensors(module: nn.Module, *, remove_duplicate: bool) -> dict[str, Tensor]:
    parameters = module.named_parameters(remove_duplicate=remove_duplicate)
    buffers = module.named_buffers(remove_duplicate=remove_duplicate)
    return {**dict(parameters), **dict(buffers)}
