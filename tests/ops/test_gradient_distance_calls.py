"""gradient_distance under torch.func, torch.compile and the dispatcher, and what it refuses."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from pydistill.ops import gradient_distance
from pydistill.seeds import generator
from tests.ops.test_gradient_distance import EPS, inputs, kinds, plain
from tests.ops.test_norm_relu_pool import assert_near

# torch's own imports
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def loss(function):
    return lambda x, y: (function(x, y) ** 2 * torch.arange(1.0, 4.0, dtype=x.dtype)).sum()


def same(found, expected):
    found, expected = (t if isinstance(t, tuple) else (t,) for t in (found, expected))
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-10)


SPLIT = (0, 3, 4, 9)


@kinds
def test_func_grad_grad_of_grad_and_vmap(kind):
    ours = lambda x, y: gradient_distance(x, y, SPLIT, kind, EPS)  # noqa: E731
    truth = lambda x, y: plain(x, y, SPLIT, kind)  # noqa: E731
    args = [t.detach() for t in inputs(2, SPLIT)]
    same(torch.func.grad(loss(ours), (0, 1))(*args), torch.func.grad(loss(truth), (0, 1))(*args))

    def again(function):
        squares = lambda *a: sum((g**2).sum() for g in torch.func.grad(loss(function), (0, 1))(*a))  # noqa: E731
        return torch.func.grad(squares, (0, 1))(*args)

    same(again(ours), again(truth))
    x = torch.randn(9, 2, 5, generator=generator(2), dtype=torch.float64)
    for make in (lambda f: f, lambda f: torch.func.grad(loss(f), (0, 1))):
        mapped = [torch.vmap(make(f), (2, None))(x.movedim(0, 1), args[1]) for f in (ours, truth)]
        same(*mapped)


@pytest.mark.compiled
def test_opcheck():
    (x, y), marks = inputs(2, SPLIT), torch.tensor(SPLIT)
    raw = torch.ops.pydistill
    for kind in range(3):
        torch.library.opcheck(raw.gradient_distance.default, (x, y, marks, kind, EPS))
        grad = torch.ones(2, 3, dtype=x.dtype, requires_grad=True)
        torch.library.opcheck(
            raw.gradient_distance_backward.default, (grad, x, y, marks, kind, EPS, True, False)
        )
        flat = [t.detach() for t in (x, y, grad, x, y)]
        torch.library.opcheck(
            raw.gradient_distance_double_backward.default, (*flat, marks, kind, EPS, True, True)
        )


@pytest.mark.compiled
def test_compile_forward_and_backward():
    seen = set()

    def record(graph, _):
        seen.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph)

    recorded = aot_autograd(fw_compiler=record, bw_compiler=record)
    compiled = torch.compile(
        loss(lambda x, y: gradient_distance(x, y, SPLIT)), backend=recorded, fullgraph=True
    )
    x, y = inputs(2, SPLIT, grad=(True, False))
    (found,) = torch.autograd.grad(compiled(x, y), x)
    (expected,) = torch.autograd.grad(loss(lambda x, y: plain(x, y, SPLIT, "cosine", 1e-6))(x, y), x)
    same(found, expected)
    assert {"pydistill.gradient_distance.default", "pydistill.gradient_distance_backward.default"} <= seen


@pytest.mark.compiled
def test_third_and_forward_derivatives_are_refused_by_name():
    x, y = inputs(2, SPLIT)
    (first,) = torch.autograd.grad(gradient_distance(x, y, SPLIT).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
    message = r"gradient_distance_double_backward has no derivative.*reference_only"
    with pytest.raises(NotImplementedError, match=message):
        torch.autograd.grad(second.sum(), x)
    tangents = (x.detach(), y.detach())
    with pytest.raises(NotImplementedError, match=r"gradient_distance has no forward-mode derivative"):
        torch.func.jvp(lambda x, y: gradient_distance(x, y, SPLIT), tangents, tangents)


X = torch.zeros(2, 6)
REFUSED = [
    (lambda: gradient_distance([[0.0]], X, [0, 6]), TypeError, "x must be a tensor, found list"),
    (lambda: gradient_distance(X, X.to_sparse(), [0, 6]), TypeError, "y must be dense"),
    (lambda: gradient_distance(X.half(), X, [0, 6]), TypeError, "float32 or float64, found torch.float16"),
    (lambda: gradient_distance(X, X.double(), [0, 6]), TypeError, "x's dtype torch.float32, found"),
    (lambda: gradient_distance(X[0], X, [0, 6]), ValueError, r"\(comparisons, parameters\).*\(6,\)"),
    (lambda: gradient_distance(X, X[:1], [0, 6]), ValueError, r"x's shape \(2, 6\), found \(1, 6\)"),
    (lambda: gradient_distance(X, X.to("meta"), [0, 6]), ValueError, "x's device cpu, found meta"),
    (lambda: gradient_distance(X, X, [0, 6], "l3"), ValueError, "cosine, l2, l1; found 'l3'"),
    (lambda: gradient_distance(X, X, [0, 6], eps=-1.0), ValueError, "at least 0, found -1.0"),
    (lambda: gradient_distance(X, X, [0, 5]), ValueError, r"rise from 0 to 6.*found \[0, 5\]"),
    (lambda: gradient_distance(X, X, [1, 6]), ValueError, r"found \[1, 6\]"),
    (lambda: gradient_distance(X, X, [0, 4, 4, 6]), ValueError, r"found \[0, 4, 4, 6\]"),
    (lambda: gradient_distance(X, X, [6]), ValueError, r"found \[6\]"),
    (lambda: gradient_distance(X, X, torch.tensor([0, 7])), ValueError, r"found \[0, 7\]"),
    (lambda: gradient_distance(X, X, torch.tensor([0.0, 6.0])), ValueError, "int64.*found torch.float32"),
    (
        lambda: gradient_distance(X, X, torch.tensor([0, 6], device="meta")),
        ValueError,
        "x's device cpu, found meta",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[case[2] for case in REFUSED])
def test_refusals_tell_expected_and_found(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert str(caught.value).startswith("gradient_distance: ")


M, G = torch.tensor([0, 2, 6]), torch.ones(2, 2)
RAW_MISUSE = [
    ("gradient_distance", (X[0], X[0], M, 0, EPS), "x must be"),
    ("gradient_distance", (X.half(), X.half(), M, 0, EPS), "float32 or float64"),
    ("gradient_distance", (X, X[:1], M, 0, EPS), "y has not the shape"),
    ("gradient_distance", (X, X, M.int(), 0, EPS), "offsets must be"),
    ("gradient_distance", (X, X, M, 3, EPS), "kind must be"),
    ("gradient_distance_backward", (G[:1], X, X, M, 0, EPS, True, True), "grad has not the shape"),
    ("gradient_distance_double_backward", (X[:1], X, G, X, X, M, 0, EPS, True, True), "ggx has not"),
]


@pytest.mark.compiled
@pytest.mark.parametrize(("name", "args", "message"), RAW_MISUSE)
def test_raw_operators_never_read_outside(name, args, message):
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.pydistill, name)(*args)
