"""Every operator on random shapes, strides, dtypes and values: kernel against reference."""

import pytest
import torch

from pydistill.ops import conv3x3, gradient_distance, gram, mmd, norm_relu_pool, siamese_augment
from pydistill.ops._siamese_plain import COLUMNS, IDENTITY
from pydistill.ops.conv3x3 import fits
from tests.ops.fuzz import KINDS, UNITS, Draw, check

SEEDS = range(24)


def everywhere(test):
    """Every seed on the CPU's kernels, and on a GPU's where there is one."""
    gpu = pytest.param("cuda", marks=pytest.mark.cuda)
    test = pytest.mark.parametrize("device", ["cpu", gpu])(test)
    return pytest.mark.compiled(pytest.mark.parametrize("seed", SEEDS)(test))


@everywhere
def test_gradient_distance(seed, device):
    draw = Draw("gradient_distance", seed, device)
    dtype, kind, values = (
        draw.pick(of) for of in ((torch.float32, torch.float64), ("cosine", "l2", "l1"), KINDS)
    )
    size = draw.size()
    shape, cut = (draw.pick((0, 1, 2, 5)), size), sorted({0, size, int(draw.number(0, size + 1))})
    x, y = (draw.values(shape, dtype, values) for _ in "xy")
    if values == "not finite" and draw.pick((True, False)):
        y = x.clone()
    unit = 1 / max(UNITS.get(values, 1.0), 1.0)  # of a cosine's gradient, of which little may be left
    least = (1.0, unit, unit) if kind == "cosine" else ()
    check(draw, lambda x, y: gradient_distance(x, y, cut, kind), [x, y], least=least)


@everywhere
def test_gram(seed, device):
    draw = Draw("gram", seed, device)
    dtype = draw.pick((torch.float32, torch.float64))
    kernel = draw.pick(("linear", "polynomial", "rbf", "laplacian", "inverse_multiquadric", "nngp", "ntk"))
    features = draw.size(2 if kernel in ("nngp", "ntk") else 1)
    batch = draw.pick((0, 1, 2))
    kind = draw.pick(KINDS)
    if kind == "denormal" and kernel in ("laplacian", "nngp", "ntk"):
        kind = "ordinary"  # rows that coincide in one dtype and not in the other have other slopes there
    few = (1, 2) if kind == "not finite" else (0, 1)  # of no pairs a row that is not finite has no gradient
    x, y = (draw.values((batch, draw.pick((*few, 3, 7, 34)), features), dtype, kind) for _ in "xy")
    unit = UNITS.get(kind, 1.0) * features**0.5
    options = {
        "bandwidths": (draw.number(0.3, 3) * unit, unit),
        "degree": draw.pick((1, 2)),
        "depth": draw.pick((1, 2, 3)),
        "bias_variance": draw.pick((0.0, 0.1)),
    }
    check(draw, lambda x, y: gram(x, y, kernel, **options), [x, y])


@everywhere
def test_mmd(seed, device):
    draw = Draw("mmd", seed, device)
    dtype = draw.pick((torch.float32, torch.float64, torch.bfloat16))
    batch, features, unbiased = draw.pick((0, 1, 3)), draw.size(), draw.pick((True, False))
    kind = draw.pick(KINDS)
    x, y = (draw.values((batch, draw.size(2), features), dtype, kind) for _ in "xy")
    unit = UNITS.get(kind, 1.0) * features**0.5
    check(draw, lambda x, y: mmd(x, y, [unit, 2 * unit], unbiased), [x, y], loose=4)


@everywhere
def test_norm_relu_pool(seed, device):
    draw = Draw("norm_relu_pool", seed, device)
    dtype = draw.pick((torch.float32, torch.float64, torch.bfloat16))
    groups, channels = draw.pick((1, 2)), draw.size()
    shape = (groups * draw.pick((0, 1, 2)), channels, draw.size(2), draw.size(3))
    x = draw.values(shape, dtype, draw.pick(KINDS))
    weight, bias = (draw.values((groups, channels), dtype) for _ in "wb")
    check(draw, norm_relu_pool, [x, weight, bias])


def effects(draw, count, size):
    """Rows of parameters, each with some of the transforms."""
    rows = []
    for _ in range(count):
        asked = [draw.pick((True, False)) for _ in range(6)]
        row = dict(zip(COLUMNS, (0.0, 1.0, 1.0, 0, 0, 0, 0, 0, 0, 0, 1.0, 1.0, 0.0), strict=True))
        if asked[0]:
            row |= {name: draw.pick((row[name], draw.number(0.3, 1.7))) for name in COLUMNS[:3]}
        if asked[1]:
            row |= {"shift_y": int(draw.number(-size[0], size[0])), "shift_x": int(draw.number(-3, 4))}
        if asked[2]:
            top, left = (int(draw.number(-2, edge)) for edge in size)
            row |= {"cut_top": top, "cut_left": left, "cut_bottom": top + 3, "cut_right": left + 2}
        row["flip"] = float(asked[3])
        if asked[4]:
            row |= {name: draw.number(0.7, 1.3) for name in ("scale_y", "scale_x")}
        if asked[5]:
            row["angle"] = draw.number(-0.6, 0.6)
        rows.append([float(row[name]) for name in COLUMNS])
    return torch.tensor(rows)


