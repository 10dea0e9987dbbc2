"""Loading the compiled extension, and telling what was loaded or why nothing was."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses import FakeTensor

from pydistill.errors import ExtensionWarning
from pydistill.ops import _absence

_forced: ContextVar[bool] = ContextVar("pydistill_reference_only", default=False)
_warned: set[str] = set()


@dataclass(frozen=True)
class Status:
    """What the compiled operators stand on.

    Attributes:
        loaded: Whether the extension is in use.
        reason: Why it is not, and the commands that mend it; None where it is.
        backends: Device types it holds kernels for, such as ``("cpu",)`` or ``("cpu", "cuda")``.
        build: What the extension says of its build: compiler, torch it was built against, instruction sets
            of the CPU kernels and the one in use, CUDA architectures. Empty where nothing is loaded.
    """

    loaded: bool
    reason: str | None = None
    backends: tuple[str, ...] = ()
    build: Mapping[str, Any] = field(default_factory=dict)


def status() -> Status:
    """What is loaded, or why nothing is."""
    if not _STATUS.loaded:
        return _STATUS
    return Status(True, None, _STATUS.backends, importlib.import_module("pydistill._C").build_info())


@contextlib.contextmanager
def reference_only() -> Iterator[None]:
    """Run every operator's plain-torch reference inside this context, also where kernels are loaded.

    For comparing, timing, and third or forward-mode derivatives, which the kernels refuse.
    """
    token = _forced.set(True)
    try:
        yield
    finally:
        _forced.reset(token)


def compiled_for(device: torch.device) -> bool:
    """Whether an operator on ``device`` runs a compiled kernel now.

    Where one could and none is there, :class:`~pydistill.errors.ExtensionWarning` says so once a process.
    """
    if torch.compiler.is_compiling():  # a ContextVar cannot be traced; a graph is compiled to be fast
        return device.type in _STATUS.backends
    if _forced.get():
        return False
    if device.type in _STATUS.backends:
        return True
    if device.type in ("cpu", "cuda") and device.type not in _warned:
        _warned.add(device.type)
        warnings.warn(f"pydistill: {_absent_for(device.type)}", ExtensionWarning, stacklevel=3)
    return False


def _absent_for(device: str) -> str:
    return _STATUS.reason or _absence.not_for(device, _STATUS.backends)


def abstract(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a shape without values: on the meta device, or a fake one outside of a graph."""
    if torch.compiler.is_compiling():
        return False
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def runs_operator(tensor: torch.Tensor) -> bool:
    """Whether an operator on ``tensor`` goes to the dispatcher: to a kernel, or for its result's shape."""
    return compiled_for(tensor.device) or abstract(tensor)


def _load() -> Status:
    try:
        extension = importlib.import_module("pydistill._C")
    except ModuleNotFoundError as error:
        if error.name != "pydistill._C":
            return Status(False, _absence.not_loading(torch.__version__, error))
        return Status(False, _absence.not_built())
    except ImportError as error:
        return Status(False, _absence.not_loading(torch.__version__, error))
    build = extension.build_info()
    return Status(True, None, tuple(build["backends"]), build)


_STATUS = _load()
