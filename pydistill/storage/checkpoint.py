"""A run's state on disk: one safetensors file, written atomically, checked when read, never executed."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydistill.errors import CheckpointError, FileFormatError
from pydistill.storage.identity import differences
from pydistill.storage.records import Kind, read_tensors, write_tensors
from pydistill.storage.typed import typed

RECORD = Kind("pydistill.checkpoint", 3, "a checkpoint", "begin the run again, or from an older copy of it")
CACHE = "cache"
"""The part of a state that is not written down: a method makes it anew from the rest where it is gone."""

_TENSOR = "__tensor__"


@dataclass(frozen=True)
class Checkpoint:
    """A run after ``index`` iterations.

    Attributes:
        identity: What the run is: method, configuration, budget, seed, data fingerprint.
        index: Iterations done.
        seconds: Wall time spent in them, over all calls that took part.
        state: The method's state; its :data:`CACHE` is left out of the file.
    """

    identity: dict[str, Any]
    index: int
    seconds: float
    state: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write to ``path``; what stood there is replaced as a whole or not at all.

        Raises:
            OutputError: It could not be written.
        """
        tensors: dict[str, Tensor] = {}
        kept = {key: value for key, value in self.state.items() if key != CACHE}
        plan = _take_apart(kept, "state", tensors)
        facts = {"identity": self.identity, "index": self.index, "seconds": self.seconds, "state": plan}
        write_tensors(path, RECORD, facts, tensors)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Checkpoint":
        """Read and check a checkpoint; its tensors go to ``device``.

        Raises:
            FileFormatError: It is truncated, was altered, or is no checkpoint of a known format.
        """
        facts, tensors = read_tensors(path, RECORD)
        try:
            state = _put_together(facts["state"], tensors, device)
            return typed(
                cls, {**{key: facts[key] for key in ("identity", "index", "seconds")}, "state": state}
            )
        except (LookupError, TypeError, RuntimeError) as error:
            raise FileFormatError(f"{path} does not hold a checkpoint: {error!r}; {RECORD.mend}") from error

    def require(self, identity: dict[str, Any], path: Path, optional: Collection[str] = ()) -> None:
        """Raise :class:`CheckpointError` naming every part in which this run differs from ``identity``.

        ``optional`` parts are not compared where they were not recorded.
        """
        differing = differences(json.loads(json.dumps(identity)), self.identity, optional)
        if differing:
            raise CheckpointError(f"{path} is of another run: {'; '.join(differing)}")


def _take_apart(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        tensors[path] = tree.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: path, "last": _is_channels_last(tree)}
    if isinstance(tree, dict):
        return {key: _take_apart(value, f"{path}/{key}", tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_take_apart(value, f"{path}/{at}", tensors) for at, value in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(
        f"{path} holds a {type(tree).__name__}; a state holds tensors, numbers, texts, lists and dicts"
    )


def _put_together(plan: Any, tensors: dict[str, Tensor], device: torch.device) -> Any:
    if isinstance(plan, dict) and _TENSOR in plan:
        layout = torch.channels_last if plan["last"] else torch.preserve_format
        # A copy: in the file tensors lie where they fall, and matrix products round by their alignment.
        return tensors[plan[_TENSOR]].to(device, memory_format=layout, copy=True)
    if isinstance(plan, dict):
        return {key: _put_together(value, tensors, device) for key, value in plan.items()}
    if isinstance(plan, list):
        return [_put_together(value, tensors, device) for value in plan]
    return plan


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether a tensor is laid out channels_last.

    With one channel, or one pixel, it counts as contiguous too; which of the two it is, its strides tell,
    by which convolutions choose their kernels.
    """
    if tensor.ndim != 4 or not tensor.is_contiguous(memory_format=torch.channels_last):
        return False
    _, channels, height, width = tensor.shape
    own = (channels * height * width, 1, channels * width, channels)
    return not tensor.is_contiguous() or tensor.stride() == own != (own[0], height * width, width, 1)
