"""gram under torch.func, torch.compile, the dispatcher's own checks, and every instruction set."""

import importlib

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from pydistill.ops import gram, gram_diagonal
from pydistill.seeds import generator
from tests.ops.test_gram import KERNELS, TOLERANCE, assert_near, check_everything, inputs, of, plain_of

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),  # torch's own imports
]
NAMES = ("linear", "polynomial", "laplacian", "rbf", "ntk", "ntk with biases")
NUMBERS = (1, 3, 0.5, 0.5, [1.0, 2.0])


def loss(function):
    return lambda x, y: (function(x, y) ** 2 * torch.arange(1.0, y.shape[1] + 1, dtype=x.dtype)).sum()


def same(found, expected):
    found, expected = (t if isinstance(t, tuple) else (t,) for t in (found, expected))
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_func_grad_and_grad_of_grad(name):
    args = inputs((2, 3, 4, 3), grad=False)
    same(*(torch.func.grad(loss(f), (0, 1))(*args) for f in (of(name), plain_of(name))))

    def again(function):
        squares = lambda *a: sum((g**2).sum() for g in torch.func.grad(loss(function), (0, 1))(*a))  # noqa: E731
        return torch.func.grad(squares, (0, 1))(*args)

    same(again(of(name)), again(plain_of(name)))


