"""What is loaded, what is said of it, and every instruction set of the CPU kernels."""

import importlib
import warnings
from types import SimpleNamespace

import pytest
import torch

from pydistill import ops
from pydistill.errors import ExtensionWarning
from pydistill.ops import _library
from tests.ops.test_norm_relu_pool import FORMATS, TOLERANCE, check_everything, inputs


def loading(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(_library, "importlib", SimpleNamespace(import_module=fail))


ABSENT = ModuleNotFoundError("No module named 'pydistill._C'", name="pydistill._C")


def test_status_tells_what_is_loaded_or_why_not():
    found = ops.status()
    assert found.loaded == (found.reason is None)
    assert found.loaded == bool(found.backends)
    if found.loaded:
        assert found.build["cpu_level"] in found.build["cpu_levels"]
    else:
        assert "--no-build-isolation" in found.reason


def test_absent_extension_is_told_with_the_way_to_build_it(monkeypatch):
    loading(monkeypatch, ABSENT)
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
def test_broken_extension_is_told_with_its_error(monkeypatch, error):
    loading(monkeypatch, error)
    found = _library._load()
    assert not found.loaded
    assert "does not load under torch" in found.reason
    assert str(error) in found.reason
    assert "rebuild it" in found.reason


@pytest.fixture
def absent(monkeypatch):
    """As where no extension was built and nothing was said of it yet."""
    loading(monkeypatch, ABSENT)
    monkeypatch.setattr(_library, "_STATUS", _library._load())
    monkeypatch.setattr(_library, "_warned", set())


def test_the_first_reference_in_place_of_a_kernel_warns_once(absent):
    x, weight = torch.ones(2, 16, 8, 8), torch.ones(16, 16, 3, 3)
    with pytest.warns(ExtensionWarning, match=r"not built.*pip install --no-build-isolation"):
        ops.conv3x3(x, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ops.conv3x3(x, weight)
        ops.norm_relu_pool(*inputs((2, 3, 8, 8), torch.float32, grad=False))


def test_a_reference_that_is_asked_for_warns_of_nothing(absent):
    with warnings.catch_warnings(record=True) as seen, ops.reference_only():
        warnings.simplefilter("always")
        ops.norm_relu_pool(*inputs((2, 3, 8, 8), torch.float32, grad=False))
    assert not seen
    assert not _library.compiled_for(torch.device("meta"))  # nothing could be compiled for that: no word


@pytest.mark.compiled
def test_a_device_that_was_not_built_for_warns_on_its_own(monkeypatch):
    monkeypatch.setattr(_library, "_warned", set())
    if "cuda" not in ops.status().backends:
        with pytest.warns(ExtensionWarning, match="kernels for cpu, none for cuda"):
            assert not _library.compiled_for(torch.device("cuda"))
    assert _library.compiled_for(torch.device("cpu"))


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
