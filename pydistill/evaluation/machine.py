"""What a measurement was made on, and the memory that it took."""

import contextlib
import os
import platform
import time
from pathlib import Path
from types import TracebackType

import torch

from pydistill._version import __version__
from pydistill.machine import describe_cpu

_STATUS = Path("/proc/self/status")


def describe(device: torch.device) -> dict[str, str | int]:
    """Processor with its level, threads, device and versions, as JSON can hold them."""
    found: dict[str, str | int] = {
        "processor": _processor(),
        **describe_cpu(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": str(device),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pydistill": __version__,
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda or ""
    return found


class Meter:
    """Wall time and peak memory of the code inside a ``with``.

    On a CPU the peak is the process's resident memory, interpreter and data included. Where the system does
    not let the high-water mark be reset (it does on Linux), it is the peak since the process began.

    Attributes:
        seconds: Wall time.
        peak_memory: Bytes; on CUDA those that torch allocated on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = 0.0
        self.peak_memory = 0

    def __enter__(self) -> "Meter":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with contextlib.suppress(OSError):  # not Linux, or not allowed: the mark then covers more
                Path("/proc/self/clear_refs").write_text("5")
        self._begun = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self.peak_memory = torch.cuda.max_memory_allocated(self._device)
        else:
            self.peak_memory = _resident_peak()
        self.seconds = time.perf_counter() - self._begun


def _resident_peak() -> int:
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # not on every system, and only needed where /proc is not there

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
