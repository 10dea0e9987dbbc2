"""siamese_augment: values and derivatives against the plain transforms in float64, and what it promises."""

import importlib
import itertools

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pydistill import ops
from pydistill.augment import TRANSFORMS, Augmentation, Parameters
from pydistill.ops import _siamese_plain as plain
from pydistill.ops import siamese_augment
from pydistill.seeds import generator
from tests.ops.test_norm_relu_pool import FORMATS, STRIDED, assert_near

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 1e-2}
ALL = tuple(TRANSFORMS)
COMBINATIONS = [*itertools.combinations(ALL, 1), *itertools.combinations(ALL, 2), ALL]
SHAPES = [
    (5, 1, 7, 6),
    (1, 1, 5, 9),
    (3, 2, 6, 5),
    (7, 3, 5, 8),
    (2, 4, 9, 4),
    (3, 7, 4, 7),
    (2, 3, 1, 1),
    (2, 9, 3, 1),
    (2, 3, 1, 6),
]
WILD = {
    "shrunk": {"scale_y": 3.7, "scale_x": 2.2},
    "one point": {"scale_y": 0, "scale_x": 0},
    "enlarged": {"scale_y": 0.21, "scale_x": 0.4, "angle": 1.0},
    "mirrored by scale": {"scale_y": -1, "scale_x": -0.5},
    "turned about": {"angle": 2.6, "flip": 1, "shift_x": 2},
    "right angle": {"angle": torch.pi / 2, "scale_x": 1.5},
    "moved out": {"shift_y": 40, "scale_x": 1.1},
    "moved far out": {"shift_x": -3e9, "flip": 1},
    "cut beyond": {"cut_top": -9, "cut_left": 1, "cut_bottom": 2, "cut_right": 3e9, "flip": 1},
    "cut by halves": {"cut_top": 0.5, "cut_left": 1.5, "cut_bottom": 2.5, "cut_right": 3.0},
    "cut inside out": {"cut_top": 3, "cut_left": 1, "cut_bottom": 1, "cut_right": 3},
    "moved and cut": {
        "shift_y": -1,
        "shift_x": 2,
        "cut_bottom": 3,
        "cut_right": 2,
        "flip": 1,
        "angle": 0.2,
    },
}


def draw(names, groups, size, seed=0):
    """Rows with these transforms active; every other row is mirrored where flips are asked for."""
    rng = generator(seed, "rows", *names)
    values = Augmentation(tuple(names), "all").sample(groups, rng, together=True, size=size).values
    if "flip" in names:
        values[:, Parameters.COLUMNS.index("flip")] = torch.arange(groups) % 2 == 0
    return values


def row(size, **columns):
    parameters = Parameters.identity(1, size)
    for name, value in columns.items():
        parameters.column(name)[:] = value
    return parameters.values


def batch(shape, dtype=torch.float64, fmt="nchw", device="cpu"):
    x = torch.randn(shape, generator=generator(1, *shape), dtype=torch.float64).to(dtype)
    return x.to(device, memory_format=FORMATS[fmt]).requires_grad_()


def defined(images, values, rows):
    """The plain transforms."""
    return plain.apply(images, values[rows])


def derivatives(function, images):
    """Output, gradient for a random direction, and the direction's own gradient."""
    rng = generator(2, "directions")
    draw = lambda t: torch.randn(t.shape, generator=rng, dtype=torch.float64).to(t)  # noqa: E731
    out = function(images)
    up = draw(out).requires_grad_()
    (first,) = torch.autograd.grad(out, images, up, create_graph=True)
    return [out, first, *torch.autograd.grad(first, up, draw(first))]


def check(images, values, rows, tolerance=None):
    exact = images.detach().double().cpu().requires_grad_()
    found = derivatives(lambda x: siamese_augment(x, values, rows), images)
    expected = derivatives(lambda x: defined(x, values, rows), exact)
    for name, one, other in zip(["out", "grad", "grad grad"], found, expected, strict=True):
        assert_near(one.cpu(), other, tolerance or TOLERANCE[images.dtype], name)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("names", COMBINATIONS, ids="_".join)
