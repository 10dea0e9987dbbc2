"""Every test of the augmentation runs on the kernel, where there is one, and on the plain transforms."""

import pytest

from pydistill import ops


@pytest.fixture(autouse=True, params=["kernel", "reference"])
def _path(request):
    if request.param == "kernel":
        yield
        return
    with ops.reference_only():
        yield
