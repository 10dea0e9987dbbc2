"""conv3x3: the kernels against torch's convolution in float64, and where they are used."""

import importlib

import pytest
import torch
from torch import nn

from pydistill import ops
from pydistill.ops import conv3x3
from pydistill.ops.conv3x3 import _backward, _forward, fits
from pydistill.seeds import generator

# (R, I, O, H, W): maps of whole and of broken tiles, single pixels, few channels and many
SHAPES = [
    (2, 16, 48, 16, 16),
    (3, 48, 16, 7, 7),
    (1, 128, 32, 5, 9),
    (2, 16, 16, 1, 1),
    (1, 272, 16, 4, 3),
    (5, 48, 128, 8, 8),
    (4, 3, 32, 16, 16),
    (2, 1, 48, 7, 5),
    (1, 15, 16, 1, 1),
    (2, 4, 128, 13, 30),
]
FITTING = (8, 16, 48, 9, 10)
TOLERANCE = 3e-6


def drawn(*shape, seed="conv3x3"):
    return torch.randn(shape, generator=generator(0, seed, *shape), dtype=torch.float64)


def inputs(shape, dtype=torch.float32):
    """Maps, filters and cotangents of both results' sizes; float32 numbers in any dtype."""
    images, into, out, height, width = shape
    made = (
        drawn(images, into, height, width),
        drawn(out, into, 3, 3) / (9 * into) ** 0.5,
        drawn(out),
        drawn(images, out, height, width, seed="grad"),
    )
    return [tensor.float().to(dtype) for tensor in made]


def assert_close(found, true, tolerance=TOLERANCE):
    assert found.shape == true.shape
    assert (found.double() - true).norm() <= tolerance * true.norm()


def plain(x, weight, bias=None):
    return torch.conv2d(x, weight, bias, padding=1)


def plain_gradients(x, weight, grad):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    return torch.autograd.grad(plain(x, weight), (x, weight), grad)


@pytest.mark.cpu_only
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kernel_against_float64(shape, form):
    x, weight, bias, grad = (t.to(memory_format=form) if t.ndim == 4 else t for t in inputs(shape))
    wide = inputs(shape, torch.float64)
    assert_close(_forward(x, weight, bias, None, None), plain(*wide[:3]))
    others = x.flip(0, 2), weight.flip(0, 3)
    both = plain(*wide[:2]) + plain(*(t.double() for t in others))
    assert_close(_forward(x, weight, None, *others), both)
    for found, true in zip(
        _backward(grad, x, weight, True, True), plain_gradients(*wide[:2], wide[3]), strict=True
    ):
        assert_close(found, true)


@pytest.mark.cpu_only
def test_every_instruction_set():
    extension = importlib.import_module("pydistill._C")
    before = extension.build_info()["cpu_level"]
    try:
        for level in extension.cpu_levels():
            extension.use_cpu_level(level)
            for shape in SHAPES[::2]:
                test_every_kernel_against_float64(shape, torch.channels_last)
    finally:
        extension.use_cpu_level(before)


@pytest.mark.cpu_only
@pytest.mark.parametrize("shape", [(7, 48, 80, 12, 10), (20, 3, 48, 9, 14)])
def test_results_do_not_depend_on_the_number_of_threads(shape):
    x, weight, bias, grad = inputs(shape)

    def results(threads):
        torch.set_num_threads(threads)
        return [_forward(x, weight, bias, x, weight), *_backward(grad, x, weight, True, True)]

    for threads in (2, 3, 7, 16):
        for one, other in zip(results(1), results(threads), strict=True):
            assert torch.equal(one, other)


@pytest.mark.cpu_only
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_the_adjoint(shape):
    x, weight, _, grad = inputs(shape)
    value = (_forward(x, weight, None, None, None).double() * grad).sum()
    size = plain(*inputs(shape, torch.float64)[:2]).norm() * grad.norm()
    to_x, to_weight = _backward(grad, x, weight, True, True)
    assert abs(value - (to_x.double() * x).sum()) <= TOLERANCE * size
    assert abs(value - (to_weight.double() * weight).sum()) <= TOLERANCE * size


