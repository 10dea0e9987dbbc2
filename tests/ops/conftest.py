"""Markers of the operators' tests, and threads as they were after each."""

import pytest
import torch


def pytest_configure(config):
    config.addinivalue_line("markers", "compiled: needs the extension's kernels, not only the references")
    config.addinivalue_line("markers", "cpu_pool: needs the CPU kernels' own memory")
    config.addinivalue_line("markers", "cpu_only: needs the kernels of an operator that has none for CUDA")


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
