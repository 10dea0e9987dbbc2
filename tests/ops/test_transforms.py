"""norm_relu_pool under torch.func, torch.compile and the dispatcher's own checks."""

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from pydistill.ops import norm_relu_pool
from pydistill.seeds import generator
from tests.ops.test_norm_relu_pool import FORMATS, assert_near, inputs, plain

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),  # torch's own imports
]


def loss(function):
    return lambda x, w, b: (function(x, w, b) ** 2 * torch.arange(1.0, 3.0, dtype=x.dtype)).sum()


def batched(fmt, size=3, in_channels=False):
    rng = generator(7, "vmap")
    x = torch.randn(2 * size, 5, 4, 4, generator=rng, dtype=torch.float64)
    if in_channels:  # where a vmapped convolution leaves the mapped dimension
        x = torch.randn(2, 5 * size, 4, 4, generator=rng, dtype=torch.float64)
        x = x.to(memory_format=FORMATS[fmt]).unflatten(1, (size, 5))
    else:
        x = x.to(memory_format=FORMATS[fmt]).unflatten(0, (size, 2))
    weight = torch.rand(size, 5, generator=rng, dtype=torch.float64) + 0.5
    return x, weight, torch.randn(size, 5, generator=rng, dtype=torch.float64)


def same(found, expected):
    found, expected = (t if isinstance(t, tuple) else (t,) for t in (found, expected))
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-10)


def test_func_grad_and_grad_of_grad():
    args = inputs((2, 3, 4, 4), grad=False)
    both = (0, 1, 2)
    same(torch.func.grad(loss(norm_relu_pool), both)(*args), torch.func.grad(loss(plain), both)(*args))

    def again(function):
        squares = lambda *a: sum((g**2).sum() for g in torch.func.grad(loss(function), both)(*a))  # noqa: E731
        return torch.func.grad(squares, both)(*args)

    same(again(norm_relu_pool), again(plain))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("in_channels", [False, True])
def test_vmap(fmt, in_channels):
    x, weight, bias = batched(fmt, in_channels=in_channels)
    dims = (1 if in_channels else 0, 0, 0)
    both = (0, 1, 2)
    for make in (lambda f: f, lambda f: torch.func.grad(loss(f), both)):
        same(
            torch.vmap(make(norm_relu_pool), dims)(x, weight, bias),
            torch.vmap(make(plain), dims)(x, weight, bias),
        )
    shared = (dims[0], None, None)  # one network, many batches: gradients of weights a batch
    for make in (lambda f: f, lambda f: torch.func.grad(loss(f), both)):
        args = (x, weight[0], bias[0])
        same(torch.vmap(make(norm_relu_pool), shared)(*args), torch.vmap(make(plain), shared)(*args))
    one = (None, 0, 0)  # many networks, one batch
    args = (x.movedim(dims[0], 0)[0], weight, bias)
    same(torch.vmap(norm_relu_pool, one)(*args), torch.vmap(plain, one)(*args))


@pytest.mark.parametrize("in_channels", [False, True])
def test_vmap_of_second_derivatives(in_channels):
    x, weight, bias = batched("nhwc", in_channels=in_channels)
    dims = (1 if in_channels else 0, 0, 0)

    def again(function):
        squares = lambda *a: sum((g**2).sum() for g in torch.func.grad(loss(function), (0, 1))(*a))  # noqa: E731
        return torch.vmap(torch.func.grad(squares, (0, 1, 2)), dims)(x, weight, bias)

    same(again(norm_relu_pool), again(plain))


def test_nested_vmap():
    x, weight, bias = batched("nchw")
    twice = lambda f: torch.vmap(torch.vmap(f, (None, 0, 0)), (0, None, None))(x, weight, bias)  # noqa: E731
    same(twice(norm_relu_pool), twice(plain))


