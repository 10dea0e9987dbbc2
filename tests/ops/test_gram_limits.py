"""gram where differences cancel and at its cusps: coincident, parallel and opposite rows, rows of zeros."""

import math

import pytest
import torch

from pydistill.ops import gram, gram_diagonal
from pydistill.seeds import generator
from tests.ops.test_gram import assert_near, derivatives, network, plain

DISTANCES = ("rbf", "laplacian", "inverse_multiquadric")


def rows(count, features, *path, scale=1.0):
    rng = generator(11, *path)
    return scale * torch.randn(1, count, features, generator=rng, dtype=torch.float64)


def near_pairs(shift, apart, features=50):
    """Rows far from the origin; each of y lies near one of x. Rounded to float32, exactly."""
    x = rows(9, features, "x") + shift
    y = x + rows(9, features, "y", scale=apart)
    return x.float(), y.float()


@pytest.mark.parametrize("kernel", DISTANCES)
@pytest.mark.parametrize(("shift", "apart"), [(0.0, 1e-2), (0.0, 1e-5), (300.0, 1e-2), (1e4, 1e-1)])
def test_near_rows_and_large_norms_in_float32(kernel, shift, apart):
    x, y = near_pairs(shift, apart)
    width = apart * 50**0.5  # about their distance: the kernel tells near from nearer
    found = gram(x, y, kernel, bandwidths=width)
    expected = plain(x.double(), y.double(), kernel, bandwidths=width)
    assert 0.1 < expected.diagonal(dim1=1, dim2=2).mean() < 0.9
    assert_near(found, expected, 3e-6)
    assert torch.equal(gram(x, x, kernel, bandwidths=width).diagonal(dim1=1, dim2=2), torch.ones(1, 9))


@pytest.mark.parametrize("kernel", DISTANCES)
def test_clusters_far_apart_in_float32(kernel):
    """No common mean helps here: the entries within a cluster are computed from the rows."""
    places = torch.tensor([-500.0, 500.0, 0.0]).repeat(4)[None, :, None]
    x, y = ((rows(12, 20, name, scale=0.1) + places).float() for name in ("x", "y"))
    exact = [t.double().requires_grad_() for t in (x, y)]
    args = [t.requires_grad_() for t in (x, y)]
    found = derivatives(lambda a, b: gram(a, b, kernel, bandwidths=(0.5, 1.0)), args)
    expected = derivatives(lambda a, b: plain(a, b, kernel, bandwidths=(0.5, 1.0)), exact)
    assert_near(found[0], expected[0], 1e-6)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert_near(one, other, 2e-3)  # the products that sum the gradients up see 500 beside 0.1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("apart", [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_nearly_parallel_rows_in_float32(kernel, apart, sign):
    """acos of a float32 cosine is off by up to 5e-4 here."""
    x = rows(6, 40, "x").float()
    y = (sign * 3 * (x.double() + rows(6, 40, "y", scale=apart))).float()
    found = gram(x, y, kernel, depth=2)
    assert_near(found, network(x.double(), y.double(), kernel, depth=2), 1e-6)