@everywhere
def test_siamese_augment(seed, device):
    draw = Draw("siamese_augment", seed, device)
    dtype = draw.pick((torch.float32, torch.float64, torch.bfloat16))
    kind, size = draw.pick(KINDS), tuple(draw.size() for _ in "hw")
    if kind == "not finite":
        # The middle of an odd size is sampled at a whole number, but for rounding, which then decides what
        # pixel beside it counts with a weight of 0.
        size = tuple(2 * (edge // 2) + 2 for edge in size)
    images = draw.values((draw.pick((0, 1, 2, 5, 9)), draw.pick((1, 2, 3, 5)), *size), dtype, kind)
    values = draw.strided(effects(draw, draw.pick((1, 3)), size))
    rows = torch.tensor([draw.pick(range(len(values))) for _ in images], dtype=torch.int64)
    check(draw, lambda images: siamese_augment(images, values, rows), [images])


def small_convolution(draw, kind):
    """Maps that the kernels take, filters and shifts."""
    into, out = draw.pick((1, 3, 15, 16, 32)), draw.pick((16, 32))
    x = draw.values((draw.pick((4, 5, 7)), into, draw.size(7), draw.size(7)), torch.float32, kind)
    return [x, draw.values((out, into, 3, 3), torch.float32), draw.values((out,), torch.float32)]


@pytest.mark.cpu_only
@pytest.mark.parametrize("seed", SEEDS)
def test_conv3x3(seed):
    draw = Draw("conv3x3", seed)
    given = small_convolution(draw, draw.pick(("ordinary", "huge", "tiny", "denormal")))
    assert fits(*given[:2])
    check(draw, conv3x3, given)


@pytest.mark.cpu_only
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("channels", [3, 16])
def test_conv3x3_keeps_what_is_not_finite_to_the_tiles_that_read_it(value, channels):
    """Not to torch's nine pixels: Winograd's tiles are sums and differences of all they read."""
    draw = Draw("conv3x3", channels)
    x, weight = torch.zeros(4, channels, 13, 13), draw.values((16, channels, 3, 3), torch.float32)
    x[1, 2, 8, 5] = value
    found = ~conv3x3(x, weight).isfinite()
    assert found[1, :, 7:10, 4:7].all()
    found[1, :, 4:12, 4:8] = False  # the tiles from rows 4 and 8, and from column 4
    assert not found.any()


def test_what_is_not_finite_stays_where_siamese_augment_puts_it():
    """Cleared in a window; spread by means that a row asks for, and by no others."""
    images = torch.zeros(4, 3, 8, 8)
    images[:, 1, 2, 3] = float("nan")
    rows = torch.tensor(IDENTITY).float().repeat(4, 1)
    rows[0, [COLUMNS.index(name) for name in ("cut_bottom", "cut_right")]] = 4.0
    rows[1, COLUMNS.index("brightness")] = 0.5
    rows[2, COLUMNS.index("saturation")] = 0.5
    rows[3, COLUMNS.index("contrast")] = 0.5
    for layout in (torch.contiguous_format, torch.channels_last):
        for one in range(4):  # each alone, and all together
            for given in (slice(one, one + 1), slice(0, 4)):
                found = siamese_augment(images[given].contiguous(memory_format=layout), rows[given])
                counts = (~found.isfinite()).sum((1, 2, 3)).tolist()
                assert counts == [0, 1, 3, 192][given]


@pytest.mark.parametrize("infinite", [float("inf"), -float("inf")])
def test_l1_at_an_infinity(infinite):
    x = torch.tensor([[infinite, infinite, 2.0, 3.0]], requires_grad=True)
    y = torch.tensor([[1.0, infinite, 2.0, 4.0]], requires_grad=True)
    out = gradient_distance(x, y, [0, 1, 2, 4], "l1")
    first = torch.autograd.grad(out.sum(), [x, y], create_graph=True)
    sign = 1.0 if infinite > 0 else -1.0
    expected = torch.tensor([[sign, float("nan"), 0.0, -1.0]])
    torch.testing.assert_close(out, torch.tensor([[float("inf"), float("nan"), 1.0]]), equal_nan=True)
    torch.testing.assert_close(first[0], expected, equal_nan=True)
    torch.testing.assert_close(first[1], -expected, equal_nan=True)
