"""How threads that have nothing to do wait: asleep, so that whatever else runs on a machine can use it."""

import os
import sys

VARIABLE = "OMP_WAIT_POLICY"
"""The environment variable that OpenMP reads once, when torch is loaded."""


def sleep_when_idle() -> None:
    """Have this process's idle threads sleep, unless the environment says otherwise.

    What OpenMP does by itself is spin: on a machine that is shared the spinning threads take the processor
    from those they wait for. Results are the same to the bit, since the number of threads is. It has no
    effect where torch is loaded already.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault(VARIABLE, "PASSIVE")


def idle() -> str:
    """What idle threads do, as the environment has it: ``sleep`` or ``spin``."""
    return "sleep" if os.environ.get(VARIABLE, "").strip().upper() == "PASSIVE" else "spin"
