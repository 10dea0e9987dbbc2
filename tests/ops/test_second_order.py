"""Convolutions by their own second derivatives: every kind against torch's in float64."""

import pytest
import torch

from pydistill import ops
from pydistill.ops.second_order import convolution, second_order
from pydistill.seeds import generator

# maps, filters, (stride, padding, dilation, groups)
KINDS = {
    "winograd": ((8, 16, 9, 8), (32, 16, 3, 3), (1, 1, 1, 1)),
    "images": ((6, 3, 12, 12), (16, 3, 3, 3), (1, 1, 1, 1)),
    "strided": ((4, 6, 9, 9), (8, 6, 3, 3), (2, 1, 1, 1)),
    "wide": ((2, 3, 10, 10), (4, 3, 5, 5), (1, (2, 1), 1, 1)),
    "dilated groups": ((2, 4, 9, 9), (6, 2, 3, 3), (1, 2, 2, 2)),
}


def drawn(shape, dtype):
    values = torch.randn(shape, generator=generator(0, "second order", *shape), dtype=torch.float64)
    return values.float().to(dtype)


def derivatives(function, kind, dtype, given):
    """Value, gradients and gradients of those; inputs (x, weight, bias) that are `given` need none."""
    maps, filters, numbers = KINDS[kind]
    parts = [drawn(maps, dtype), drawn(filters, dtype) / 4, drawn(filters[:1], dtype)]
    parts = [part.requires_grad_(name not in given) for part, name in zip(parts, "xwb", strict=True)]
    y = function(*parts, *numbers)
    up = drawn(y.shape, dtype).requires_grad_()
    wanted = [part for part in parts if part.requires_grad]
    first = torch.autograd.grad(y, wanted, up, create_graph=True)
    mix = sum((drawn(part.shape, dtype) * part).sum() for part in first)
    second = torch.autograd.grad(mix, [up, *wanted], allow_unused=True, materialize_grads=True)
    return [y, *first, *second]


@pytest.mark.parametrize("given", ["", "x", "w", "b"])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_torchs_own(kind, given):
    found = derivatives(convolution, kind, torch.float32, given)
    for one, true in zip(found, derivatives(torch.conv2d, kind, torch.float64, given), strict=True):
        assert one.shape == true.shape
        assert (one.double() - true).norm() <= 3e-6 * true.norm()


def test_within_the_mode_networks_use_it():
    x, weight = drawn((2, 3, 8, 8), torch.float32), drawn((4, 3, 3, 3), torch.float32).requires_grad_()
    layer = torch.nn.Conv2d(3, 4, 3)
    with second_order():
        assert "_Forward" in type(torch.conv2d(x, weight).grad_fn).__name__
        assert layer(x).shape == (2, 4, 6, 6)
    assert "_Forward" not in type(torch.conv2d(x, weight).grad_fn).__name__
    with second_order(twice=False):
        assert "_Forward" not in type(torch.conv2d(x, weight).grad_fn).__name__


def test_padding_by_name_and_single_images_are_torchs_own():
    x, weight = drawn((2, 3, 8, 8), torch.float32), drawn((4, 3, 3, 3), torch.float32)
    same = torch.conv2d(x, weight, padding="same")
    assert torch.equal(convolution(x, weight, padding="same"), same)
    torch.testing.assert_close(convolution(x[0], weight, padding=1), same[0])


def test_the_reference_needs_no_kernels():
    with ops.reference_only():
        test_derivatives_are_torchs_own("winograd", "")