@pytest.mark.parametrize("dims", [(0, 0), (1, 2), (0, None), (None, 3)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_vmap(name, dims):
    rng = generator(7, "vmap")
    x, y = (torch.randn(3, 2, n, 4, generator=rng, dtype=torch.float64) for n in (5, 6))
    x, y = (t[0] if dim is None else t.movedim(0, dim) for t, dim in zip((x, y), dims, strict=True))
    for make in (lambda f: f, lambda f: torch.func.grad(loss(f), (0, 1))):
        same(*(torch.vmap(make(f), dims)(x, y) for f in (of(name), plain_of(name))))


def test_vmap_of_second_derivatives_and_nested():
    rng = generator(8, "vmap")
    x, y = (torch.randn(3, 2, 2, n, 4, generator=rng, dtype=torch.float64) for n in (3, 2))

    def again(function):
        squares = lambda *a: sum((g**2).sum() for g in torch.func.grad(loss(function), (0, 1))(*a))  # noqa: E731
        return torch.vmap(torch.func.grad(squares, (0, 1)))(x[:, 0], y[:, 0])

    same(again(of("ntk")), again(plain_of("ntk")))
    same(*(torch.vmap(torch.vmap(f))(x, y) for f in (of("rbf"), plain_of("rbf"))))


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_opcheck(shape, dtype):
    x, y = inputs(shape, dtype)
    raw = torch.ops.pydistill
    torch.library.opcheck(raw.gram_squares.default, (x,))
    s = torch.bmm(x, y.mT).detach().requires_grad_()
    qx, qy = (raw.gram_squares(t.detach()).requires_grad_() for t in (x, y))
    given = (s, qx, qy, x.detach(), y.detach(), *NUMBERS)
    torch.library.opcheck(raw.gram.default, given)
    grad = torch.randn(s.shape, generator=generator(9), dtype=torch.float64).to(dtype).requires_grad_()
    torch.library.opcheck(raw.gram_backward.default, (grad, *given))
    directions = [torch.ones_like(t) for t in (s, qx, qy)]
    plain_given = [t.detach() if isinstance(t, torch.Tensor) else t for t in (grad, *given)]
    torch.library.opcheck(raw.gram_double_backward.default, (*directions, *plain_given))


@pytest.mark.parametrize("backend", ["recorded", "inductor"])
def test_compile_forward_and_backward(backend):
    seen = set()

    def record(graph, _):
        seen.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph)

    chosen = aot_autograd(fw_compiler=record, bw_compiler=record) if backend == "recorded" else backend
    compiled = torch.compile(loss(of("ntk")), backend=chosen, fullgraph=True)
    args, again = inputs((2, 3, 4, 4)), inputs((2, 3, 4, 4))
    found = torch.autograd.grad(compiled(*args), args)
    same(found, torch.autograd.grad(loss(plain_of("ntk"))(*again), again))
    if backend == "recorded":
        assert {"pydistill.gram.default", "pydistill.gram_backward.default"} <= seen
        repeat = torch.compile(loss(of("rbf")), backend=chosen, fullgraph=True)
        same(
            torch.autograd.grad(repeat(*args), args),
            torch.autograd.grad(loss(plain_of("rbf"))(*again), again),
        )


@pytest.mark.parametrize(
    ("name", "dynamic"), [("linear", None), ("polynomial", True), ("rbf", None), ("ntk", None)]
)
def test_compile_with_sizes_that_change(name, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(of(name), backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for shape in ((2, 3, 4, 7), (2, 3, 4, 9)):
        args = inputs(shape)
        found, expected = compiled(*args), of(name)(*args)
        same(found, expected)
        same(*(torch.autograd.grad(out.sum(), args) for out in (found, expected)))


def test_compiled_diagonal_with_sizes_that_change():
    compiled = torch.compile(gram_diagonal, backend="aot_eager", fullgraph=True)
    for features in (7, 9, 11):
        x = inputs((2, 3, 3, features), grad=False)[0]
        same(compiled(x, "polynomial"), gram_diagonal(x, "polynomial"))


def test_forward_mode_is_refused_by_name():
    args = tuple(inputs((2, 3, 4, 4), grad=False))
    with pytest.raises(
        NotImplementedError, match=r"gram\w* has no forward-mode derivative.*reference_only"
    ):
        torch.func.jvp(gram, args, args)


def test_third_derivative_is_refused_by_name():
    x, y = inputs((2, 3, 4, 4))
    first = torch.autograd.grad((gram(x, y) ** 2).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad((first**2).sum(), x, create_graph=True)[0]
    with pytest.raises(
        NotImplementedError, match=r"gram_double_backward has no derivative.*reference_only"
    ):
        torch.autograd.grad(second.sum(), x)


def test_fake_tensors_follow_the_reals():
    with torch._subclasses.FakeTensorMode():
        out = gram(torch.empty(4, 6, 7), torch.empty(4, 5, 7), "ntk")
    assert out.shape == (4, 6, 5)


RAW_MISUSE = [
    ("gram_squares", lambda x, y, s, q, r: (x[0],), "must be"),
    ("gram_squares", lambda x, y, s, q, r: (x.half(),), "float32 or float64"),
    ("gram", lambda x, y, s, q, r: (s, q[:, :2], r, x, y, *NUMBERS), "qx"),
    ("gram", lambda x, y, s, q, r: (s, q, r.float(), x, y, *NUMBERS), "qy"),
    ("gram", lambda x, y, s, q, r: (s, q, r, x[:1], y, *NUMBERS), "x has not the shape"),
    ("gram", lambda x, y, s, q, r: (s, q, r, x, y[..., :1], *NUMBERS), "y has not the shape"),
    ("gram", lambda x, y, s, q, r: (s[0], q, r, x, y, *NUMBERS), "s must be"),
    ("gram", lambda x, y, s, q, r: (s, q, r, x, y, 8, *NUMBERS[1:]), "no kernel has the number 8"),
    ("gram", lambda x, y, s, q, r: (s, q, r, x, y, 1, 0, *NUMBERS[2:]), "degree"),
    ("gram", lambda x, y, s, q, r: (s, q, r, x, y, *NUMBERS[:4], [1.0] * 65), "at most 64"),
    ("gram_backward", lambda x, y, s, q, r: (s[:, :2], s, q, r, x, y, *NUMBERS), "grad"),
    ("gram_double_backward", lambda x, y, s, q, r: (s, r, r, s, s, q, r, x, y, *NUMBERS), "hx"),
]


@pytest.mark.parametrize(("name", "make", "message"), RAW_MISUSE)
def test_raw_operators_never_read_outside(name, make, message):
    x, y = inputs((2, 3, 4, 5), grad=False)
    s, squares = x @ y.mT, [(t * t).sum(-1) for t in (x, y)]
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.pydistill, name)(*make(x, y, s, *squares))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_instruction_set(dtype):
    extension = importlib.import_module("pydistill._C")
    before = extension.build_info()["cpu_level"]
    try:
        for level in extension.cpu_levels():
            extension.use_cpu_level(level)
            for name in KERNELS:
                check_everything(name, inputs((1, 34, 21, 6), dtype), TOLERANCE[dtype])
    finally:
        extension.use_cpu_level(before)