def test_every_combination(names, fmt):
    size = (7, 6)
    values, rows = draw(names, 3, size), torch.tensor([0, 0, 0, 0, 0, 1, 2, 2, 0])
    for dtype in TOLERANCE:
        for channels in (1, 3):
            check(batch((9, channels, *size), dtype, fmt), values, rows)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_awkward_shapes(shape, fmt, dtype):
    for names in (ALL, ("color",), ("crop", "flip"), ("scale",)):
        values = draw(names, 2, shape[2:])
        check(batch(shape, dtype, fmt), values, torch.arange(shape[0]) // 3 % 2)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", WILD)
def test_parameters_outside_the_published_ranges(kind, fmt):
    values = row((5, 7), **WILD[kind])
    for dtype in (torch.float64, torch.float32):
        check(batch((3, 3, 5, 7), dtype, fmt), values, torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("fmt", FORMATS)
def test_images_larger_than_shared_memory(fmt):
    shape = (2, 3, 66, 70)
    check(batch(shape, torch.float32, fmt), draw(ALL, 2, shape[2:]), torch.tensor([1, 0]), 1e-4)


@pytest.mark.parametrize("kind", STRIDED)
def test_strided_images(kind):
    x = STRIDED[kind](torch.randn(4, 12, 10, 12, generator=generator(3, kind), dtype=torch.float64))
    check(x.requires_grad_(), draw(ALL, 1, x.shape[2:]), torch.zeros(len(x), dtype=torch.int64))


def test_strided_parameters_and_gradients():
    x = batch((4, 2, 6, 5))
    values, rows = draw(ALL, 3, (6, 5)), torch.tensor([2, 0, 1, 1])
    wide = torch.zeros(3, 26)
    wide[:, ::2] = values
    up = torch.ones(1, 1, 6, 1, dtype=torch.float64).expand(4, 2, 6, 5)
    function = lambda x: siamese_augment(x, wide[:, ::2], rows.repeat_interleave(2)[::2])  # noqa: E731
    for one, other in (
        (function(x), defined(x, values, rows)),
        (
            torch.autograd.grad(function(x), x, up)[0],
            torch.autograd.grad(defined(x, values, rows), x, up)[0],
        ),
    ):
        assert_near(one, other, 1e-10)


def test_by_hand():
    """Brightness adds, then the picture moves up by one, is mirrored and loses its upper left pixel."""
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    values = row((2, 2), brightness=0.5, shift_y=1, cut_bottom=1, cut_right=1, flip=1)
    assert siamese_augment(image, values).tolist() == [[[[4.5, 0.0], [0.0, 0.0]]]]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("fmt", FORMATS)
def test_identity_and_moves_are_exact(fmt, dtype):
    size = (6, 7)
    for channels, names in itertools.product((1, 3, 5), ((), ("crop",), ("cutout",), ("flip",), ALL[1:4])):
        x = batch((4, channels, *size), dtype, fmt)
        values, rows = draw(names, 3, size, seed=4), torch.tensor([0, 1, 1, 2])
        out = siamese_augment(x, values, rows)
        assert torch.equal(out, defined(x, values, rows))
        assert set(out.flatten().tolist()) <= {0.0, *x.flatten().tolist()}
        (grad,) = torch.autograd.grad(out, x, x.detach())
        assert set(grad.flatten().tolist()) <= {0.0, *x.flatten().tolist()}
    mixed = draw(ALL, 4, size)
    mixed[::2] = torch.tensor(Parameters.IDENTITY)
    assert torch.equal(siamese_augment(x, mixed)[::2], x[::2])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_format_and_dtype_are_kept(fmt, dtype):
    x = batch((3, 6, 4, 8), dtype, fmt)
    for names in (ALL, ("flip",), ("color",)):
        out = siamese_augment(x, draw(names, 1, (4, 8)))
        (grad,) = torch.autograd.grad(out, x, torch.ones_like(out))
        assert out.is_contiguous(memory_format=FORMATS[fmt])
        assert out.dtype == grad.dtype == dtype


@pytest.mark.compiled
@pytest.mark.parametrize("fmt", FORMATS)
def test_the_gradient_lies_as_the_images_do(fmt):
    x = batch((3, 6, 4, 8), fmt=fmt)
    out = siamese_augment(x, draw(ALL, 1, (4, 8)))
    other = torch.ones_like(out, memory_format=FORMATS["nchw" if fmt == "nhwc" else "nhwc"])
    for up in (other, torch.ones((), dtype=x.dtype).expand_as(out)):
        (grad,) = torch.autograd.grad(out, x, up, retain_graph=True)
        assert grad.is_contiguous(memory_format=FORMATS[fmt])


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("names", [ALL, *itertools.combinations(ALL, 1)], ids="_".join)
def test_backward_is_the_adjoint(names, fmt):
    x, values = batch((4, 3, 6, 5), fmt=fmt), draw(names, 4, (6, 5), seed=5)
    y = torch.randn(x.shape, generator=generator(6), dtype=torch.float64)
    values[:, Parameters.COLUMNS.index("brightness")] = 0
    out = siamese_augment(x, values)
    (back,) = torch.autograd.grad(out, x, y)
    assert (out * y).sum().item() == pytest.approx((x * back).sum().item(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 1, 5, 3), (1, 2, 2, 3)], ids=str)
def test_gradcheck(shape, fmt):
    values = draw(ALL, shape[0], shape[2:])
    cube = lambda x: siamese_augment(x, values) ** 3  # noqa: E731
    assert gradcheck(cube, batch(shape, fmt=fmt))
    assert gradgradcheck(cube, batch(shape, fmt=fmt))


def test_derivatives_of_any_order():
    values = draw(ALL, 2, (4, 5))
    rows = torch.arange(2)

    def fourth(function):
        x = batch((2, 3, 4, 5))
        value = (function(x) ** 5).sum()
        for _ in range(4):
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            value = (slope**2).sum()
        return slope.detach()

    found, expected = (
        fourth(lambda x: siamese_augment(x, values)),
        fourth(lambda x: defined(x, values, rows)),
    )
    assert expected.abs().max() > 0
    assert_near(found, expected, 1e-9)


def test_rows_say_which_image_is_transformed_how():
    x, values = batch((6, 3, 5, 5)), draw(ALL, 3, (5, 5))
    rows = torch.tensor([2, 0, 1, 1, 2, 0])
    expected = torch.cat([siamese_augment(x[n : n + 1], values[r : r + 1]) for n, r in enumerate(rows)])
    assert torch.equal(siamese_augment(x, values, rows), expected)
    assert torch.equal(siamese_augment(x, values[rows]), expected)
    assert torch.equal(siamese_augment(x, values[1:2]), siamese_augment(x, values, torch.ones_like(rows)))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_out_the_same_wherever_it_stands(channels):
    image = batch((1, channels, 6, 7), torch.float32)
    for names in (ALL, ("color",), ("rotate",)):
        many = siamese_augment(image.expand(11, -1, -1, -1), draw(names, 1, (6, 7)))
        assert (many == many[:1]).all()


@pytest.mark.parametrize("fmt", FORMATS)
def test_empty_batch(fmt):
    for groups in (0, 1, 2):
        rows = torch.zeros(0, dtype=torch.int64) if groups == 2 else None
        found = derivatives(
            lambda x, g=groups, r=rows: siamese_augment(x, draw(ALL, g, (4, 4)), r),
            batch((0, 3, 4, 4), fmt=fmt),
        )
        assert [tuple(t.shape) for t in found] == [(0, 3, 4, 4)] * 3


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_not_a_number_stays_in_its_image(channels, fmt):
    x = batch((5, channels, 6, 6), fmt=fmt).detach()
    x[2, 0, 3, 2] = torch.nan
    out = siamese_augment(x, draw(ALL, 1, (6, 6)))
    assert out[2].isnan().any()
    assert not out[[0, 1, 3, 4]].isnan().any()


@pytest.mark.parametrize("fmt", FORMATS)
def test_threads_do_not_change_a_bit(fmt):
    values = draw(ALL, 5, (12, 12))
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        x = batch((150, 3, 12, 12), torch.float32, fmt)
        results.append(derivatives(lambda x: siamese_augment(x, values, torch.arange(150) // 30), x))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.compiled
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_instruction_set(fmt, dtype):
    extension = importlib.import_module("pydistill._C")
    before = extension.build_info()["cpu_level"]
    try:
        for level in extension.cpu_levels():
            extension.use_cpu_level(level)
            for shape in ((5, 1, 9, 35), (3, 3, 20, 18), (2, 6, 7, 7)):
                check(batch(shape, dtype, fmt), draw(ALL, 2, shape[2:]), torch.arange(shape[0]) % 2)
                check(batch(shape, dtype, fmt), draw(ALL[:4], 2, shape[2:]), torch.arange(shape[0]) % 2)
    finally:
        extension.use_cpu_level(before)


def test_reference_only_gives_the_reference():
    x, values = batch((3, 3, 4, 5)), draw(ALL, 3, (4, 5))
    with ops.reference_only():
        out = siamese_augment(x, values)
    assert torch.equal(out, defined(x, values, torch.arange(3)))


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [*SHAPES, (64, 3, 32, 32), (2, 3, 150, 130)], ids=str)
def test_values_and_derivatives_on_cuda(shape, fmt, dtype):
    for names in (ALL, ("color",), ("crop", "flip"), ("scale",)):
        values, rows = draw(names, 2, shape[2:]), torch.arange(shape[0]) // 3 % 2
        check(batch(shape, dtype, fmt, "cuda"), values, rows, max(TOLERANCE[dtype], 1e-4))
