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


@pytest.fixture
def pool():
    """The CPU kernels' pool of large outputs, empty; its limit is put back."""
    extension = importlib.import_module("pydistill._C")
    before = extension.pool_limit()
    extension.set_pool_limit(0)
    extension.set_pool_limit(before)
    yield extension
    extension.set_pool_limit(0)
    extension.set_pool_limit(before)


@pytest.mark.cpu_pool
@pytest.mark.parametrize("fmt", FORMATS)
def test_large_outputs_are_used_again_and_right(pool, fmt):
    x, weight, bias = inputs((20, 64, 64, 66), torch.float32, fmt)
    first = ops.norm_relu_pool(x, weight, bias)
    kept, place = first.detach().clone(), first.data_ptr()
    again = ops.norm_relu_pool(x, weight, bias)
    assert again.data_ptr() != place  # the first is still in use
    del first
    assert pool.pool_held() >= kept.nbytes > 4 << 20
    third = ops.norm_relu_pool(x.detach(), weight.detach(), bias.detach())
    assert third.data_ptr() == place
    assert torch.equal(third, kept)
    assert torch.equal(again, kept)
    assert third.is_contiguous(memory_format=FORMATS[fmt])
    with ops.reference_only():
        torch.testing.assert_close(
            third, ops.norm_relu_pool(x, weight, bias).detach(), rtol=1e-4, atol=1e-4
        )


@pytest.mark.cpu_pool
def test_pool_keeps_no_more_than_its_limit(pool):
    x, weight, bias = inputs((20, 64, 64, 66), torch.float32, grad=False)
    outputs = [ops.norm_relu_pool(x, weight, bias) for _ in range(3)]
    size = outputs[0].nbytes
    pool.set_pool_limit(2 * size + (1 << 20))
    outputs.clear()
    assert 2 * size <= pool.pool_held() <= pool.pool_limit()
    pool.set_pool_limit(0)
    assert pool.pool_held() == 0
    with pytest.raises(ValueError, match="must be 0 or more bytes, found -1"):
        pool.set_pool_limit(-1)


@pytest.mark.cpu_pool
def test_small_outputs_do_not_go_through_the_pool(pool):
    ops.norm_relu_pool(*inputs((2, 3, 8, 8), torch.float32))
    assert pool.pool_held() == 0