def test_vmap_folds_without_a_copy():
    """Networks trained at once in channels_last stay there: the next convolution gets what it wants."""
    images = torch.randn(2, 3, 8, 8, generator=generator(8)).to(memory_format=torch.channels_last)
    kernels = torch.randn(4, 5, 3, 3, 3, generator=generator(9))
    weight, bias = torch.ones(4, 5), torch.zeros(4, 5)
    block = lambda k, w, b: norm_relu_pool(F.conv2d(images, k, padding=1), w, b)  # noqa: E731
    out = torch.vmap(block, out_dims=1)(kernels, weight, bias).flatten(1, 2)
    expected = torch.stack([plain(F.conv2d(images, k, padding=1), weight[0], bias[0]) for k in kernels], 1)
    assert_near(out, expected.flatten(1, 2), 1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (4, 9, 6, 6), (1, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_opcheck(fmt, shape, dtype):
    x, weight, bias = inputs(shape, dtype, fmt)
    sums = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = (t.detach().to(sums).expand(1, -1).clone().requires_grad_() for t in (weight, bias))
    raw = torch.ops.pydistill
    torch.library.opcheck(raw.norm_relu_pool.default, (x, weight, bias, 1e-5))
    out, mean, rstd = (t.detach() for t in raw.norm_relu_pool(x, weight, bias, 1e-5))
    first = (out.clone().requires_grad_(), x, weight, bias, mean, rstd)
    torch.library.opcheck(raw.norm_relu_pool_backward.default, first)
    directions = (x.detach().clone(), weight.detach().clone(), bias.detach().clone())
    args = (*directions, *(t.detach() for t in first))
    torch.library.opcheck(raw.norm_relu_pool_double_backward.default, args)


@pytest.mark.parametrize("backend", ["recorded", "inductor"])
def test_compile_forward_and_backward(backend):
    seen = set()

    def record(graph, _):
        seen.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph)

    chosen = aot_autograd(fw_compiler=record, bw_compiler=record) if backend == "recorded" else backend
    compiled = torch.compile(loss(norm_relu_pool), backend=chosen, fullgraph=True)
    args, again = inputs((2, 3, 4, 4), fmt="nhwc"), inputs((2, 3, 4, 4), fmt="nhwc")
    found = torch.autograd.grad(compiled(*args), args)
    same(found, torch.autograd.grad(loss(plain)(*again), again))
    if backend == "recorded":
        assert {"pydistill.norm_relu_pool.default", "pydistill.norm_relu_pool_backward.default"} <= seen


def test_forward_mode_is_refused_by_name():
    args = inputs((2, 3, 4, 4), grad=False)
    with pytest.raises(
        NotImplementedError, match=r"norm_relu_pool has no forward-mode derivative.*reference_only"
    ):
        torch.func.jvp(norm_relu_pool, tuple(args), tuple(args))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(args[0], args[0])
        with pytest.raises(NotImplementedError, match="norm_relu_pool has no forward-mode derivative"):
            norm_relu_pool(dual, *args[1:])
    with pytest.raises(NotImplementedError, match="norm_relu_pool has no forward-mode derivative"):
        torch.func.jacfwd(torch.func.grad(lambda x: (norm_relu_pool(x, *args[1:]) ** 2).sum()))(args[0])


def test_third_derivative_is_refused_by_name():
    x, weight, bias = inputs((2, 3, 4, 4))
    first = torch.autograd.grad((norm_relu_pool(x, weight, bias) ** 2).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad((first**2).sum(), x, create_graph=True)[0]
    with pytest.raises(
        NotImplementedError, match=r"norm_relu_pool_double_backward has no derivative.*reference_only"
    ):
        torch.autograd.grad(second.sum(), x)


def test_fake_tensors_follow_the_reals():
    with torch._subclasses.FakeTensorMode():
        x = torch.empty(4, 6, 7, 8).to(memory_format=torch.channels_last)
        out = norm_relu_pool(x, torch.empty(6), torch.empty(6))
    assert out.shape == (4, 6, 3, 4)
    assert out.is_contiguous(memory_format=torch.channels_last)


RAW_MISUSE = [
    ("norm_relu_pool", lambda x, s: (x, s[:, :2], s, 1e-5), "weight"),
    ("norm_relu_pool", lambda x, s: (x, s.float(), s, 1e-5), "weight"),
    ("norm_relu_pool", lambda x, s: (x[0], s, s, 1e-5), "R, C, H, W"),
    ("norm_relu_pool", lambda x, s: (x[:, :, :1], s, s, 1e-5), "at least 2"),
    ("norm_relu_pool", lambda x, s: (x.half(), s, s, 1e-5), "float32, float64 or bfloat16"),
    ("norm_relu_pool_backward", lambda x, s: (x, x, s, s, s, s), "grad"),
    ("norm_relu_pool_backward", lambda x, s: (x[:, :, :2, :2], x, s, s, s[:, :2], s), "mean"),
    (
        "norm_relu_pool_double_backward",
        lambda x, s: (x[:, :, :2], s, s, x[:, :, :2, :2], x, s, s, s, s),
        "ggx",
    ),
]


@pytest.mark.parametrize(("name", "make", "message"), RAW_MISUSE)
def test_raw_operators_never_read_outside(name, make, message):
    x, weight, _ = inputs((1, 3, 4, 4), grad=False)
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.pydistill, name)(*make(x, weight.expand(1, -1)))
