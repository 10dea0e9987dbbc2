"""How benchmarks measure: sides in turn, medians, peaks of fresh processes, and what they ran on."""

import contextlib
import gc
import io
import json
import runpy
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pydistill import ops
from pydistill.evaluation.machine import Meter, describe
from pydistill.machine import resolve_precision
from pydistill.storage.files import write_text

ROOT = Path(__file__).resolve().parents[1]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where benchmarks run: a GPU where there is one."""

__all__ = [
    "DEVICE",
    "copy_bandwidth",
    "interleave",
    "median",
    "peak_growth",
    "precision",
    "resident",
    "run_fresh",
    "threads",
    "wait",
    "write",
]


def interleave(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round by side; the sides take turns, and a first round of each only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for at in range(rounds + 1):
        for name, run in sides.items():
            begun = time.perf_counter()
            run()
            wait()
            if at:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def precision(text: str) -> str:
    """A precision as an argument: ``auto`` is what the device multiplies natively."""
    return resolve_precision(text, DEVICE)


def wait() -> None:
    """Until the device has done what it was asked for."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def threads(*, all_only: bool = False) -> list[int]:
    """Numbers of threads to measure with: one and all; on a GPU, or where asked, all alone."""
    most = torch.get_num_threads()
    return [most] if all_only or DEVICE.type == "cuda" else sorted({1, most})


def peak_growth(run: Callable[[], object], warm: Callable[[], object] | None = None) -> float:
    """MiB by which ``run`` lifts the memory of this process above what it held before.

    Resident memory on a CPU; on a GPU what torch has allocated there.

    Args:
        run: What is measured, once.
        warm: The same work on a tiny input, called first, so that what a first call loads is not counted;
            None only where there is no tiny input to be had.
    """
    if warm is not None:
        warm()
    gc.collect()  # what is dead already must not be given back while the run is measured
    before = held()
    with Meter(DEVICE) as meter:
        run()
    return (meter.peak_memory - before) / 2**20


def held() -> int:
    """Bytes that this process holds now on the device (on a CPU: Linux alone)."""
    if DEVICE.type == "cuda":
        return torch.cuda.memory_allocated()
    return resident("VmRSS")


def resident(what: str, process: int | str = "self") -> int:
    """Bytes of a process's resident memory: ``VmRSS`` now, ``VmHWM`` at most (Linux alone)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{process}/status does not tell {what}: this measurement needs Linux")


def run_fresh(module: str, arguments: Sequence[str]) -> Any:
    """What ``python -m module arguments`` prints on its last line, read as JSON, in a fresh process.

    On a GPU in this one: there the allocator counts exactly, whatever ran before, and a process is slow.
    """
    if DEVICE.type == "cuda":
        printed, before = io.StringIO(), sys.argv
        sys.argv = [module, *arguments]
        try:
            with contextlib.redirect_stdout(printed):
                runpy.run_module(module, run_name="__main__")
        finally:
            sys.argv = before
        return json.loads(printed.getvalue().splitlines()[-1])
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def copy_bandwidth(mebibytes: int = 256, rounds: int = 7) -> float:
    """Bytes a second that this machine copies (read and written counted both), buffers touched before."""
    source = torch.ones(mebibytes * 2**18, device=DEVICE)
    target = torch.zeros_like(source)
    seconds = interleave({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 2 * source.nbytes / median(seconds)


def write(path: Path, name: str, rows: Any, **facts: Any) -> None:
    """Write a result with all that is needed to judge and repeat it."""
    content = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", _module(), *_portable(sys.argv[1:])]),
        "commit": commit(),
        "machine": describe(DEVICE) | {"extension": dict(ops.status().build)},
        **facts,
        "rows": rows,
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def commit() -> str:
    """The checkout's commit, with ``+`` behind it where files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--untracked-files=no", "--", "pydistill", "csrc", "benchmarks/*.py"
    )
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


def _module() -> str:
    return ".".join(Path(sys.argv[0]).resolve().relative_to(ROOT).with_suffix("").parts)


def _portable(arguments: Sequence[str]) -> list[str]:
    """Arguments without the folders of this machine: what lies outside the checkout goes by its name."""
    return [Path(text).name if text.startswith(("/", "..")) else text for text in arguments]