@pytest.mark.parametrize("kernel", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_derivatives_of_distances_where_rows_coincide(kernel, dtype):
    """K is 1, its gradient 0, its second derivative by x then y I / w^2; 0 at the Laplacian's cusp."""
    x = (rows(1, 4, "x") + 10).to(dtype).requires_grad_()
    y = x.detach().clone().requires_grad_()
    out = gram(x, y, kernel, bandwidths=2.0)
    (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    curvature = torch.stack(
        [torch.autograd.grad(f, y, retain_graph=True)[0].flatten() for f in first.flatten()]
    )
    assert out.item() == 1
    assert torch.equal(first, torch.zeros_like(first))
    assert_near(curvature, torch.eye(4) * (0.0 if kernel == "laplacian" else 0.25), 1e-6)


@pytest.mark.parametrize("kernel", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_second_derivatives_where_rows_of_a_set_coincide(kernel, dtype):
    """Among others, so that the mean row is none of them; a set and its copy."""
    x, y = (rows(5, 4, "x").to(dtype).requires_grad_() for _ in "xy")
    out = gram(x, y, kernel, bandwidths=2.0).diagonal(dim1=1, dim2=2).sum()
    (first,) = torch.autograd.grad(out, x, create_graph=True)
    direction = rows(5, 4, "direction").to(dtype)
    (second,) = torch.autograd.grad(first, y, direction)
    assert first.abs().max() < (1e-6 if dtype == torch.float32 else 1e-14)
    assert_near(second, direction * (0.0 if kernel == "laplacian" else 0.25), 1e-5)


def one_sided(x, y, direction, kernel, step, **options):
    """The gradient by y near y, from one side."""
    y = (y + step * direction).requires_grad_()
    return torch.autograd.grad(gram(x, y, kernel, **options).sum(), y)[0]


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("times", [1.0, 3.0, -1.0, -0.7])
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_arc_cosine_gradient_at_its_ends(kernel, times, bias):
    """Rows that coincide, or are multiples of each other: the mean of the one-sided gradients."""
    options = {"depth": 3, "bias_variance": bias}
    x = rows(1, 5, "x")
    y = (times * x).requires_grad_()
    (found,) = torch.autograd.grad(gram(x, y, kernel, **options).sum(), y)
    direction = rows(1, 5, "direction")
    sides = [one_sided(x, y.detach(), direction, kernel, step, **options) for step in (1e-6, -1e-6)]
    assert found.isfinite().all()
    assert_near(found, (sides[0] + sides[1]) / 2, 1e-5)
    assert_near(gram(x.float(), y.float(), kernel, **options), gram(x, y, kernel, **options), 2e-6)
    float_y = y.detach().float().requires_grad_()
    out = gram(x.float(), float_y, kernel, **options)
    assert_near(torch.autograd.grad(out.sum(), float_y)[0], found, 1.0 if times == -0.7 else 1e-5)


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_arc_cosine_of_a_row_with_itself(kernel):
    """gram(x, x) has |x|^2 / D times 1, or depth + 1, on its diagonal, with the gradient of that."""
    x = rows(4, 6, "x").requires_grad_()
    out = gram(x, x, kernel, depth=3).diagonal(dim1=1, dim2=2)
    share = (1 if kernel == "nngp" else 4) / 6
    assert_near(out, x.square().sum(-1) * share, 1e-14)
    (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    assert_near(first, 2 * share * x.detach(), 1e-13)
    assert torch.autograd.grad(first.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_second_derivative_of_nngp_where_rows_coincide(kernel):
    """Finite, and for the NNGP of one layer, whose gradient is smooth there, the limit."""
    x = rows(1, 3, "x")

    def second(y):
        y = y.clone().requires_grad_()
        out = gram(x, y, kernel)
        (first,) = torch.autograd.grad(out.sum(), y, create_graph=True)
        return torch.stack([torch.autograd.grad(f, y, retain_graph=True)[0][0, 0] for f in first.flatten()])

    found, step = second(x), 1e-7 * rows(1, 3, "direction")
    assert found.isfinite().all()
    if kernel == "nngp":
        assert_near(found, (second(x + step) + second(x - step)) / 2, 1e-4)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_one_feature(kernel, bias):
    """All angles are 0 or pi. Without biases K is x y (or 0), times the layers plus one for the NTK."""
    x, y = rows(5, 1, "x").requires_grad_(), rows(4, 1, "y")
    out = gram(x, y, kernel, depth=2, bias_variance=bias)
    gradient = torch.autograd.grad(out.sum(), x)[0]
    assert gradient.isfinite().all()
    if bias:
        assert_near(out, network(x, y, kernel, depth=2, bias_variance=bias), 1e-10)
        return
    layers = torch.where(x * y.mT > 0, 1.0 if kernel == "nngp" else 3.0, 0.0).double()
    if kernel == "ntk":  # opposite rows: the first layer gives nothing, later ones have no angle to work on
        opposite = gram(
            torch.tensor([[[-1.0]]]).double(), torch.tensor([[[1.0]]]).double(), kernel, depth=2
        )
        layers = torch.where(x * y.mT > 0, layers, -opposite.item())
    else:
        layers = torch.where(x * y.mT > 0, layers, -1 / math.pi)
    assert_near(out, x * y.mT * layers, 1e-12)


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_rows_of_zeros(kernel):
    x, y = rows(3, 4, "x"), rows(2, 4, "y")
    x[0, 1] = 0
    x.requires_grad_(), y.requires_grad_()
    out = gram(x, y, kernel, depth=2)
    assert torch.equal(out[0, 1], torch.zeros(2, dtype=torch.float64))
    first = torch.autograd.grad(out.sum(), [x, y], create_graph=True)
    second = torch.autograd.grad(sum(t.square().sum() for t in first), [x, y])
    assert all(t.isfinite().all() for t in (*first, *second))
    assert_near(
        gram_diagonal(x, kernel, depth=2), gram(x, x, kernel, depth=2).diagonal(dim1=1, dim2=2), 1e-13
    )
    biased = gram(x, y, kernel, depth=2, bias_variance=0.5)
    assert_near(biased, network(x, y, kernel, depth=2, bias_variance=0.5), 1e-12)
    assert torch.autograd.grad(biased.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kernel", DISTANCES)
def test_extreme_bandwidths(kernel, dtype):
    x = rows(3, 4, "x").to(dtype).requires_grad_()
    for width, off in ((1.1e-9 if dtype == torch.float32 else 1.1e-75, 0.0), (1e30, 1.0)):
        found = derivatives(lambda a, w=width: gram(a, a, kernel, bandwidths=w), [x])
        expected = torch.full((1, 3, 3), off).to(dtype)
        expected.diagonal(dim1=1, dim2=2).fill_(1)
        assert_near(found[0], expected, 1e-6)
        assert all(t.isfinite().all() for t in found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kernel", DISTANCES)
def test_narrow_kernels_of_rows_of_their_size(kernel, dtype):
    """K does not change with the unit of length, its derivatives do by that to the power of their order."""
    unit = 2.0**-29 if dtype == torch.float32 else 2.0**-248
    x, y = (rows(4, 3, name).to(dtype) for name in "xy")
    of = lambda w: lambda a, b: gram(a, b, kernel, bandwidths=(w, 2 * w))  # noqa: E731
    wide = derivatives(of(1.0), [t.clone().requires_grad_() for t in (x, y)])
    narrow = derivatives(of(unit), [(t * unit).requires_grad_() for t in (x, y)])
    for one, other, order in zip(narrow, wide, (0, 1, 1, 1, 2, 2), strict=True):
        assert_near(one.double() * unit**order, other.double(), 1e-6)


@pytest.mark.parametrize("apart", [1e-10, 1e-14])
def test_laplacian_of_tiny_distances(apart):
    """Its curvature there is 1 / (w d), far above what its square's third power allows in float32."""
    x, y = ((rows(2, 3, name) * apart).float() for name in "xy")
    args, exact = ([t.to(dtype).requires_grad_() for t in (x, y)] for dtype in (x.dtype, torch.float64))
    found, expected = (derivatives(lambda a, b: gram(a, b, "laplacian"), of) for of in (args, exact))
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-5)


def check_small_rows(kernel, depth, bias, scale, sign):
    """In float32 against the definition's values, and derivatives, in float64."""
    x = rows(3, 5, "x", scale=scale).float()
    y = (sign * rows(4, 5, "y", scale=scale)).float()
    y[:, 0] = sign * (2 * x[:, 0] + rows(1, 5, "near", scale=0.2 * scale)[0].float())
    args, exact = ([t.to(dtype).requires_grad_() for t in (x, y)] for dtype in (x.dtype, torch.float64))
    options = {"depth": depth, "bias_variance": bias}
    found, expected = (derivatives(lambda a, b: gram(a, b, kernel, **options), of) for of in (args, exact))
    assert_near(found[0], network(*exact, kernel, **options), 1e-6)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert ((one.double() - other).abs().max() / other.abs().max()).item() < 1e-4


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("bias", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
def test_biases_that_outweigh_the_rows(kernel, depth, bias, scale, sign):
    check_small_rows(kernel, depth, bias, scale, sign)


def test_gradient_of_the_ntk_where_a_bias_outweighs_rows_of_negative_cosine():
    x = torch.tensor([[[1e-4, 2e-4]]], requires_grad=True)
    out = gram(x, torch.tensor([[[-2e-4, 0.5e-4]]]), "ntk", depth=1, bias_variance=0.1)
    (found,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(found, torch.tensor([[[-0.0452157, -0.0224579]]]), rtol=1e-5, atol=0)


def test_exponential_over_its_range():
    """Through the Laplacian kernel of one pair of rows a batch entry, to where exp is subnormal."""
    d = torch.linspace(0, 100, 1001, dtype=torch.float64)
    for dtype, unit in ((torch.float32, 2.0**-24), (torch.float64, 2.0**-53)):
        y = d.to(dtype)[:, None, None]
        found = gram(torch.zeros_like(y), y, "laplacian", bandwidths=1.0).double()
        expected = torch.exp(-y.double())
        allowed = expected * unit * (3 + 2 * y.double()) + 2.0**-149  # d itself is off by a rounding
        assert ((found - expected).abs() <= allowed).all()
