"""siamese_augment under torch.func, torch.compile and the dispatcher's own checks."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd

from pydistill import ops
from pydistill.ops import siamese_augment
from tests.ops.test_norm_relu_pool import FORMATS, assert_near
from tests.ops.test_siamese_augment import ALL, batch, defined, draw

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),  # torch's own imports
]
SIZE = (4, 5)
RAW = torch.ops.pydistill


def loss(function, values, rows):
    return lambda x: (function(x, values, rows) ** 3 * torch.arange(1.0, 6.0, dtype=x.dtype)).sum()


def given(count=3):
    return draw(ALL, 3, SIZE), torch.arange(count).flip(0) % 3


def again(function):
    """The gradient of the squared gradient."""
    return torch.func.grad(lambda x: (torch.func.grad(function)(x) ** 2).sum())


def test_func_grad_and_grad_of_grad():
    x = batch((3, 3, *SIZE)).detach()
    ours, theirs = (loss(function, *given()) for function in (siamese_augment, defined))
    assert_near(torch.func.grad(ours)(x), torch.func.grad(theirs)(x), 1e-10)
    assert_near(again(ours)(x), again(theirs)(x), 1e-10)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dim", [0, 1, 2, 4])
def test_vmap_of_images(dim, fmt):
    """Image batches mapped wherever the dimension lies: the same as one after the other."""
    values, rows = given()
    x = torch.stack([batch((3, 3, *SIZE), fmt=fmt).detach() * scale for scale in (1, 2)], dim)
    augment = lambda x: siamese_augment(x, values, rows)  # noqa: E731
    for make in (lambda f: f, torch.func.grad, again):
        if make is not torch.func.grad and make is not again:
            mapped, one = torch.vmap(augment, dim)(x), augment
        else:
            one = make(loss(siamese_augment, values, rows))
            mapped = torch.vmap(one, dim)(x)
        for found, part in zip(mapped, x.unbind(dim), strict=True):
            assert_near(found, one(part.contiguous(memory_format=FORMATS[fmt])), 1e-12)


@pytest.mark.parametrize(
    "in_dims", [(0, 0, None), (None, 0, None), (1, 1, 0), (None, None, 0), (0, None, 1)]
)
def test_vmap_of_parameters(in_dims):
    """Many draws for one batch, or a draw each."""
    full = [
        torch.stack([batch((3, 3, *SIZE)).detach() * scale for scale in (1, 2)]),
        torch.stack([draw(ALL, 3, SIZE, seed) for seed in (0, 1)]),
        torch.tensor([[0, 1, 2], [2, 2, 0]]),
    ]
    parts = [
        t[:1].expand(2, *t.shape[1:]) if dim is None else t for t, dim in zip(full, in_dims, strict=True)
    ]
    args = [t[0] if dim is None else t.movedim(0, dim) for t, dim in zip(parts, in_dims, strict=True)]
    expected = torch.stack([siamese_augment(*each) for each in zip(*parts, strict=True)])
    assert torch.equal(torch.vmap(siamese_augment, in_dims)(*args), expected)
    slopes = torch.vmap(lambda *a: torch.func.grad(loss(siamese_augment, *a[1:]))(a[0]), in_dims)(*args)
    alone = [torch.func.grad(loss(siamese_augment, v, r))(x) for x, v, r in zip(*parts, strict=True)]
    assert_near(slopes, torch.stack(alone), 1e-12)


def test_nested_vmap():
    x = batch((8, 3, *SIZE)).detach().unflatten(0, (2, 4)).unflatten(1, (2, 2))
    values = draw(ALL, 2, SIZE)
    expected = torch.stack([torch.stack([siamese_augment(a, values) for a in b]) for b in x])
    nested = torch.vmap(torch.vmap(siamese_augment, (0, None)), (0, None))
    assert torch.equal(nested(x, values), expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "fmt"),
    [
        ((3, 3, 5, 4), torch.float32, "nchw"),
        ((3, 3, 5, 4), torch.float32, "nhwc"),
        ((3, 3, 5, 4), torch.float64, "nhwc"),
        ((3, 3, 5, 4), torch.bfloat16, "nhwc"),
        ((2, 1, 3, 3), torch.float32, "nchw"),
        ((2, 5, 1, 1), torch.float32, "nhwc"),
    ],
    ids=str,
)
def test_opcheck(shape, dtype, fmt):
    x, values = batch(shape, dtype, fmt), draw(ALL, 2, shape[2:])
    rows = torch.arange(shape[0]) % 2
    for constant in (True, False):
        torch.library.opcheck(RAW.siamese_augment.default, (x, values, rows, constant))
    last = fmt == "nhwc" and shape[1] > 1
    torch.library.opcheck(RAW.siamese_augment_backward.default, (x, values, rows, last))
    torch.library.opcheck(RAW.siamese_augment_backward.default, (x, values, rows, not last))


@pytest.mark.parametrize("backend", ["recorded", "inductor"])
def test_compile_forward_and_backward(backend):
    seen = set()

    def record(graph, _):
        seen.update(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph)

    chosen = aot_autograd(fw_compiler=record, bw_compiler=record) if backend == "recorded" else backend
    values, rows = given()
    for last in ((values, rows), (values, None), (values[:1], None)):
        compiled = torch.compile(loss(siamese_augment, *last), backend=chosen, fullgraph=True)
        x = batch((3, 3, *SIZE), fmt="nhwc")
        (found,) = torch.autograd.grad(compiled(x), x)
        assert_near(found, torch.autograd.grad(loss(siamese_augment, *last)(x), x)[0], 1e-12)
        assert found.is_contiguous(memory_format=torch.channels_last)
    if backend == "recorded":
        assert {
            "pydistill.siamese_augment.default",
            "pydistill.siamese_augment_backward.default",
        } <= seen


def test_forward_mode_is_refused_by_name():
    x, (values, rows) = batch((3, 3, *SIZE)).detach(), given()
    with pytest.raises(
        NotImplementedError, match=r"siamese_augment has no forward-mode derivative.*reference_only"
    ):
        torch.func.jvp(lambda x: siamese_augment(x, values, rows), (x,), (x,))


def test_fake_tensors_follow_the_reals():
    with torch._subclasses.FakeTensorMode():
        x = torch.empty(4, 6, 7, 8).to(memory_format=torch.channels_last)
        out = siamese_augment(x, torch.empty(4, 13), torch.empty(4, dtype=torch.int64))
    assert out.shape == x.shape
    assert out.is_contiguous(memory_format=torch.channels_last)


RAW_MISUSE = [
    (lambda x, v, r: (x[0], v, r), r"must be \(.*C, H, W\)"),
    (lambda x, v, r: (x.half(), v, r), "float32, float64 or bfloat16"),
    (lambda x, v, r: (x[:, :0], v, r), "at least one channel and one pixel"),
    (lambda x, v, r: (x, v[:, :12], r), r"values must be \(G, 13\) float32"),
    (lambda x, v, r: (x, v.double(), r), r"values must be \(G, 13\) float32"),
    (lambda x, v, r: (x, v, r[:1]), r"rows must be \(N\) int64"),
    (lambda x, v, r: (x, v, r.int()), r"rows must be \(N\) int64"),
]


@pytest.mark.parametrize("name", ["siamese_augment", "siamese_augment_backward"])
@pytest.mark.parametrize(("make", "message"), RAW_MISUSE)
def test_raw_operators_never_read_outside(make, message, name):
    x = batch((3, 3, *SIZE)).detach()
    with pytest.raises(RuntimeError, match=message):
        getattr(RAW, name)(*make(x, *given()), False)


@pytest.mark.parametrize("name", ["siamese_augment", "siamese_augment_backward"])
@pytest.mark.parametrize("wrong", [-1, 3, 2**40])
def test_a_raw_row_out_of_range_is_never_read(name, wrong):
    """The CPU's kernels refuse it; CUDA's, which cannot without waiting, mark the image."""
    x, (values, rows) = batch((3, 3, *SIZE)).detach(), given()
    call = lambda rows: getattr(RAW, name)(x, values, rows, False)  # noqa: E731
    bad = rows.clone()
    bad[1] = wrong
    if ops.status().build["cpu_level"] != "emulated":
        with pytest.raises(RuntimeError, match=f"rows must be 0 to 2, found {wrong}"):
            call(bad)
        return
    out, right = call(bad), call(rows)
    assert out[1].isnan().all()
    assert torch.equal(out[[0, 2]], right[[0, 2]])


def test_raw_parameters_that_are_not_finite_are_harmless():
    x, (values, rows) = batch((3, 3, *SIZE)).detach(), given()
    for bad in (torch.nan, torch.inf, -torch.inf):
        for name in ("siamese_augment", "siamese_augment_backward"):
            assert getattr(RAW, name)(x, torch.full_like(values, bad), rows, False).shape == x.shape
