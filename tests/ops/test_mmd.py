"""mmd: values and derivatives against the definition in float64, and what theory says of it."""

import importlib
import json
import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pydistill import ops
from pydistill.ops import mmd
from pydistill.seeds import generator
from tests.ops.test_norm_relu_pool import assert_near

# (B, N, M, D): single rows, fewer and more rows and features than a tile or a vector has.
SHAPES = [(1, 1, 1, 1), (2, 5, 7, 3), (3, 2, 33, 17), (1, 97, 40, 33), (2, 12, 96, 20), (1, 34, 195, 5)]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 3e-5}
WANTED = {"both": (True, True), "x": (True, False), "y": (False, True)}


def plain(x, y, bandwidths, unbiased=False):
    """The definition, step by step; x (B, N, D), y (B, M, D), bandwidths (S,)."""

    def kernels(a, b):
        squares = ((a[:, :, None] - b[:, None, :]) ** 2).sum(3)
        return sum(torch.exp(-squares / (2 * sigma**2)) for sigma in bandwidths)

    def within(a):
        k, n = kernels(a, a), a.shape[1]
        if not unbiased:
            return k.mean((1, 2))
        return (k * (1 - torch.eye(n, dtype=k.dtype))).sum((1, 2)) / (n * (n - 1))

    return within(x) + within(y) - 2 * kernels(x, y).mean((1, 2))


def inputs(shape, dtype=torch.float64, grad=(True, True), device="cpu"):
    """Sets from two Gaussians, and bandwidths about their distances."""
    sets, n, m, features = shape
    rng = generator(0, "mmd", *shape)
    x = torch.randn(sets, n, features, generator=rng, dtype=torch.float64)
    y = torch.randn(sets, m, features, generator=rng, dtype=torch.float64) * 1.3 + 0.2
    made = [t.to(device, dtype).requires_grad_(want) for t, want in zip((x, y), grad, strict=True)]
    return made, [features**0.5 * scale for scale in (0.5, 1.0, 2.1)]


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


def check_everything(args, bandwidths, unbiased, tolerance):
    exact = [t.detach().double().cpu().requires_grad_(t.requires_grad) for t in args]
    pairs = zip(
        derivatives(lambda x, y: mmd(x, y, bandwidths, unbiased), args),
        derivatives(lambda x, y: plain(x, y, bandwidths, unbiased), exact),
        strict=True,
    )
    for place, (found, expected) in enumerate(pairs):
        assert_near(found.cpu(), expected, tolerance, f"result {place}")


def test_by_hand():
    """k(x, x) and k(y, y) are 2, k(x, y) is e^-1/2 + e^-1/8."""
    x, y = torch.zeros(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)
    found = mmd(x, y, [1.0, 2.0]).item()
    assert found == pytest.approx(4 - 2 * (0.6065306597126334 + 0.8824969025845955), rel=1e-14)


def test_unbiased_by_hand():
    """Sets (0, 1) and (0, 3) with sigma 1: kxx = e^-1/2, kyy = e^-9/2, kxy the mean of four."""
    x, y = (torch.tensor([[[0.0], [end]]], dtype=torch.float64) for end in (1.0, 3.0))
    k = lambda d: torch.exp(torch.tensor(-d * d / 2, dtype=torch.float64)).item()  # noqa: E731
    expected = k(1) + k(3) - 2 * (k(0) + k(3) + k(1) + k(2)) / 4
    assert mmd(x, y, [1.0], unbiased=True).item() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_derivatives(shape, unbiased, dtype, wanted):
    unbiased = unbiased and min(shape[1:3]) > 1
    args, bandwidths = inputs(shape, dtype, WANTED[wanted])
    check_everything(args, bandwidths, unbiased, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_values_without_gradients(shape, unbiased, dtype):
    (x, y), bandwidths = inputs(shape, dtype, (False, False))
    expected = plain(x.double(), y.double(), bandwidths, unbiased)
    assert_near(mmd(x, y, bandwidths, unbiased), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (1, 2, 2, 5)], ids=str)
