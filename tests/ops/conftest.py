"""Which tests of the operators run: the kernels' where they are loaded."""

import pytest
import torch

from pydistill import ops


def pytest_configure(config):
    config.addinivalue_line("markers", "compiled: needs the extension's kernels, not only the references")
    config.addinivalue_line("markers", "cpu_pool: needs the CPU kernels' own memory")
    config.addinivalue_line("markers", "cpu_only: needs the kernels of an operator that has none for CUDA")


def pytest_collection_modifyitems(config, items):
    """Leave out what cannot run here, without a skip in every report."""
    absent = set()
    if not ops.status().loaded:
        absent |= {"compiled", "cpu_pool", "cpu_only"}
    elif ops.status().build["cpu_level"] == "emulated":
        absent |= {"cpu_pool", "cpu_only"}
    out = [item for item in items if any(item.get_closest_marker(name) for name in absent)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
