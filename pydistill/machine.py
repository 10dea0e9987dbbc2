"""What the processor computes natively: its level of vector instructions, and whether bfloat16 is emulated.

``ONEDNN_MAX_CPU_ISA`` and ``ATEN_CPU_CAPABILITY`` can hold torch to less than the processor has.
"""

import os
import platform
import time
import warnings
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F

from pydistill.distributed import World
from pydistill.events import Event, Notice

AUTO = "auto"
"""The precision that means: what the device multiplies natively."""

PRECISIONS = ("float32", "bfloat16")

_NAMES = {"AVX2": "AVX2", "AVX512": "AVX-512"}
_LEVELS = ("baseline", "AVX2", "AVX-512")
_BFLOAT16_ISA = ("BF16", "FP16", "AMX", "AVX10", "DEFAULT", "ALL")


def cpu_level() -> str:
    """``baseline``, ``AVX2`` or ``AVX-512``: what convolutions and matrix products use here.

    Processors of other families have a name of torch's, such as ``SVE256``.
    """
    own = torch.backends.cpu.get_cpu_capability()
    own = _NAMES.get(own, "baseline" if own in ("DEFAULT", "NO AVX") else own)
    allowed = _allowed()
    if own in _LEVELS and allowed:
        most = "AVX-512" if "AVX512" in allowed or "AVX10" in allowed else "AVX2"
        if allowed.startswith("SSE") or allowed == "AVX":
            most = "baseline"
        if allowed not in ("DEFAULT", "ALL"):
            return min(own, most, key=_LEVELS.index)
    return own


def native_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 in units of its own, not by turning it into float32 first."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine().lower() in ("aarch64", "arm64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    allowed = _allowed()
    if allowed and not any(name in allowed for name in _BFLOAT16_ISA):
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def describe_cpu() -> dict[str, str]:
    """Level and bfloat16, as JSON can hold them."""
    return {"level": cpu_level(), "bfloat16": "native" if native_bfloat16() else "emulated"}


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """``precision``, or what the device multiplies natively where it is ``auto``.

    That is told by the device's kind, never by a clock: the same machine always gives the same answer.
    """
    if precision != AUTO:
        return precision
    return "bfloat16" if native_bfloat16(device) else "float32"


def slow_precision(precision: str, device: torch.device | str) -> str | None:
    """What there is to say, before it starts, of a precision that is emulated here; None: nothing."""
    if precision != "bfloat16" or native_bfloat16(device):
        return None
    where = torch.device(device)
    name = f"a processor of level {cpu_level()}" if where.type == "cpu" else "this GPU"
    return (
        f"bfloat16 is emulated on {name}: a convolution takes {slowdown(where.type):.0f} times as long as "
        'in float32 (measured now); the precision "auto" chooses what is native'
    )


@cache
def slowdown(kind: str = "cpu") -> float:
    """How many times as long as in float32 a small convolution takes in bfloat16 on a kind of device."""
    times = {precision: _seconds(getattr(torch, precision), torch.device(kind)) for precision in PRECISIONS}
    return times["bfloat16"] / times["float32"]


def resolve_device(device: str, world: World | None = None) -> torch.device:
    """A device that is there; ``"auto"`` is CUDA where there is one, else the CPU.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        world: Where this process stands in a distributed run: CUDA without a number is then the GPU of its
            local rank. None: as the environment says.

    Raises:
        ValueError: The name means no device, or none of that kind is here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}; expected auto, cpu, cuda or cuda:N") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} asked for, but torch {torch.__version__} finds no CUDA device")
    if where.type == "cuda" and (where.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {device!r} asked for, but there are {torch.cuda.device_count()} CUDA devices"
        )
    if where.type == "cuda" and where.index is None:
        own = (world or World.of()).gpu(torch.cuda.device_count())
        return where if own is None else torch.device("cuda", own)
    if where.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is not supported; expected auto, cpu, cuda or cuda:N")
    return where


def tell(on_event: Callable[[Event], None] | None, text: str | None) -> None:
    """A notice to whoever listens, a warning where no one does; nothing where there is nothing to say."""
    if text is None:
        return
    if on_event is None:
        warnings.warn(text, stacklevel=3)
    else:
        on_event(Notice(text))


def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    """The best of three; the first prepares."""
    images, weight = (
        torch.ones(shape, device=device).to(dtype=dtype, memory_format=torch.channels_last)
        for shape in ((8, 64, 16, 16), (64, 64, 3, 3))
    )
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            begun = time.perf_counter()
            F.conv2d(images, weight, padding=1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - begun)
    return best


def _allowed() -> str:
    """What oneDNN is held to by the environment; empty where it is not."""
    return (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
