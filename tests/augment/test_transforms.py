"""Each transform on a picture made by hand, and its derivatives."""

import math

import pytest
import torch
from torch.func import grad, vmap

from pydistill import seeds
from pydistill.augment import TRANSFORMS, Augmentation, Parameters

EVERY = Augmentation.parse("color_crop_cutout_flip_scale_rotate", "all")
LINEAR = ("crop", "cutout", "flip", "scale", "rotate")


def apply(images, **columns):
    """Apply with every row alike, these columns away from their identity."""
    parameters = Parameters.identity(len(images), tuple(images.shape[2:]))
    for name, value in columns.items():
        parameters.column(name)[:] = value
    return EVERY.apply_images(images, parameters)


def picture(height=4, width=5, channels=1):
    return torch.arange(1.0, 1 + channels * height * width).view(1, channels, height, width)


def draw(name, rows, size, seed=0):
    augmentation = Augmentation.parse(name)
    return augmentation, augmentation.sample(rows, seeds.generator(seed), together=True, size=size)


def test_crop_shifts_by_whole_pixels_and_lets_zeros_in():
    image = picture()
    shifted = apply(image, shift_y=1, shift_x=-2)
    assert torch.equal(shifted[0, 0, :3, 2:], image[0, 0, 1:, :3])
    assert (shifted[0, 0, 3] == 0).all()
    assert (shifted[0, 0, :, :2] == 0).all()
    assert (apply(image, shift_y=4) == 0).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_crop_by_more_than_the_image_leaves_nothing(layout):
    images = picture(channels=2).repeat(3, 1, 1, 1).to(memory_format=layout)
    parameters = Parameters.identity(3, (4, 5))
    parameters.column("shift_y")[:] = torch.tensor([0.0, 9.0, -4.0])
    done = EVERY.apply_images(images, parameters)
    assert torch.equal(done[0], images[0])
    assert (done[1:] == 0).all()


def test_cutout_clears_its_window_and_nothing_else():
    image = picture(6, 6, 2)
    cut = apply(image, cut_top=-1, cut_bottom=2, cut_left=3, cut_right=6)
    assert (cut[:, :, :2, 3:] == 0).all()
    assert (cut == 0).sum() == 2 * 2 * 3
    assert torch.equal(cut[cut != 0], image[cut != 0])


def test_a_cutout_drawn_clears_at_most_a_quarter_and_at_least_a_sixteenth():
    augmentation, parameters = draw("cutout", 200, (8, 8))
    cleared = (augmentation.apply_images(torch.ones(200, 1, 8, 8), parameters) == 0).sum((1, 2, 3))
    assert cleared.max() == 16
    assert cleared.min() == 4  # at a corner half of the window's height and half of its width are inside


def test_flip_reverses_left_and_right():
    image = picture()
    assert apply(image, flip=1)[0, 0, 0].tolist() == [5, 4, 3, 2, 1]
    assert torch.equal(apply(apply(image, flip=1), flip=1), image)


def test_brightness_adds():
    torch.testing.assert_close(apply(picture(), brightness=0.25), picture() + 0.25)


def test_saturation_moves_pixels_towards_their_grey_and_leaves_grey_images():
    image = torch.tensor([0.0, 3.0, 6.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert apply(image, saturation=0).flatten().tolist() == [3.0] * 12
    assert apply(image, saturation=2)[0, :, 0, 0].tolist() == [-3, 3, 9]
    torch.testing.assert_close(apply(picture(), saturation=0.3), picture())


def test_contrast_scales_about_the_images_mean():
    image = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]], [[[0.0, 0.0], [0.0, 8.0]]]])
    done = apply(image, contrast=0.5)
    assert done.tolist() == [[[[2.5, 3.5], [4.5, 5.5]]], [[[1.0, 1.0], [1.0, 5.0]]]]


