"""gram: values and derivatives against the definitions in float64, on every awkward shape."""

import math

import pytest
import torch
from sklearn.metrics import pairwise
from torch.autograd import gradcheck, gradgradcheck

from pydistill import ops
from pydistill.ops import gram, gram_diagonal
from pydistill.seeds import generator

KERNELS = {
    "linear": ("linear", {}),
    "polynomial": ("polynomial", {"degree": 3, "offset": 0.5}),
    "polynomial of degree 1": ("polynomial", {"degree": 1, "scale": 0.7}),
    "rbf": ("rbf", {"bandwidths": (0.7, 1.5, 3.0)}),
    "laplacian": ("laplacian", {"bandwidths": (0.8, 2.0)}),
    "inverse_multiquadric": ("inverse_multiquadric", {"bandwidths": 1.3}),
    "nngp": ("nngp", {"depth": 2, "weight_variance": 1.7}),
    "ntk": ("ntk", {"depth": 3}),
    "ntk of one layer": ("ntk", {"depth": 1}),
    "nngp with biases": ("nngp", {"depth": 2, "bias_variance": 0.3}),
    "ntk with biases": ("ntk", {"depth": 3, "weight_variance": 1.5, "bias_variance": 0.2}),
}
SHAPES = [(2, 5, 7, 3), (1, 1, 1, 1), (1, 70, 3, 6), (3, 2, 35, 40), (2, 33, 66, 5)]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def profile(base, kernel, bandwidths=(1.0,), **_):
    """Of a distance's square."""
    widths = (bandwidths,) if isinstance(bandwidths, float) else bandwidths
    one = {
        "rbf": lambda w: (-base / (2 * w**2)).exp(),
        "laplacian": lambda w: (-base.sqrt() / w).exp(),
        "inverse_multiquadric": lambda w: 1 / (1 + base / w**2).sqrt(),
    }[kernel]
    return sum(one(w) for w in widths)


def network(x, y, kernel, depth=1, weight_variance=2.0, bias_variance=0.0):
    """The recursion as the module's docstring has it: covariances before and after each layer."""
    features = x.shape[-1]
    sxy = x @ y.mT / features
    sxx, syy = ((t * t).sum(-1) / features for t in (x, y))
    ntk = sxy
    for _ in range(depth):
        qxy, qxx, qyy = (weight_variance * s + bias_variance for s in (sxy, sxx, syy))
        norm = (qxx[:, :, None] * qyy[:, None, :]).sqrt()
        c = (qxy / norm).clamp(-1, 1)
        angle = torch.acos(c)
        sxy = norm / 2 * (torch.sqrt(1 - c * c) + (math.pi - angle) * c) / math.pi
        ntk = sxy + (math.pi - angle) / (2 * math.pi) * (weight_variance * ntk + bias_variance)
        sxx, syy = qxx / 2, qyy / 2
    return sxy if kernel == "nngp" else ntk


def plain(x, y, kernel="rbf", **options):
    """The definitions: distances from differences, angles by acos."""
    if kernel == "linear":
        return x @ y.mT
    if kernel == "polynomial":
        scale = options.get("scale") or 1 / x.shape[-1]
        return (scale * (x @ y.mT) + options.get("offset", 1.0)) ** options.get("degree", 3)
    if kernel in ("nngp", "ntk"):
        return network(x, y, kernel, **options)
    return profile((x[:, :, None] - y[:, None]).square().sum(-1), kernel, **options)


def inputs(shape, dtype=torch.float64, grad=True, device="cpu"):
    rng = generator(0, "gram", *shape)
    batch, rows, columns, features = shape
    x = torch.randn(batch, rows, features, generator=rng, dtype=torch.float64)
    y = torch.randn(batch, columns, features, generator=rng, dtype=torch.float64)
    return [t.to(device, dtype).requires_grad_(grad) for t in (x, y)]


def of(name):
    kernel, options = KERNELS[name]
    return lambda x, y: gram(x, y, kernel, **options)


def plain_of(name):
    kernel, options = KERNELS[name]
    return lambda x, y: plain(x, y, kernel, **options)


def derivatives(function, args):
    """Output, first derivatives for a random direction, second derivatives of a random mix of those."""
    rng = generator(1, "directions")
    draw = lambda t: torch.randn(t.shape, generator=rng, dtype=torch.float64).to(t)  # noqa: E731
    out = function(*args)
    up = draw(out).requires_grad_()
    first = torch.autograd.grad(out, args, up, create_graph=True)
    mix = sum((draw(t) * t).sum() for t in first)
    return [out, *first, *torch.autograd.grad(mix, [up, *args], materialize_grads=True)]


