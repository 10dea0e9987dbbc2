"""Loading the compiled extension, and telling what was loaded or why nothing was."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch

BUILD_HINT = "install torch, then run `pip install --no-build-isolation pydistill` with a C++20 compiler"

_forced: ContextVar[bool] = ContextVar("pydistill_reference_only", default=False)


@dataclass(frozen=True)
class Status:
    """What the compiled operators stand on.

    Attributes:
        loaded: Whether the extension is in use.
        reason: Why it is not (one sentence that names the fix); None where it is.
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
    """Whether an operator on ``device`` runs a compiled kernel now."""
    if torch.compiler.is_compiling():  # a ContextVar cannot be traced; a graph is compiled to be fast
        return device.type in _STATUS.backends
    return device.type in _STATUS.backends and not _forced.get()


def _load() -> Status:
    try:
        extension = importlib.import_module("pydistill._C")
    except ModuleNotFoundError as error:
        if error.name != "pydistill._C":
            return _broken(error)
        return Status(False, f"the extension is not built: {BUILD_HINT} (plain torch is used, slower)")
    except ImportError as error:
        return _broken(error)
    build = extension.build_info()
    return Status(True, None, tuple(build["backends"]), build)


def _broken(error: ImportError) -> Status:
    reason = (
        f"the extension is there but does not load under torch {torch.__version__}: {error}; "
        f"rebuild it: {BUILD_HINT} (plain torch is used, slower)"
    )
    warnings.warn(f"pydistill: {reason}", RuntimeWarning, stacklevel=2)
    return Status(False, reason)


_STATUS = _load()
