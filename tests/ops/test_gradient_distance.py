"""gradient_distance: values and derivatives against the definition."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pydistill.ops import gradient_distance
from pydistill.ops.gradient_distance import KINDS
from pydistill.seeds import generator
from tests.ops.test_norm_relu_pool import assert_near

# torch's own imports
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

# (B, offsets): single entries, fewer and more than a vector or a block of threads has.
CASES = [(1, (0, 1)), (3, (0, 2, 7)), (2, (0, 33, 34, 50)), (1, (0, 300)), (4, (0, 5, 133, 262, 270))]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 3e-5}
EPS = 1e-3
kinds = pytest.mark.parametrize("kind", KINDS)
cases = pytest.mark.parametrize(("rows", "offsets"), CASES, ids=str)


def plain(x, y, offsets, kind, eps=EPS):
    """The definition, segment by segment."""

    def one(a, b):
        if kind == "l2":
            return ((a - b) ** 2).sum(1)
        if kind == "l1":
            return (a - b).abs().sum(1)
        return 1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + eps)

    ends = itertools.pairwise(offsets)
    return torch.stack([one(x[:, begin:end], y[:, begin:end]) for begin, end in ends], 1)


def inputs(rows, offsets, dtype=torch.float64, grad=(True, True), device="cpu"):
    rng = generator(0, "gradients", rows, *offsets)
    drawn = [torch.randn(rows, offsets[-1], generator=rng, dtype=torch.float64) for _ in range(2)]
    return [
        (t * scale).to(device, dtype).requires_grad_(g)
        for t, g, scale in zip(drawn, grad, (1, 0.3), strict=True)
    ]


def derivatives(function, args):
    """Values, first derivatives for random cotangents, second derivatives of a random mix of those."""
    rng = generator(1, "directions")
    draw = lambda t: torch.randn(t.shape, generator=rng, dtype=torch.float64).to(t)  # noqa: E731
    out = function(*args)
    up = draw(out).requires_grad_()
    wanted = [t for t in args if t.requires_grad]
    first = torch.autograd.grad(out, wanted, up, create_graph=True)
    mix = sum((draw(t) * t).sum() for t in first)
    return [out, *first, *torch.autograd.grad(mix, [up, *wanted], materialize_grads=True)]


def check_everything(args, offsets, kind):
    """Values and derivatives against the definition in float64."""
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in args]
    pairs = zip(
        derivatives(lambda x, y: gradient_distance(x, y, offsets, kind, EPS), args),
        derivatives(lambda x, y: plain(x, y, offsets, kind), exact),
        strict=True,
    )
    # the cosine of single numbers is their signs': its slopes are what is left of terms of 1 / |x|
    signs = kind == "cosine" and offsets == (0, 1) and args[0].dtype == torch.float32
    for place, (found, expected) in enumerate(pairs):
        assert found.dtype == args[0].dtype
        tolerance = 3e-4 if signs else TOLERANCE[args[0].dtype]
        assert_near(found, expected, tolerance, f"result {place}")


def test_by_hand():
    """(3, 4) and (4, 3): a product of 24 to norms of 5 each; distances 1 and 1 apart."""
    x, y = torch.tensor([[3.0, 4.0, 2.0]]), torch.tensor([[4.0, 3.0, -2.0]])
    cosine = gradient_distance(x, y, [0, 2, 3], eps=0.0)
    torch.testing.assert_close(cosine, torch.tensor([[1 - 24 / 25, 2.0]]))
    torch.testing.assert_close(gradient_distance(x, y, [0, 2, 3], "l2"), torch.tensor([[2.0, 16.0]]))
    torch.testing.assert_close(gradient_distance(x, y, [0, 2, 3], "l1"), torch.tensor([[2.0, 4.0]]))


@kinds
@cases
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("grad", [(True, True), (True, False), (False, True)])
def test_values_and_derivatives(rows, offsets, kind, dtype, grad):
    check_everything(inputs(rows, offsets, dtype, grad), offsets, kind)


@kinds
def test_gradcheck(kind):
    args = inputs(2, (0, 3, 4, 9))
    function = lambda x, y: gradient_distance(x, y, (0, 3, 4, 9), kind, EPS)  # noqa: E731
    assert gradcheck(function, args)
    assert gradgradcheck(function, args)


@kinds
def test_zeros_have_derivatives(kind):
    """A segment of zeros counts as constant in norm; equal entries have no slope under l1."""
    x, y = inputs(1, (0, 4, 8))
    x = torch.cat([x.detach()[:, :4], torch.zeros(1, 4, dtype=x.dtype)], 1).requires_grad_()
    y = torch.cat([x.detach()[:, :4], y.detach()[:, 4:]], 1).requires_grad_()
    value = gradient_distance(x, y, (0, 4, 8), kind, EPS)
    first = torch.autograd.grad(value.sum(), [x, y], create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in first), [x, y], materialize_grads=True)
    assert all(torch.isfinite(t).all() for t in (value, *first, *second))
    if kind == "cosine":
        assert value[0, 1] == 1
        torch.testing.assert_close(first[0][0, 4:], -y[0, 4:] / EPS)
        assert (first[1][0, 4:] == 0).all()
    else:
        assert (first[0][0, :4] == 0).all()


def test_tiny_and_huge_gradients_stay_finite_in_float32():
    x, y = inputs(1, (0, 40), torch.float32)
    for scale in (1e-12, 1e12):
        a, b = (t.detach().mul(scale).requires_grad_() for t in (x, y))
        value = gradient_distance(a, b, (0, 40), eps=1e-30)
        grads = torch.autograd.grad(value.sum(), [a, b])
        expected = plain(x.double(), y.double(), (0, 40), "cosine", 0)
        assert_near(value, expected, 1e-5)
        assert all(torch.isfinite(g).all() for g in grads)


def test_not_a_number_stays_one():
    x, y = inputs(2, (0, 3, 6), grad=(False, False))
    x[0, 1] = torch.nan
    for kind in KINDS:
        value = gradient_distance(x, y, (0, 3, 6), kind)
        assert value.isnan().tolist() == [[True, False], [False, False]]


def test_offsets_as_a_tensor_say_the_same():
    x, y = inputs(2, (0, 3, 6))
    marks = torch.tensor([0, 3, 6])
    assert torch.equal(gradient_distance(x, y, marks), gradient_distance(x, y, [0, 3, 6]))


def test_result_does_not_depend_on_threads():
    x, y = inputs(4, (0, 5, 133, 262, 270), torch.float32)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(derivatives(lambda x, y: gradient_distance(x, y, (0, 5, 133, 262, 270)), [x, y]))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.cuda
@kinds
@pytest.mark.parametrize(("rows", "offsets"), [*CASES, (3, (0, 9, 5_000, 70_000))], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_values_and_derivatives_on_cuda(rows, offsets, kind, dtype):
    check_everything(inputs(rows, offsets, dtype, device="cuda"), offsets, kind)