def assert_near(found, expected, tolerance, what=""):
    """Largest error against the largest value expected."""
    assert found.shape == expected.shape
    scale = max(expected.abs().max().item(), 1e-3) if expected.numel() else 1
    error = (found.double() - expected.double()).abs().max().item() if expected.numel() else 0
    assert error <= tolerance * scale, f"{what}: error {error:.2e} against a scale of {scale:.2e}"


def check_everything(name, args, tolerance):
    exact = [t.detach().double().requires_grad_() for t in args]
    names = ["out", "grad x", "grad y", "grad grad", "second x", "second y"]
    for what, found, expected in zip(
        names, derivatives(of(name), args), derivatives(plain_of(name), exact), strict=True
    ):
        assert_near(found, expected, tolerance, what)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_derivatives(shape, name, dtype):
    if shape[-1] == 1 and KERNELS[name][0] in ("nngp", "ntk"):
        shape = (
            1,
            1,
            1,
            2,
        )  # in one dimension rows are parallel: their derivatives have a test of their own
    check_everything(name, inputs(shape, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("name", KERNELS)
def test_gradcheck(name):
    args = inputs((2, 3, 4, 3))
    assert gradcheck(of(name), args)
    assert gradgradcheck(of(name), args)


def test_wider_than_a_chunk_of_columns():
    check_everything("ntk", inputs((1, 3, 1100, 4), torch.float32), 1e-4)
    check_everything("rbf", inputs((1, 40, 530, 4), torch.float64), 1e-10)


@pytest.mark.parametrize("kernel", ["rbf", "polynomial", "linear"])
def test_scikit_learn(kernel):
    x, y = inputs((1, 6, 5, 4), grad=False)
    theirs = {
        "rbf": lambda a, b: pairwise.rbf_kernel(a, b, gamma=1 / (2 * 1.3**2)),
        "polynomial": lambda a, b: pairwise.polynomial_kernel(a, b, degree=3),
        "linear": pairwise.linear_kernel,
    }[kernel](x[0].numpy(), y[0].numpy())
    assert_near(gram(x, y, kernel, bandwidths=1.3)[0], torch.from_numpy(theirs), 1e-12)


def test_by_hand():
    """Rows at right angles, at 60 degrees, opposite, and 3-4-5."""
    x = torch.tensor([[[3.0, 0.0]]], dtype=torch.float64)
    y = torch.tensor([[[0.0, 4.0], [1.0, math.sqrt(3)], [-2.0, 0.0]]], dtype=torch.float64)
    assert gram(x, y[:, :1], "rbf", bandwidths=5.0).item() == pytest.approx(math.exp(-0.5), rel=1e-14)
    assert gram(x, y[:, :1], "laplacian", bandwidths=2.5).item() == pytest.approx(math.exp(-2), rel=1e-14)
    found = gram(x, y[:, :1], "inverse_multiquadric", bandwidths=5.0)
    assert found.item() == pytest.approx(0.5**0.5, rel=1e-14)
    # One layer: n k1(c), and with n k0(c) c the tangent kernel; n = |x| |y| / 2.
    k1 = [1 / math.pi, (math.sqrt(3) / 2 + math.pi * 2 / 3 / 2) / math.pi, 0]
    k0 = [1 / 2, 2 / 3, 0]
    norms, cosines = [6, 3, 3], [0, 0.5, -1]
    nngp = torch.tensor([[[n * k for n, k in zip(norms, k1, strict=True)]]], dtype=torch.float64)
    tangent = torch.tensor([[[n * k * c for n, k, c in zip(norms, k0, cosines, strict=True)]]]).double()
    assert_near(gram(x, y, "nngp"), nngp, 1e-14)
    assert_near(gram(x, y, "ntk"), nngp + tangent, 1e-14)


@pytest.mark.parametrize("name", KERNELS)
def test_diagonal(name):
    kernel, options = KERNELS[name]
    x, _ = inputs((2, 6, 1, 5))
    found, whole = gram_diagonal(x, kernel, **options), gram(x, x, kernel, **options)
    assert_near(found, whole.diagonal(dim1=1, dim2=2), 1e-14)
    up = torch.randn(found.shape, generator=generator(3), dtype=torch.float64)
    mine = torch.autograd.grad((found * up).sum(), x)[0]
    theirs = torch.autograd.grad((whole.diagonal(dim1=1, dim2=2) * up).sum(), x)[0]
    assert_near(mine, theirs, 1e-12)


def test_only_the_gradient_asked_for():
    x, y = inputs((2, 4, 3, 5))
    for name in KERNELS:
        both = torch.autograd.grad(of(name)(x, y).square().sum(), [x, y])
        one = torch.autograd.grad(of(name)(x.detach(), y).square().sum(), y)[0]
        other = torch.autograd.grad(of(name)(x, y.detach()).square().sum(), x)[0]
        assert torch.equal(both[0], other)
        assert torch.equal(both[1], one)


STRIDED = {
    "transposed": lambda t: t.transpose(1, 2),
    "sliced": lambda t: t[:, 1:5, 2:],
    "stepped": lambda t: t[:, ::2, ::3],
    "expanded": lambda t: t[:1].expand(2, -1, -1),
}


@pytest.mark.parametrize("kind", STRIDED)
@pytest.mark.parametrize("name", ["rbf", "ntk", "polynomial"])
def test_strided_inputs(kind, name):
    x, y = (t.detach() for t in inputs((2, 8, 8, 8)))
    x, y = STRIDED[kind](x).requires_grad_(), STRIDED[kind](y.flip(0)).requires_grad_()
    check_everything(name, [x, y], 1e-10)


UPSTREAM = {
    "a number": lambda g: g[:1, :1, :1].expand_as(g),
    "a row": lambda g: g[:, :1].expand_as(g),
    "a column": lambda g: g[:, :, :1].expand_as(g),
    "transposed": lambda g: g.mT.contiguous().mT,
    "stepped": lambda g: torch.stack([g, g], -1)[..., 0],
}


@pytest.mark.parametrize("kind", UPSTREAM)
def test_strided_gradients(kind):
    x, y = inputs((2, 5, 6, 3))
    up = UPSTREAM[kind](torch.randn(2, 5, 6, generator=generator(4, kind), dtype=torch.float64))
    for name in ("rbf", "ntk"):
        found = torch.autograd.grad(of(name)(x, y), [x, y], up)
        expected = torch.autograd.grad(plain_of(name)(x, y), [x, y], up)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other, 1e-10)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 2, 0)], ids=str)
