"""What idle threads do, which matters on a machine that is shared (docs/performance.md)."""

import os

VARIABLE = "OMP_WAIT_POLICY"
"""The environment variable that OpenMP reads once, when torch is loaded."""


def idle() -> str:
    """What idle threads do, as the environment has it: ``sleep`` or ``spin``."""
    return "sleep" if os.environ.get(VARIABLE, "").strip().upper() == "PASSIVE" else "spin"