def test_scale_above_one_shrinks_about_the_centre():
    image = torch.ones(1, 1, 8, 8)
    small = apply(image, scale_y=2, scale_x=2)
    assert (small[0, 0, 2:6, 2:6] == 1).all()
    assert small.sum() == 16
    point = torch.zeros(1, 1, 5, 5)
    point[..., 2, 4] = 1  # two pixels right of the centre, seen at one pixel
    assert apply(point, scale_x=2)[0, 0, 2].tolist() == [0, 0, 0, 1, 0]


def test_scale_acts_on_height_and_width_apart():
    image = picture(4, 4)
    row_sums = apply(image, scale_y=2)[0, 0]
    torch.testing.assert_close(row_sums[1], (image[0, 0, 0] + image[0, 0, 1]) / 2)
    assert (row_sums[[0, 3]] == 0).all()


def test_rotation_is_anticlockwise_in_pixels():
    image = torch.zeros(1, 1, 3, 7)
    image[..., 1, 4] = 1  # one pixel right of the centre
    turned = apply(image, angle=math.pi / 2)
    expected = torch.zeros(1, 1, 3, 7)
    expected[..., 0, 3] = 1  # one pixel above it, though the image is not square
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-6)


def test_rotation_by_nothing_is_nothing():
    assert torch.equal(apply(picture(), angle=0), picture())
    torch.testing.assert_close(apply(picture(), angle=1e-7), picture(), rtol=1e-5, atol=1e-5)


def test_a_full_turn_in_steps_comes_back():
    image = torch.zeros(1, 1, 5, 5)
    image[..., 1:4, 1:4] = torch.arange(9.0).view(3, 3)
    turned = image
    for _ in range(4):
        turned = apply(turned, angle=math.pi / 2)
    torch.testing.assert_close(turned, image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("name", LINEAR)
def test_the_gradient_is_the_adjoint(name, rows, layout):
    augmentation, parameters = draw(name, rows, (7, 6), seed=4)
    parameters = parameters.rows(torch.arange(9) % rows)
    x, y = (
        torch.randn(9, 3, 7, 6, generator=seeds.generator(seed), dtype=torch.float64).to(
            memory_format=layout
        )
        for seed in (0, 1)
    )
    x.requires_grad_()
    forward = augmentation.apply_images(x, parameters)
    (adjoint,) = torch.autograd.grad(forward, x, y)
    torch.testing.assert_close((forward * y).sum(), (x * adjoint).sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("name", [*TRANSFORMS, "all"])
def test_derivatives_are_right_to_second_order(name, together):
    augmentation = EVERY if name == "all" else Augmentation.parse(name)
    parameters = augmentation.sample(3, seeds.generator(2), together=together, size=(4, 3))
    parameters.column("flip")[0] = float(name in ("flip", "all"))
    images = torch.randn(3, 2, 4, 3, generator=seeds.generator(0), dtype=torch.float64, requires_grad=True)

    def energy(images):
        return augmentation.apply_images(images, parameters).pow(3).sum((1, 2, 3))

    assert torch.autograd.gradcheck(energy, images)
    assert torch.autograd.gradgradcheck(energy, images)


@pytest.mark.parametrize("name", [*TRANSFORMS, "all"])
def test_function_transforms_reach_through(name):
    augmentation = EVERY if name == "all" else Augmentation.parse(name)
    parameters = augmentation.sample(3, seeds.generator(5), together=True, size=(4, 3))
    images = torch.randn(2, 3, 2, 4, 3, generator=seeds.generator(0), dtype=torch.float64)

    def energy(images):
        return augmentation.apply_images(images, parameters).pow(3).sum()

    def curvature(images):
        return grad(lambda inner: grad(energy)(inner).square().sum())(images)

    mapped = vmap(curvature)(images)
    for one, expected in zip(images, mapped, strict=True):
        leaf = one.clone().requires_grad_()
        (slope,) = torch.autograd.grad(energy(leaf), leaf, create_graph=True)
        torch.testing.assert_close(torch.autograd.grad(slope.square().sum(), leaf)[0], expected)
