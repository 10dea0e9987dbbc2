"""How many threads compute, and what idle ones do, which matters on a machine that is shared.

Between two operations OpenMP's threads wait for each other. Where a step's work is too little to share out,
one thread is about as fast on a machine that does nothing else and tens of times faster on one that does
(docs/threads.md). The choice rests on the work alone, never on a clock or on how busy the machine is,
so that equal runs give equal results.
"""

import contextlib
import os
from collections.abc import Iterator

import torch

VARIABLE = "OMP_WAIT_POLICY"
"""The environment variable that OpenMP reads once, when torch is loaded."""

LEAST_SHARED = 4_000_000
"""Multiply-adds of a step's forward pass below which it is computed on one thread: measured in
``benchmarks/kernels/threads.py``."""


def idle() -> str:
    """What idle threads do, as the environment has it: ``sleep`` or ``spin``."""
    return "sleep" if os.environ.get(VARIABLE, "").strip().upper() == "PASSIVE" else "spin"


@contextlib.contextmanager
def suited(work: int, device: torch.device) -> Iterator[None]:
    """Within it, steps of ``work`` multiply-adds are computed on as many threads as pay; then as before.

    Args:
        work: Of one step's forward pass.
        device: Where it runs; elsewhere than on a CPU nothing changes.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or work >= LEAST_SHARED or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
