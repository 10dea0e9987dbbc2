"""mmd under torch.func, torch.compile and the dispatcher's own checks, and what it refuses."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from pydistill.ops import mmd
from pydistill.seeds import generator
from tests.ops.test_mmd import inputs, plain
from tests.ops.test_norm_relu_pool import assert_near

# torch's own imports
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

SIGMAS = [0.9, 2.0]


def ours(x, y):
    return mmd(x, y, SIGMAS)


def truth(x, y):
    return plain(x, y, SIGMAS)


def loss(function):
    return lambda x, y: (function(x, y) ** 2 * torch.arange(1.0, 3.0, dtype=x.dtype)).sum()


def same(found, expected):
    found, expected = (t if isinstance(t, tuple) else (t,) for t in (found, expected))
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-10)


def drawn(*shape):
    return torch.randn(shape, generator=generator(7, "calls", *shape), dtype=torch.float64)


def test_func_grad_and_grad_of_grad():
    args, _ = inputs((2, 5, 4, 3), grad=(False, False))
    for which in (0, 1, (0, 1)):
        same(torch.func.grad(loss(ours), which)(*args), torch.func.grad(loss(truth), which)(*args))

    def again(function):
        squares = lambda *a: sum((g**2).sum() for g in torch.func.grad(loss(function), (0, 1))(*a))  # noqa: E731
        return torch.func.grad(squares, (0, 1))(*args)

    same(again(ours), again(truth))


def test_mixed_second_derivative():
    x, y = drawn(2, 5, 3), drawn(2, 4, 3)

    def mixed(function):
        inner = lambda x, y: (torch.func.grad(loss(function), 1)(x, y) ** 3).sum()  # noqa: E731
        return torch.func.grad(inner, 0)(x, y)

    same(mixed(ours), mixed(truth))


@pytest.mark.parametrize("dims", [(0, 0), (1, 0), (0, None), (None, 2)])
def test_vmap(dims):
    x = drawn(2, 5, 3) if dims[0] is None else drawn(6, 2, 5, 3).movedim(0, dims[0])
    y = drawn(2, 4, 3) if dims[1] is None else drawn(6, 2, 4, 3).movedim(0, dims[1])
    for make in (lambda f: f, lambda f: torch.func.grad(loss(f), (0, 1))):
        same(torch.vmap(make(ours), dims)(x, y), torch.vmap(make(truth), dims)(x, y))


def test_gradient_through_vmap():
    """The mapped rows do not tell that they require a gradient: it is then made in the backward pass."""
    x, y = drawn(6, 2, 5, 3), drawn(6, 2, 4, 3)

    def mapped(function):
        total = lambda x, y: (torch.vmap(function)(x, y) ** 2).sum()  # noqa: E731
        squares = lambda x, y: sum((g**2).sum() for g in torch.func.grad(total, (0, 1))(x, y))  # noqa: E731
        return torch.func.grad(total, 1)(x, y), *torch.func.grad(squares, (0, 1))(x, y)

    same(mapped(ours), mapped(truth))


def test_vmap_over_bandwidths():
    x, y, sigmas = drawn(2, 5, 3), drawn(2, 4, 3), torch.tensor([[0.5, 1.0], [2.0, 0.7], [1.0, 0.0]])
    found = torch.vmap(lambda s: mmd(x, y, s))(sigmas)
    for value, sigma in zip(found[:2], sigmas[:2].tolist(), strict=True):
        same(value, plain(x, y, sigma))
    assert found[2].isnan().all()  # values cannot be looked at here, and this one is no bandwidth


@pytest.mark.compiled
@pytest.mark.parametrize("want", [(True, True), (False, True)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_opcheck(dtype, want):
    (x, y), _ = inputs((2, 6, 5, 4), dtype, want)
    weights = torch.tensor([[0.5, 0.1]] * 2, dtype=dtype)
    raw = torch.ops.pydistill
    torch.library.opcheck(raw.mmd.default, (x, y, weights, False, *want))
    value, unit_x, unit_y = (t.detach() for t in raw.mmd(x, y, weights, False, *want))
    grad = torch.ones_like(value).requires_grad_()
    backward = (grad, x, y, weights, unit_x, unit_y, False, *want)
    torch.library.opcheck(raw.mmd_backward.default, backward)
    directions = (torch.ones_like(unit_x), torch.ones_like(unit_y))
    args = [t.detach() if isinstance(t, torch.Tensor) else t for t in (grad, x, y, weights)]
    torch.library.opcheck(raw.mmd_double_backward.default, (*directions, *args, False, *want))


@pytest.mark.compiled
def test_compile_forward_and_backward():
    seen = set()

    def record(graph, _):
        seen.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph)

    recorded = aot_autograd(fw_compiler=record, bw_compiler=record)
    compiled = torch.compile(loss(ours), backend=recorded, fullgraph=True)
    (x, y), _ = inputs((2, 6, 5, 4), grad=(False, True))
    found = torch.autograd.grad(compiled(x, y), y)
    same(found, torch.autograd.grad(loss(truth)(x, y), y))
    assert {"pydistill.mmd.default", "pydistill.mmd_backward.default"} <= seen


@pytest.mark.compiled
def test_compile_with_bandwidths_in_a_tensor():
    x, y = drawn(2, 5, 3), drawn(2, 4, 3)
    compiled = torch.compile(mmd, backend="eager", fullgraph=True)
    same(compiled(x, y, torch.tensor(SIGMAS)), plain(x, y, torch.tensor(SIGMAS).tolist()))


@pytest.mark.compiled
def test_forward_mode_is_refused_by_name():
    args = (drawn(2, 5, 3), drawn(2, 4, 3))
    with pytest.raises(NotImplementedError, match=r"mmd has no forward-mode derivative.*reference_only"):
        torch.func.jvp(ours, args, args)


@pytest.mark.compiled
def test_third_derivative_is_refused_by_name():
    x, y = drawn(2, 5, 3), drawn(2, 4, 3).requires_grad_()
    (first,) = torch.autograd.grad(ours(x, y).sum(), y, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), y, create_graph=True)
    message = r"mmd_double_backward has no derivative.*reference_only"
    with pytest.raises(NotImplementedError, match=message):
        torch.autograd.grad(second.sum(), y)


def test_fake_tensors_follow_the_reals():
    with torch._subclasses.FakeTensorMode():
        y = torch.empty(4, 6, 3, requires_grad=True)
        value = mmd(torch.empty(4, 7, 3), y, torch.empty(2))
        (grad,) = torch.autograd.grad(value.sum(), y)
    assert value.shape == (4,)
    assert grad.shape == (4, 6, 3)


X, Y = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
REFUSED = [
    (lambda: mmd([[0.0]], Y, [1.0]), TypeError, "x must be a tensor, found list"),
    (lambda: mmd(X, Y.to_sparse(), [1.0]), TypeError, "y must be dense, found layout torch.sparse_coo"),
    (
        lambda: mmd(X.half(), Y, [1.0]),
        TypeError,
        "x must be float32, float64 or bfloat16, found torch.float16",
    ),
    (lambda: mmd(X, Y.double(), [1.0]), TypeError, "x's dtype torch.float32, found torch.float64"),
    (lambda: mmd(X[0], Y, [1.0]), ValueError, r"x must be \(sets, rows, features\), found shape \(3, 4\)"),
    (lambda: mmd(X, Y[:, :0], [1.0]), ValueError, r"y must have at least one row.*found shape \(2, 0, 4\)"),
    (lambda: mmd(X[:, :0], Y, [1.0]), ValueError, r"x must have at least one row.*found shape \(2, 0, 4\)"),
    (
        lambda: mmd(X, Y[:, :1], [1.0], True),
        ValueError,
        r"at least two rows a set, found.*\(2, 1, 4\) of y",
    ),
    (lambda: mmd(X, Y.to("meta"), [1.0]), ValueError, "x's device cpu, found meta"),
    (lambda: mmd(X, Y[:1], [1.0]), ValueError, r"x being \(2, 3, 4\), found \(1, 5, 4\)"),
    (lambda: mmd(X, Y[:, :, 1:], [1.0]), ValueError, r"x being \(2, 3, 4\), found \(2, 5, 3\)"),
    (lambda: mmd(X, Y, 1.0), TypeError, r"found float; one bandwidth alone is \[sigma\]"),
    (lambda: mmd(X, Y, "12"), TypeError, "found str"),
    (lambda: mmd(X, Y, []), ValueError, "at least one number, found none"),
    (lambda: mmd(X, Y, [1.0, 0.0]), ValueError, r"finite and greater than 0.*found 0\.0"),
    (lambda: mmd(X, Y, [-2.0]), ValueError, r"found -2\.0"),
    (lambda: mmd(X, Y, [float("inf")]), ValueError, "found inf"),
    (lambda: mmd(X, Y, [float("nan")]), ValueError, "found nan"),
    (lambda: mmd(X, Y, [1e-12]), ValueError, "1e-09 for rows computed in torch.float32.*found 1e-12"),
    (lambda: mmd(X, Y, torch.tensor([1.0, -3.0])), ValueError, r"found -3\.0"),
    (lambda: mmd(X, Y, torch.tensor([1, 2])), TypeError, "floating-point, found torch.int64"),
    (lambda: mmd(X, Y, torch.ones(3, 2)), ValueError, r"\(B, S\) with B = 2.*found shape \(3, 2\)"),
    (lambda: mmd(X, Y, torch.ones(0)), ValueError, r"S at least 1, found shape \(0,\)"),
    (lambda: mmd(X, Y, torch.ones(1, device="meta")), ValueError, "x's device cpu, found meta"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_refusals_tell_expected_and_found(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert str(caught.value).startswith("mmd: ")


W, G = torch.ones(2, 1), torch.ones(2)
RAW_MISUSE = [
    ("mmd", (X[0], Y, W, False, True, True), "x must be"),
    ("mmd", (X.half(), Y.half(), W.half(), False, True, True), "float32 or float64"),
    ("mmd", (X, Y[:1], W, False, True, True), "y has not the shape"),
    ("mmd", (X, Y.double(), W, False, True, True), "y must have x's dtype"),
    ("mmd", (X, Y[:, :0], W, False, True, True), "M at least 1"),
    ("mmd", (X, Y, W[:1], False, True, True), "weights has not the shape"),
    ("mmd", (X, Y[:, :1], W, True, True, True), "two rows"),
    ("mmd_backward", (G[:1], X, Y, W, X, Y, False, True, True), "grad has not the shape"),
    ("mmd_backward", (G, X, Y, W, X, X, False, True, True), "unit_y has not the shape"),
    ("mmd_double_backward", (Y, Y, G, X, Y, W, False, True, True), "ggx has not the shape"),
]


@pytest.mark.compiled
@pytest.mark.parametrize(("name", "args", "message"), RAW_MISUSE)
def test_raw_operators_never_read_outside(name, args, message):
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.pydistill, name)(*args)
