"""What is loaded, what is said of it, and every instruction set of the CPU kernels."""

import importlib
from types import SimpleNamespace

import pytest
import torch

from pydistill import ops
from pydistill.ops import _library
from tests.ops.test_norm_relu_pool import FORMATS, TOLERANCE, check_everything, inputs


def loading(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(_library, "importlib", SimpleNamespace(import_module=fail))


def test_status_tells_what_is_loaded_or_why_not():
    found = ops.status()
    assert found.loaded == (found.reason is None)
    assert found.loaded == bool(found.backends)
    if found.loaded:
        assert found.build["cpu_level"] in found.build["cpu_levels"]
    else:
        assert "--no-build-isolation" in found.reason


def test_absent_extension_is_told_with_the_way_to_build_it(monkeypatch):
    loading(monkeypatch, ModuleNotFoundError("No module named 'pydistill._C'", name="pydistill._C"))
    found = _library._load()
    assert not found.loaded
    assert "not built" in found.reason
    assert "pip install --no-build-isolation" in found.reason


@pytest.mark.parametrize(
    "error",
    [
        ImportError("_C.so: undefined symbol: torch_parallel_for"),
        ModuleNotFoundError("No module 'x'", name="x"),
    ],
)
def test_broken_extension_is_never_swallowed(monkeypatch, error):
    loading(monkeypatch, error)
    with pytest.warns(RuntimeWarning, match="does not load under torch"):
        found = _library._load()
    assert not found.loaded
    assert str(error) in found.reason
    assert "rebuild it" in found.reason


@pytest.mark.compiled
def test_reference_only_is_left_also_by_an_error():
    cpu = torch.device("cpu")

    def fail():
        with ops.reference_only():
            assert not _library.compiled_for(cpu)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _library.compiled_for(cpu)
    assert not _library.compiled_for(torch.device("meta"))


@pytest.mark.compiled
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_instruction_set(fmt, dtype):
    extension = importlib.import_module("pydistill._C")
    before = extension.build_info()["cpu_level"]
    try:
        for level in extension.cpu_levels():
            extension.use_cpu_level(level)
            assert ops.status().build["cpu_level"] == level
            for shape in ((2, 40, 9, 14), (3, 21, 16, 16)):
                check_everything(inputs(shape, dtype, fmt), TOLERANCE[dtype])
    finally:
        extension.use_cpu_level(before)


@pytest.mark.compiled
def test_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="'mmx' is no instruction set level"):
        importlib.import_module("pydistill._C").use_cpu_level("mmx")