def test_gradcheck(shape, unbiased):
    args, bandwidths = inputs(shape)
    function = lambda x, y: mmd(x, y, bandwidths, unbiased)  # noqa: E731
    assert gradcheck(function, args)
    assert gradgradcheck(function, args)


def test_second_derivative_in_the_cotangent_alone():
    (x, y), bandwidths = inputs((2, 9, 8, 4), grad=(False, True))
    up = torch.ones(2, dtype=torch.float64, requires_grad=True)
    found, expected = (
        torch.autograd.grad(torch.autograd.grad(value, y, up, create_graph=True)[0].sum(), up)[0]
        for value in (mmd(x, y, bandwidths), plain(x, y, bandwidths))
    )
    assert_near(found, expected, 1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_two_gaussians(dtype):
    """Means over draws are what they should be, for both estimates, within 4 standard errors.

    For x from N(0, s^2 I) and y from N(m, t^2 I), k with one sigma has mean (sigma^2 / c)^(D/2)
    exp(-|m|^2 / (2 c)), with c = sigma^2 plus the variances of both rows.
    """
    draws, n, m, features, s, t = 300, 14, 9, 3, 0.8, 1.2
    rng = generator(2, "two gaussians")
    mean = torch.tensor([0.5, -0.3, 0.2], dtype=torch.float64)
    x = s * torch.randn(draws, n, features, generator=rng, dtype=torch.float64)
    y = t * torch.randn(draws, m, features, generator=rng, dtype=torch.float64) + mean
    bandwidths = [0.7, 1.5]

    def expected(variances, shift):
        total = torch.tensor(0.0, dtype=torch.float64)
        for sigma in bandwidths:
            c = sigma**2 + variances
            total += (sigma**2 / c) ** (features / 2) * torch.exp(-shift / (2 * c))
        return total.item()

    xx, yy = expected(2 * s * s, mean.new_zeros(())), expected(2 * t * t, mean.new_zeros(()))
    xy = expected(s * s + t * t, (mean**2).sum())
    truth = {
        True: xx + yy - 2 * xy,
        False: (2 + (n - 1) * xx) / n + (2 + (m - 1) * yy) / m - 2 * xy,
    }
    for unbiased, value in truth.items():
        found = mmd(x.to(dtype), y.to(dtype), bandwidths, unbiased).double()
        error = found.std().item() / draws**0.5
        assert error < 0.1 * abs(truth[False])
        assert abs(found.mean().item() - value) < 4 * error
    assert truth[False] - truth[True] > 20 * error  # the test can tell one from the other


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_set_and_itself(dtype):
    (x, _), bandwidths = inputs((2, 40, 1, 6), dtype)
    y = x.detach().clone().requires_grad_()
    value = mmd(x, y, bandwidths)
    assert value.abs().max() <= 1e-6 if dtype == torch.float32 else 1e-14
    for grad in torch.autograd.grad(value.sum(), [x, y]):
        assert grad.abs().max() <= (1e-7 if dtype == torch.float32 else 1e-15)


def test_order_of_rows_does_not_matter():
    (x, y), bandwidths = inputs((2, 33, 50, 7), grad=(False, True))
    order = torch.randperm(50, generator=generator(3))
    shuffled = y.detach()[:, order].requires_grad_()
    value, other = mmd(x, y, bandwidths), mmd(x.flip(1), shuffled, bandwidths)
    assert_near(other, value, 1e-13)
    assert_near(
        torch.autograd.grad(other.sum(), shuffled)[0],
        torch.autograd.grad(value.sum(), y)[0][:, order],
        1e-12,
    )


@pytest.mark.parametrize("unbiased", [False, True])
def test_large_common_offset(unbiased):
    """A float32 norm of 10^4 leaves no digits to distances of 1 unless the offset is taken off."""
    (x, y), bandwidths = inputs((2, 30, 40, 8), torch.float32)
    x, y = ((t.detach() + 5000).requires_grad_() for t in (x, y))
    check_everything([x, y], bandwidths, unbiased, 1e-4)


@pytest.mark.compiled
@pytest.mark.parametrize("unbiased", [False, True])
def test_nearly_equal_rows_of_large_norm(unbiased):
    """Two far clusters, each of the bandwidth's size: distances within one are a millionth of its norm."""
    rng = generator(4, "clusters")
    side = torch.tensor([-300.0, 300.0])[torch.randint(2, (1, 60, 1), generator=rng)]
    rows = side + 0.3 * torch.randn(1, 60, 10, generator=rng)
    x, y = (t.clone().requires_grad_() for t in (rows[:, :25], rows[:, 25:]))
    check_everything([x, y], [0.7, 1.5], unbiased, 1e-4)


def test_bandwidths_as_numbers_and_tensors():
    (x, y), bandwidths = inputs((2, 6, 5, 3), grad=(False, False))
    given = torch.tensor(bandwidths, dtype=torch.float64)
    expected = mmd(x, y, bandwidths)
    assert torch.equal(mmd(x, y, given), expected)
    assert torch.equal(mmd(x, y, tuple(bandwidths)), expected)
    each = mmd(x, y, torch.stack([given, 2 * given]))
    assert_near(each[:1], plain(x[:1], y[:1], bandwidths), 1e-12)
    assert_near(each[1:], plain(x[1:], y[1:], [2 * b for b in bandwidths]), 1e-12)
    tracked = given.clone().requires_grad_()
    assert not mmd(x, y, tracked).requires_grad


STRIDED = {
    "sliced rows": lambda t: t[:, 2:9],
    "sliced features": lambda t: t[:, :, 1:5],
    "stepped": lambda t: t[::2, ::3, ::2],
    "transposed": lambda t: t.transpose(1, 2),
    "expanded": lambda t: t[:1].expand(3, -1, -1),
}


@pytest.mark.parametrize("kind", STRIDED)
def test_strided_inputs(kind):
    rng = generator(5, kind)
    x, y = (STRIDED[kind](torch.randn(4, 12, 12, generator=rng, dtype=torch.float64)) for _ in range(2))
    args = [x.detach().requires_grad_(), y.detach().requires_grad_()]
    assert not args[0].is_contiguous()
    check_everything(args, [2.0, 4.0], True, 1e-10)


def test_expanded_cotangent():
    (x, y), bandwidths = inputs((3, 6, 5, 4))
    up = torch.ones(1, dtype=torch.float64).expand(3)
    found = torch.autograd.grad(mmd(x, y, bandwidths), [x, y], up)
    for one, other in zip(found, torch.autograd.grad(plain(x, y, bandwidths), [x, y], up), strict=True):
        assert_near(one, other, 1e-10)


def test_threads_do_not_change_a_bit():
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        args, bandwidths = inputs((2, 130, 100, 40), torch.float32)
        results.append(derivatives(lambda x, y, b=bandwidths: mmd(x, y, b), args))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert torch.equal(one, same)


@pytest.mark.parametrize("unbiased", [False, True])
def test_not_a_number_stays_in_its_set(unbiased):
    (x, y), bandwidths = inputs((3, 6, 5, 4))
    with torch.no_grad():
        x[1, 2, 3] = torch.nan
    value = mmd(x, y, bandwidths, unbiased)
    assert value.isnan().tolist() == [False, True, False]
    assert torch.autograd.grad(value.sum(), y)[0].isnan().any((1, 2)).tolist() == [False, True, False]


@pytest.mark.compiled
def test_far_sets_do_not_overflow():
    """Kernels of distant rows are 0, as in float64; what is left is each set's own part, far from 0."""
    (x, y), bandwidths = inputs((1, 6, 5, 4), torch.float32)
    check_everything([x, (y.detach() + 1e4).requires_grad_()], bandwidths, False, 1e-3)


def test_empty_batch():
    found = derivatives(lambda x, y: mmd(x, y, [1.0]), inputs((0, 3, 4, 2))[0])
    assert [tuple(t.shape) for t in found] == [(0,), (0, 3, 2), (0, 4, 2), (0,), (0, 3, 2), (0, 4, 2)]


@pytest.mark.parametrize("dtypes", [(torch.bfloat16,) * 2, (torch.bfloat16, torch.float32)], ids=str)
def test_bfloat16_is_computed_in_float32(dtypes):
    made, bandwidths = inputs((2, 20, 30, 6))
    args = [t.detach().to(dtype).requires_grad_() for t, dtype in zip(made, dtypes, strict=True)]
    value = mmd(*args, bandwidths)
    exact = [t.detach().double().requires_grad_() for t in args]
    expected = plain(*exact, bandwidths)
    assert value.dtype == torch.float32
    assert_near(value, expected, 3e-5)
    for found, true, dtype in zip(
        torch.autograd.grad(value.sum(), args),
        torch.autograd.grad(expected.sum(), exact),
        dtypes,
        strict=True,
    ):
        assert found.dtype == dtype
        assert_near(found, true, 1e-2)


@pytest.mark.compiled
@pytest.mark.parametrize("wanted", WANTED)
def test_only_the_wanted_gradient_is_made(wanted):
    want = WANTED[wanted]
    (x, y), _ = inputs((2, 6, 5, 4), grad=(False, False))
    weights = torch.ones(2, 1, dtype=torch.float64)
    _, *made = torch.ops.pydistill.mmd(x, y, weights, False, *want)
    assert [t.shape[1] for t in made] == [6 * want[0], 5 * want[1]]


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_instruction_set(dtype):
    extension = importlib.import_module("pydistill._C")
    before = extension.build_info()["cpu_level"]
    try:
        for level in extension.cpu_levels():
            extension.use_cpu_level(level)
            for shape in ((2, 31, 20, 37), (1, 100, 9, 16)):
                args, bandwidths = inputs(shape, dtype)
                check_everything(args, bandwidths, False, TOLERANCE[dtype])
                check_everything(
                    [t.detach().requires_grad_(t is args[1]) for t in args], bandwidths, True, 1e-4
                )
    finally:
        extension.use_cpu_level(before)


MEMORY = """
import json, torch
from benchmarks.measure import peak_growth
from pydistill.ops import mmd
def run(rows):
    x, y = torch.ones(1, rows, 16), torch.zeros(1, rows, 16, requires_grad=True)
    torch.autograd.grad(mmd(x, y, [1.0, 2.0]).sum(), y)
run(10)
print(json.dumps(peak_growth(lambda: run(6000))))
"""


@pytest.mark.cpu_pool
def test_memory_is_that_of_the_sets():
    """One matrix of all pairs would be 137 MiB; the sets are 0.4 MiB each."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) < 20


@pytest.mark.cpu_pool
def test_many_sets_are_as_each_alone():
    """More sets than the workspace holds at once: they go in waves."""
    (x, y), bandwidths = inputs((24, 64, 60, 700), torch.float32)
    together = mmd(x, y, bandwidths)
    gradients = torch.autograd.grad(together.sum(), [x, y])
    for at in range(24):
        one = [t[at : at + 1].detach().requires_grad_() for t in (x, y)]
        value = mmd(*one, bandwidths)
        assert torch.equal(value, together[at : at + 1])
        for alone, among in zip(torch.autograd.grad(value, one), gradients, strict=True):
            assert torch.equal(alone[0], among[at])


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 300, 200, 70)], ids=str)
def test_values_and_derivatives_on_cuda(shape, dtype):
    args, bandwidths = inputs(shape, dtype, device="cuda")
    check_everything(args, bandwidths, False, TOLERANCE[dtype])


def test_reference_only_gives_the_reference():
    (x, y), bandwidths = inputs((2, 3, 4, 2))
    with ops.reference_only():
        value = mmd(x, y, bandwidths)
        grad = value.sum()
        for _ in range(3):
            (grad,) = torch.autograd.grad((grad**2).sum(), y, create_graph=True)
    assert_near(value, plain(x, y, bandwidths), 1e-12)
    assert grad.abs().max() > 0
