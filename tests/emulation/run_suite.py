"""Run pytest with other operators than the installed ones.

    python run_suite.py LIBRARY|reference PYTEST_ARGUMENT...

LIBRARY is one that tests/emulation/build.py made: its kernels, the CUDA ones on the host, then stand under
the CPU's key. ``reference`` hides the extension. It must be a process of its own: operators are registered
once.
"""

import sys
import types

import pytest
import torch


def stand_in() -> types.ModuleType:
    """What ``pydistill._C`` would say, for kernels that are run by the emulation."""
    module = types.ModuleType("pydistill._C")
    module.cpu_levels = lambda: ["emulated"]
    module.use_cpu_level = use_level
    module.build_info = lambda: {
        "backends": ["cpu"],
        "compiler": "emulation",
        "torch": torch.__version__,
        "cpu_levels": ["emulated"],
        "cpu_level": "emulated",
    }
    return module


def use_level(name: str) -> None:
    """Refuse other levels as the extension does."""
    if name != "emulated":
        raise ValueError(f"'{name}' is no instruction set level of this build and machine")


if __name__ == "__main__":
    which, *arguments = sys.argv[1:]
    sys.modules["pydistill._C"] = None if which == "reference" else stand_in()
    if which != "reference":
        torch.ops.load_library(which)
    sys.exit(pytest.main(arguments))
