"""norm_relu_pool: values and derivatives against a plain float64 formula, on every awkward shape."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pydistill import ops
from pydistill.ops import norm_relu_pool
from pydistill.seeds import generator

FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
SHAPES = [
    (2, 3, 8, 8),
    (3, 5, 7, 9),
    (1, 1, 2, 2),
    (2, 1, 5, 4),
    (1, 70, 3, 6),
    (2, 33, 6, 34),
    (4, 130, 2, 3),
]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 3e-2}
DTYPES = list(TOLERANCE)


def plain(x, weight, bias, eps=1e-5):
    """The definition, step by step; x (R, C, H, W), weight and bias (C,)."""
    mean = x.mean((2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    y = (x - mean) / (variance + eps).sqrt() * weight[:, None, None] + bias[:, None, None]
    y = y.clamp_min(0)[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))


def inputs(shape, dtype=torch.float64, fmt="nchw", grad=True, device="cpu"):
    rng = generator(0, "norm_relu_pool", *shape)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    weight = torch.rand(shape[1], generator=rng, dtype=torch.float64) + 0.5
    bias = torch.randn(shape[1], generator=rng, dtype=torch.float64)
    made = [t.to(device, dtype) for t in (x.to(memory_format=FORMATS[fmt]), weight, bias)]
    return [t.requires_grad_(grad) for t in made]


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
    scale = max(expected.abs().max().item(), 1e-3) if expected.numel() else 1
    error = (found.double() - expected.double()).abs().max().item() if expected.numel() else 0
    assert found.shape == expected.shape
    assert error <= tolerance * scale, f"{what}: error {error:.2e} against a scale of {scale:.2e}"


def check_everything(args, tolerance):
    exact = [t.detach().double().requires_grad_() for t in args]
    names = ["out", "grad x", "grad w", "grad b", "grad grad", "second x", "second w", "second b"]
    for name, found, expected in zip(
        names, derivatives(norm_relu_pool, args), derivatives(plain, exact), strict=True
    ):
        assert_near(found, expected, tolerance, name)


def test_by_hand():
    """Mean 2, variance 4.5 - 4 + eps; the normalised values are -1.5, -0.5, 0.5, 1.5 over the deviation."""
    x = torch.tensor([[[[0.5, 1.5], [2.5, 3.5]]]], dtype=torch.float64)
    out = norm_relu_pool(x, torch.tensor([2.0]).double(), torch.tensor([1.0]).double(), eps=0.75)
    deviation = (1.25 + 0.75) ** 0.5
    values = [max(2 * v / deviation + 1, 0) for v in (-1.5, -0.5, 0.5, 1.5)]
    assert out.shape == (1, 1, 1, 1)
    assert out.item() == pytest.approx(sum(values) / 4, rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_derivatives(shape, fmt, dtype):
    args = inputs(shape, dtype, fmt)
    with torch.no_grad():  # what bfloat16 cannot hold is not the operator's error
        args = [t.detach().to(dtype).requires_grad_() for t in args]
    check_everything(args, TOLERANCE[dtype])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 2, 5, 3), (1, 17, 2, 2)], ids=str)
def test_gradcheck(shape, fmt):
    args = inputs(shape, fmt=fmt)
    assert gradcheck(norm_relu_pool, args)
    assert gradgradcheck(norm_relu_pool, args)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_mean_small_deviation(fmt, dtype):
    """Variance is not a difference of two large numbers."""
    rng = generator(2, "offset")
    noise = torch.randn(2, 20, 16, 12, generator=rng, dtype=torch.float64)
    x = (noise * 0.05 + 300 if dtype == torch.float32 else noise + 20).to(dtype, memory_format=FORMATS[fmt])
    weight, bias = torch.ones(20, dtype=dtype), torch.zeros(20, dtype=dtype)
    found = norm_relu_pool(x, weight, bias)
    assert_near(
        found, plain(x.double(), weight.double(), bias.double()), 1e-2 if dtype == torch.bfloat16 else 2e-3
    )


@pytest.mark.parametrize("fmt", FORMATS)
def test_plane_larger_than_a_block_of_threads(fmt):
    check_everything(inputs((1, 2, 66, 50), torch.float32, fmt), 1e-4)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_format_and_dtype_are_kept(fmt, dtype):
    x, weight, bias = inputs((2, 6, 4, 8), dtype, fmt)
    out = norm_relu_pool(x, weight, bias)
    (grad,) = torch.autograd.grad(out.sum(), x)
    for tensor in (out, grad):
        assert tensor.dtype == dtype
        assert tensor.is_contiguous(memory_format=FORMATS[fmt])


STRIDED = {
    "sliced channels": lambda t: t[:, 2:9],
    "sliced channels, channels last": lambda t: t.to(memory_format=torch.channels_last)[:, 2:9],
    "sliced rows": lambda t: t[:, :, 1:8],
    "stepped": lambda t: t[::2, ::3, ::2, ::3],
    "transposed": lambda t: t.transpose(2, 3),
    "expanded": lambda t: t[:1].expand(3, -1, -1, -1),
    "flipped axes": lambda t: t.permute(1, 0, 3, 2),
}


@pytest.mark.parametrize("kind", STRIDED)
def test_strided_inputs(kind):
    x = STRIDED[kind](torch.randn(4, 12, 10, 12, generator=generator(3, kind), dtype=torch.float64))
    _, weight, bias = inputs((1, x.shape[1], 2, 2))
    plain_x = x.clone().requires_grad_()
    found = derivatives(
        lambda x, w, b: norm_relu_pool(x, w, b), [x.detach().requires_grad_(), weight, bias]
    )
    for one, other in zip(found, derivatives(plain, [plain_x, weight, bias]), strict=True):
        assert_near(one, other, 1e-10, kind)


def test_strided_weights_and_gradients():
    x, _, _ = inputs((2, 4, 6, 6))
    both = torch.rand(4, 2, dtype=torch.float64, generator=generator(4)) + 0.5
    weight, bias = both[:, 0].requires_grad_(), both[:, 1].detach().requires_grad_()
    up = torch.ones(1, 1, 3, 1, dtype=torch.float64).expand(2, 4, 3, 3)
    found = torch.autograd.grad(norm_relu_pool(x, weight, bias), [x, weight, bias], up)
    expected = torch.autograd.grad(plain(x, weight, bias), [x, weight, bias], up)
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-10)


@pytest.mark.parametrize("fmt", FORMATS)
def test_empty_batch(fmt):
    args = inputs((0, 3, 4, 4), fmt=fmt)
    found = derivatives(norm_relu_pool, args)
    assert found[0].shape == (0, 3, 2, 2)
    assert found[1].shape == (0, 3, 4, 4)
    for tensor in found[2:4]:
        assert torch.equal(tensor, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("fmt", FORMATS)
def test_not_a_number_stays_in_its_plane(fmt):
    x, weight, bias = inputs((2, 3, 4, 4), fmt=fmt, grad=False)
    x[0, 1, 2, 3] = torch.nan
    out = norm_relu_pool(x, weight, bias)
    assert out[0, 1].isnan().all()
    assert out.isnan().sum() == 4


@pytest.mark.parametrize("fmt", FORMATS)
def test_float32_weights_for_bfloat16_images(fmt):
    x, weight, bias = inputs((2, 5, 6, 6), torch.bfloat16, fmt, grad=False)
    weight, bias = (t.float().mul(1.003).requires_grad_() for t in (weight, bias))
    out = norm_relu_pool(x, weight, bias)
    gradients = torch.autograd.grad(out.float().sum(), [weight, bias])
    assert out.dtype == torch.bfloat16
    assert [g.dtype for g in gradients] == [torch.float32] * 2
    assert_near(out, plain(x.double(), weight.double(), bias.double()), 1e-2)


@pytest.mark.parametrize("fmt", FORMATS)
def test_groups_of_images_have_their_own_weights(fmt):
    x, _, _ = inputs((6, 5, 4, 6), fmt=fmt)
    weight = (torch.rand(3, 5, dtype=torch.float64, generator=generator(5)) + 0.5).requires_grad_()
    bias = torch.randn(3, 5, dtype=torch.float64, generator=generator(6)).requires_grad_()

    def one_by_one(x, weight, bias):
        parts = zip(x.chunk(3), weight, bias, strict=True)
        return torch.cat([plain(*part) for part in parts])

    found, expected = (derivatives(f, [x, weight, bias]) for f in (norm_relu_pool, one_by_one))
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other, 1e-10)


@pytest.mark.parametrize("fmt", FORMATS)
def test_threads_do_not_change_a_bit(fmt):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(derivatives(norm_relu_pool, inputs((8, 65, 16, 16), torch.float32, fmt)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


BAD = [
    (lambda x, w, b: (x.half(), w, b), TypeError, "float32, float64 or bfloat16, found torch.float16"),
    (lambda x, w, b: (x.long(), w, b), TypeError, "found torch.int64"),
    (lambda x, w, b: (x.to(torch.complex128), w, b), TypeError, "found torch.complex128"),
    (lambda x, w, b: (x.to_sparse(), w, b), TypeError, "must be dense"),
    (lambda x, w, b: (x.numpy(), w, b), TypeError, "must be a tensor, found ndarray"),
    (lambda x, w, b: (x, w.float(), b), TypeError, "weight must have x's dtype torch.float64"),
    (
        lambda x, w, b: (x.float(), w.float(), b.bfloat16()),
        TypeError,
        "bias must have x's dtype torch.float32",
    ),
    (lambda x, w, b: (x, w.to("meta"), b), ValueError, "weight must be on x's device cpu, found meta"),
    (lambda x, w, b: (x[0], w, b), ValueError, r"must be \(R, C, H, W\), found shape \(3, 4, 4\)"),
    (lambda x, w, b: (x[None], w, b), ValueError, r"must be \(R, C, H, W\)"),
    (lambda x, w, b: (x[:, :, :1], w, b), ValueError, "at least 2"),
    (lambda x, w, b: (x[:, :, :, :1], w, b), ValueError, "at least 2"),
    (lambda x, w, b: (x[:, :, :1, :1], w, b), ValueError, "at least 2"),
    (lambda x, w, b: (x[:, :0], w[:0], b[:0]), ValueError, "at least one channel"),
    (lambda x, w, b: (x, w[:2], b), ValueError, r"C = 3 .* found shape \(2,\)"),
    (lambda x, w, b: (x, w.expand(3, 3), b.expand(3, 3)), ValueError, "G a divisor of the 2 images"),
    (lambda x, w, b: (x, w[None, None], b), ValueError, "weight must be"),
    (lambda x, w, b: (x, w, b[:2]), ValueError, "bias must have weight's shape"),
    (lambda x, w, b: (x, w, b, 0.0), ValueError, "eps must be greater than 0, found 0.0"),
    (lambda x, w, b: (x, w, b, float("nan")), ValueError, "eps must be greater than 0, found nan"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_refused_by_name(change, error, message):
    with pytest.raises(error, match=message) as caught:
        norm_relu_pool(*change(*inputs((2, 3, 4, 4), grad=False)))
    assert str(caught.value).startswith("norm_relu_pool: ")


def test_reference_only_gives_the_reference():
    x, weight, bias = inputs((2, 3, 4, 4))
    with ops.reference_only():
        out = norm_relu_pool(x, weight, bias)
        (first,) = torch.autograd.grad((out**2).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x, create_graph=True)
        (third,) = torch.autograd.grad((second**2).sum(), x)
    assert_near(out, plain(x, weight, bias), 1e-12)
    assert third.abs().max() > 0


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 64, 32, 32), (2, 8, 150, 130)], ids=str)
def test_values_and_derivatives_on_cuda(shape, fmt, dtype):
    args = [t.detach().cuda().requires_grad_() for t in inputs(shape, dtype, fmt)]
    check_everything(args, TOLERANCE[dtype])