@pytest.mark.cpu_only
def test_unwanted_gradients_are_empty_and_layouts_are_kept():
    x, weight, _, grad = inputs(FITTING)
    to_x, to_weight = _backward(grad, x, weight, False, True)
    assert to_x.shape == (0,)
    assert to_weight.is_contiguous()
    to_x, to_weight = _backward(grad, x, weight.to(memory_format=torch.channels_last), True, True)
    assert to_x.is_contiguous(memory_format=torch.channels_last)
    assert to_weight.is_contiguous(memory_format=torch.channels_last)
    assert conv3x3(x, weight).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.cpu_only
def test_no_images():
    x, weight, bias, grad = inputs((0, 16, 32, 8, 8))
    assert _forward(x, weight, bias, None, None).shape == (0, 32, 8, 8)
    to_x, to_weight = _backward(grad, x, weight, True, True)
    assert to_x.shape == x.shape
    assert torch.equal(to_weight, torch.zeros_like(weight))


@pytest.mark.parametrize("shape", [FITTING, (20, 3, 16, 12, 9), (2, 5, 7, 6, 6)])
def test_derivatives_to_second_order(shape):
    def derivatives(function, dtype):
        x, weight, bias, grad = (t.requires_grad_() for t in inputs(shape, dtype))
        y = function(x, weight, bias)
        first = torch.autograd.grad(y, (x, weight, bias), grad, create_graph=True)
        turns = [drawn(*t.shape, seed="turn").float().to(dtype) for t in first]
        return [y, *first, *torch.autograd.grad(first, (grad, x, weight), turns)]

    with torch.no_grad():
        assert fits(*inputs(shape)[:2]) == (shape[2] != 7 and has_kernels())
    for found, true in zip(
        derivatives(conv3x3, torch.float32), derivatives(plain, torch.float64), strict=True
    ):
        assert_close(found, true)


def has_kernels():
    return ops.status().loaded and ops.status().build["cpu_level"] != "emulated"


@pytest.mark.parametrize("second", [(True, False), (False, True)])
def test_second_derivatives_through_one_of_the_gradients(second):
    def derivatives(function, dtype):
        x, weight, _, grad = (t.requires_grad_() for t in inputs(FITTING, dtype))
        of = [t for t, want in zip((x, weight), second, strict=True) if want]
        (first,) = torch.autograd.grad(function(x, weight), of, grad, create_graph=True)
        return torch.autograd.grad(first.square().sum(), (grad, weight if second[0] else x))

    for found, true in zip(
        derivatives(conv3x3, torch.float32), derivatives(plain, torch.float64), strict=True
    ):
        assert_close(found, true, 1e-5)


@pytest.mark.cpu_only
@pytest.mark.parametrize("leaf", [True, False])
def test_gradients_that_nobody_asked_for_are_not_computed(leaf, monkeypatch):
    module = importlib.import_module("pydistill.ops.conv3x3")
    made, gradients = [], module._gradients

    def recorded(*args):
        made.append(args[3:])
        return gradients(*args)

    monkeypatch.setattr(module, "_gradients", recorded)
    images, weight, *_ = (t.requires_grad_() for t in inputs(FITTING))
    x = images if leaf else 2 * images
    y = conv3x3(x, weight).square().sum()
    torch.autograd.grad(y, weight, retain_graph=True)
    torch.autograd.grad(y, (images, weight), retain_graph=True)
    y.backward()
    assert made[::2] == [(False, True), (True, True), (True, True)]


def test_third_derivatives():
    def third(function, dtype):
        x, weight, *_ = (t.requires_grad_() for t in inputs(FITTING, dtype))
        (first,) = torch.autograd.grad(function(x, weight).pow(3).sum(), x, create_graph=True)
        (again,) = torch.autograd.grad(first.square().sum(), weight, create_graph=True)
        return torch.autograd.grad(again.sum(), x)[0]

    assert_close(third(conv3x3, torch.float32), third(plain, torch.float64), 2e-5)