def test_empty(shape, name):
    x, y = inputs(shape)
    out = of(name)(x, y)
    assert out.shape == shape[:3]
    for gradient, of_what in zip(torch.autograd.grad(out.sum(), [x, y]), (x, y), strict=True):
        assert torch.equal(gradient, torch.zeros_like(of_what))
    kernel, options = KERNELS[name]
    assert gram_diagonal(x, kernel, **options).shape == shape[:2]
    if shape[3] == 0 and "biases" not in name:
        value = {"polynomial": 0.125 if "degree 1" not in name else 1.0, "rbf": 3.0, "laplacian": 2.0}
        value["inverse_multiquadric"] = 1.0
        assert torch.equal(out, torch.full_like(out, value.get(kernel, 0.0)))


@pytest.mark.parametrize("name", KERNELS)
def test_not_a_number_stays_in_its_row(name):
    x, y = inputs((2, 4, 5, 3), grad=False)
    x[0, 1, 2] = torch.nan
    y[1, 3, 0] = torch.inf
    out = of(name)(x, y)
    assert out[0, 1].isnan().all()
    assert not out[0, [0, 2, 3]].isnan().any()
    assert not out[1, :, [0, 1, 2, 4]].isnan().any()


@pytest.mark.parametrize("name", KERNELS)
def test_threads_do_not_change_a_bit(name):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(derivatives(of(name), inputs((2, 130, 65, 7), torch.float32)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


BAD = [
    (lambda x, y: (x.half(), y), {}, TypeError, "x must be float32 or float64, found torch.float16"),
    (lambda x, y: (x.bfloat16(), y), {}, TypeError, r"found torch.bfloat16; use x.float\(\)"),
    (lambda x, y: (x, y.long()), {}, TypeError, "y must be float32 or float64, found torch.int64"),
    (
        lambda x, y: (x, y.float()),
        {},
        TypeError,
        "y must have x's dtype torch.float64, found torch.float32",
    ),
    (lambda x, y: (x.to_sparse(), y), {}, TypeError, "x must be dense"),
    (lambda x, y: (x, y.numpy()), {}, TypeError, "y must be a tensor, found ndarray"),
    (lambda x, y: (x, y.to("meta")), {}, ValueError, "y must be on x's device cpu, found meta"),
    (lambda x, y: (x[0], y[0]), {}, ValueError, r"\(B, N, D\), found shape \(3, 5\); use x\[None\]"),
    (lambda x, y: (x, y[0]), {}, ValueError, r"\(B, M, D\), found shape \(4, 5\); use y\[None\]"),
    (lambda x, y: (x[None], y), {}, ValueError, r"found shape \(1, 2, 3, 5\)$"),
    (lambda x, y: (x, y[:1]), {}, ValueError, r"B = 2 and D = 5 as in x, found shape \(1, 4, 5\)"),
    (lambda x, y: (x, y[..., :4]), {}, ValueError, r"found shape \(2, 4, 4\)"),
    (
        lambda x, y: (x, y),
        {"kernel": "rfb"},
        ValueError,
        r"one of linear, .*, ntk; found 'rfb' .did you mean 'rbf'",
    ),
    (lambda x, y: (x, y), {"kernel": None}, ValueError, "found None"),
    (lambda x, y: (x, y), {"bandwidths": (1.0, 0.0)}, ValueError, r"finite and greater than 0.*found 0\.0"),
    (lambda x, y: (x, y), {"bandwidths": -1}, ValueError, "found -1.0"),
    (lambda x, y: (x, y), {"bandwidths": math.nan}, ValueError, "found nan"),
    (lambda x, y: (x, y), {"bandwidths": math.inf}, ValueError, "found inf"),
    (lambda x, y: (x, y), {"bandwidths": ()}, ValueError, "1 to 64 numbers, found 0"),
    (lambda x, y: (x, y), {"bandwidths": [1.0] * 65}, ValueError, "1 to 64 numbers, found 65"),
    (lambda x, y: (x, y), {"degree": 0}, ValueError, "degree must be at least 1, found 0"),
    (lambda x, y: (x, y), {"degree": 2.0}, TypeError, "degree must be an integer, found 2.0"),
    (lambda x, y: (x, y), {"depth": 0}, ValueError, "depth must be at least 1, found 0"),
    (lambda x, y: (x, y), {"depth": True}, TypeError, "depth must be an integer, found True"),
    (lambda x, y: (x, y), {"scale": math.inf}, ValueError, "scale must be finite, found inf"),
    (lambda x, y: (x, y), {"offset": math.nan}, ValueError, "offset must be finite, found nan"),
    (lambda x, y: (x, y), {"bandwidths": 1e-75}, ValueError, r"\(1e-75 for rows computed in torch.float64"),
    (lambda x, y: (x.float(), y.float()), {"bandwidths": (1, 1e-10)}, ValueError, r"1e-10; scale rows and"),
    (lambda x, y: (x, y), {"weight_variance": 0}, ValueError, "weight_variance must be greater than 0"),
    (lambda x, y: (x, y), {"bias_variance": -0.1}, ValueError, "bias_variance must be 0 or more"),
]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"), BAD, ids=[message for *_, message in BAD]
)
def test_refused_by_name(change, options, error, message):
    with pytest.raises(error, match=message) as caught:
        gram(*change(*inputs((2, 3, 4, 5), grad=False)), **options)
    assert str(caught.value).startswith("gram: ")


def test_diagonal_refuses_by_name():
    x, _ = inputs((2, 3, 1, 5), grad=False)
    with pytest.raises(ValueError, match=r"gram_diagonal: x must be \(B, N, D\)"):
        gram_diagonal(x[0])
    with pytest.raises(ValueError, match="gram_diagonal: depth must be at least 1, found 0"):
        gram_diagonal(x, "ntk", depth=0)


def test_bandwidths_of_any_kind():
    x, y = inputs((2, 3, 4, 5), grad=False)
    expected = gram(x, y, bandwidths=(0.5, 2.0))
    assert torch.equal(gram(x, y, bandwidths=torch.tensor([0.5, 2.0])), expected)
    assert torch.equal(gram(x, y, bandwidths=iter([0.5, 2])), expected)
    assert torch.equal(gram(x, y, bandwidths=torch.tensor(2.0)), gram(x, y, bandwidths=2))


@pytest.mark.parametrize("name", KERNELS)
def test_autocast_takes_no_digits(name):
    x, y = inputs((1, 3, 4, 5), torch.float32, grad=False)
    with torch.autocast("cpu", torch.bfloat16):
        found = of(name)(x, y)
    assert torch.equal(found, of(name)(x, y))


def test_reference_only_gives_the_reference():
    x, y = inputs((2, 3, 4, 3))
    for name in KERNELS:
        with ops.reference_only():
            out = of(name)(x, y)
            (first,) = torch.autograd.grad((out**3).sum(), x, create_graph=True)
            (second,) = torch.autograd.grad((first**3).sum(), x, create_graph=True)
            (third,) = torch.autograd.grad((second**2).sum(), x)
        assert_near(out, plain_of(name)(x, y), 1e-12)
        assert third.abs().max() > 0


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [*SHAPES[2:], (2, 150, 130, 64)], ids=str)
def test_values_and_derivatives_on_cuda(shape, name, dtype):
    check_everything(name, inputs(shape, dtype, device="cuda"), TOLERANCE[dtype])