def test_torch_func():
    x, weight, bias, _ = inputs(FITTING)
    wide = inputs(FITTING, torch.float64)

    def value(function):
        return lambda x, weight, bias: function(x, weight, bias).square().sum()

    found = torch.func.grad(value(conv3x3), (0, 1, 2))(x, weight, bias)
    for one, true in zip(found, torch.func.grad(value(plain), (0, 1, 2))(*wide[:3]), strict=True):
        assert_close(one, true, 1e-5)
    several = torch.stack([weight, weight.flip(0)])
    mapped = torch.func.vmap(conv3x3, (None, 0, None))(x, several, bias)
    each = torch.stack([conv3x3(x, one, bias) for one in several])
    torch.testing.assert_close(mapped, each, rtol=1e-4, atol=1e-4)


@pytest.mark.cpu_only
def test_opcheck():
    x, weight, bias, grad = inputs((16, 16, 16, 4, 4))
    checks = ("test_schema", "test_faketensor")
    for other in ((None, None), (x.clone(), weight.clone())):
        torch.library.opcheck(_forward.overload, (x, weight, bias, *other), test_utils=checks)
    for wanted in ((True, True), (False, True), (True, False)):
        torch.library.opcheck(_backward.overload, (grad, x, weight, *wanted), test_utils=checks)


@pytest.mark.cpu_only
def test_compiles():
    x, weight, bias, _ = inputs(FITTING)
    compiled = torch.compile(conv3x3, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, weight, bias), conv3x3(x, weight, bias))


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        ((8, 16, 8, 8), (20, 16, 3, 3)),  # outputs no multiple of 16
        ((8, 24, 8, 8), (16, 24, 3, 3)),
        ((8, 16, 2, 2), (16, 16, 3, 3)),  # tiles would be nearly empty
        ((1, 16, 8, 8), (16, 16, 3, 3)),  # too few of them
        ((8, 16, 8, 8), (16, 16, 5, 5)),
    ],
)
def test_where_the_kernels_are_not_used(x, weight):
    assert not fits(torch.zeros(x), torch.zeros(weight))


def test_other_dtypes_and_the_reference_are_torchs_own():
    x, weight, bias, _ = inputs(FITTING, torch.float64)
    assert torch.equal(conv3x3(x, weight, bias), nn.functional.conv2d(x, weight, bias, padding=1))
    x, weight = x.float(), weight.float()
    with ops.reference_only():
        assert not fits(x, weight)
        assert torch.equal(conv3x3(x, weight), nn.functional.conv2d(x, weight, padding=1))


X, W = torch.zeros(2, 16, 8, 8), torch.zeros(32, 16, 3, 3)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (([1.0], W), TypeError, "x must be a tensor, found list"),
        (
            (X, W.to_sparse()),
            TypeError,
            "weight must be dense, found layout torch.sparse_coo; use to_dense",
        ),
        ((X.int(), W.int()), TypeError, "x must be of a floating-point dtype, found torch.int32"),
        ((X, W.double()), TypeError, "weight must have x's dtype torch.float32, found torch.float64"),
        ((X, W.to("meta")), ValueError, "weight must be on x's device cpu, found meta"),
        ((X[0], W), ValueError, r"x must be \(R, I, H, W\) with I at least 1, found shape \(16, 8, 8\)"),
        ((X[:, :, :0], W), ValueError, "height and width must be at least 1"),
        ((X, W[:, :8]), ValueError, r"weight must be \(O, 16, 3, 3\) as x has 16 channels, found shape"),
        ((X, W, torch.zeros(16)), ValueError, r"bias must be \(32,\), one for each filter, found shape"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(args, error, message):
    with pytest.raises(error, match=message):
        conv3x3(*args)


@pytest.mark.cpu_only
def test_raw_operators_stay_inside_memory():
    with pytest.raises(RuntimeError, match="float32"):
        _forward(X.double(), W, None, None, None)
    with pytest.raises(RuntimeError, match="multiple of 16"):
        _forward(X, W[:20], None, None, None)
    with pytest.raises(RuntimeError, match="maps has not the shape"):
        _forward(X, W, None, X[:1], W)
    with pytest.raises(RuntimeError, match="maps has not the shape"):
        _backward(X, X, W, True, True)
