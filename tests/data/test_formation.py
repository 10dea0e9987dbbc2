"""One stored image, several views: layout, exactness, derivatives, what is refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pydistill.data import RealData, Whiten
from pydistill.data.formation import (
    check_factor,
    cut,
    decode,
    encode,
    enlarge,
    pack,
    repeat_targets,
)
from pydistill.seeds import generator
from pydistill.tasks import Draw

FORMATS = [torch.contiguous_format, torch.channels_last]


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def bilinear(patch: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(C, h, w) enlarged by the definition: pixel centres, weights by distance, edges held."""
    found = torch.empty(patch.shape[0], height, width, dtype=patch.dtype)
    for y in range(height):
        for x in range(width):
            corners = []
            for at, old, new in ((y, patch.shape[1], height), (x, patch.shape[2], width)):
                where = min(max((at + 0.5) * old / new - 0.5, 0), old - 1)
                low = int(where)
                corners.append(((low, 1 - where + low), (min(low + 1, old - 1), where - low)))
            found[:, y, x] = sum(
                weight * share * patch[:, row, column]
                for row, weight in corners[0]
                for column, share in corners[1]
            )
    return found


@pytest.mark.parametrize("factor", [2, 3])
def test_views_are_the_patches_row_by_row_enlarged_by_the_definition(factor: int) -> None:
    images = noise(2, 3, 6, 12, dtype=torch.float64)
    tall, wide = 6 // factor, 12 // factor
    expected = [
        bilinear(image[:, row * tall :, column * wide :][:, :tall, :wide], 6, 12)
        for image in images
        for row in range(factor)
        for column in range(factor)
    ]
    torch.testing.assert_close(decode(images, factor), torch.stack(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3])
def test_stored_images_hold_area_means_in_the_same_places(factor: int) -> None:
    images = noise(2 * factor**2, 3, 6, 12, dtype=torch.float64)
    stored = encode(images, factor)
    assert stored.shape == (2, 3, 6, 12)
    tall, wide = 6 // factor, 12 // factor
    for at, image in enumerate(images):
        row, column = divmod(at % factor**2, factor)
        patch = stored[at // factor**2, :, row * tall :, column * wide :][:, :tall, :wide]
        for y in range(tall):
            for x in range(wide):
                square = image[:, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
                torch.testing.assert_close(patch[:, y, x], square.mean((1, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_constant_images_survive_packing_exactly(factor: int) -> None:
    levels = (noise(3 * factor**2, 2, 1, 1) * 16).round() / 16  # short enough for weights to be exact
    images = levels.expand(-1, -1, 8, 8).contiguous()
    assert torch.equal(decode(encode(images, factor), factor), images)


def test_packing_by_three_keeps_constant_images_to_rounding() -> None:
    images = noise(18, 2, 1, 1).expand(-1, -1, 6, 6)
    torch.testing.assert_close(decode(encode(images, 3), 3), images, rtol=1e-6, atol=0)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_patches_packed_again_without_loss_are_the_stored_image(factor: int) -> None:
    """Enlarged by repetition, whose area mean is the pixel itself, patches come back where they were."""
    images = noise(3, 2, 8, 4)
    repeated = F.interpolate(cut(images, factor), scale_factor=float(factor), mode="nearest")
    torch.testing.assert_close(encode(repeated, factor), images, rtol=1e-6, atol=0)


@pytest.mark.parametrize("layout", FORMATS)
def test_the_memory_format_is_kept_and_changes_no_value(layout: torch.memory_format) -> None:
    images = noise(8, 3, 4, 6)
    laid = images.to(memory_format=layout)
    for made, plain in (
        (decode(laid, 2), decode(images, 2)),
        (encode(laid, 2), encode(images, 2)),
        (decode(laid, 1), images),
        (encode(laid, 1), images),
    ):
        assert made.is_contiguous(memory_format=layout)
        torch.testing.assert_close(made, plain, rtol=1e-6, atol=1e-6)


def test_strided_images_are_read_where_they_lie() -> None:
    whole = noise(4, 3, 8, 12)
    for strided in (whole[:, :, ::2, ::2], whole.transpose(2, 3)):
        assert torch.equal(decode(strided, 2), decode(strided.contiguous(), 2))
        assert torch.equal(encode(strided, 2), encode(strided.contiguous(), 2))


def test_factor_one_is_the_images_themselves() -> None:
    images, targets = noise(2, 1, 3, 5), torch.arange(2)
    assert decode(images, 1) is images
    assert encode(images, 1) is images
    assert cut(images, 1) is images
    assert enlarge(images, 1) is images
    assert repeat_targets(targets, 1) is targets


def test_decode_is_its_two_halves() -> None:
    images = noise(2, 3, 4, 4)
    assert cut(images, 2).shape == (8, 3, 2, 2)
    assert torch.equal(enlarge(cut(images, 2), 2), decode(images, 2))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("map_", [decode, encode])
def test_derivatives_to_second_order(map_: object, layout: torch.memory_format) -> None:
    images = noise(4, 2, 4, 6, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: map_(x, 2), images)
    assert torch.autograd.gradgradcheck(lambda x: map_(x, 2).pow(3), images)


def test_a_gradient_reaches_the_patch_of_its_view_alone() -> None:
    images = noise(2, 1, 4, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(decode(images, 2)[6].sum(), images)
    touched = torch.zeros(2, 1, 4, 4)
    touched[1, 0, 2:, :2] = 4  # every pixel of a patch is shared out over 4 of its view
    torch.testing.assert_close(gradient, touched)


def test_targets_follow_their_views() -> None:
    assert repeat_targets(torch.tensor([3, 5]), 2).tolist() == [3, 3, 3, 3, 5, 5, 5, 5]
    soft = noise(2, 3)
    assert torch.equal(repeat_targets(soft, 3)[9:], soft[1].expand(9, 3))


@pytest.mark.parametrize(
    ("factor", "shape", "error", "message"),
    [
        (3, (1, 32, 32), ValueError, "factor 3 does not divide images of 32x32 .*: 1, 2, 4, 8, 16, 32"),
        (2, (3, 4, 5), ValueError, "factor 2 does not divide images of 4x5 pixels; factors that do: 1$"),
        (4, (6, 12), ValueError, "does not divide images of 6x12 pixels; .*: 1, 2, 3, 6$"),
        (0, (8, 8), ValueError, "factor must be at least 1, got 0"),
        (-2, (8, 8), ValueError, "factor must be at least 1, got -2"),
        (2.0, (8, 8), TypeError, "factor must be an integer, got 2.0"),
        (True, (8, 8), TypeError, "factor must be an integer, got True"),
    ],
)
def test_factors_that_cannot_be(
    factor: object, shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_factor(factor, shape)
    images = torch.zeros(1, 1, *shape[-2:])
    for map_ in (decode, encode):
        with pytest.raises(error, match=message):
            map_(images, factor)


def test_images_that_cannot_be() -> None:
    for map_ in (decode, encode):
        with pytest.raises(ValueError, match=r"expected images \(M, C, H, W\), got \(4, 4\)"):
            map_(torch.zeros(4, 4), 2)
        with pytest.raises(TypeError, match="expected floating-point images, got torch"):
            map_(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match="a multiple of 4 images to pack by factor 2, got 6"):
        encode(torch.zeros(6, 1, 4, 4), 2)


def test_real_images_are_packed_class_by_class(tiny: RealData) -> None:
    groups = tiny.task.groups(tiny.train.targets)
    draw = groups.draw(2, generator(0, "test"), strict=True, packed=4)
    assert len(draw.indices.unique()) == len(draw.indices) == 3 * 2 * 4
    packed = pack(tiny, draw, 2)
    assert packed.targets.tolist() == packed.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert packed.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(packed.images, encode(tiny.inputs(tiny.train, draw.indices), 2))


def test_packing_in_parts_changes_nothing(tiny: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = tiny.task.groups(tiny.train.targets).draw(3, generator(0, "test"), strict=True, packed=4)
    whole = pack(tiny, draw, 2)
    for largest in (1, 9):
        monkeypatch.setattr("pydistill.data.formation._LARGEST", largest)
        assert torch.equal(pack(tiny, draw, 2).images, whole.images)


def test_a_class_too_small_fills_its_last_stored_image_with_its_first_ones(tiny: RealData) -> None:
    draw = Draw(torch.tensor([5, 3, 4, 30, 31, 32, 33, 34]), torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]))
    packed = pack(tiny, draw, 2)
    filled = torch.tensor([5, 3, 4, 5, 30, 31, 32, 33, 34, 30, 31, 32])
    assert torch.equal(packed.images, encode(tiny.inputs(tiny.train, filled), 2))
    assert packed.groups.tolist() == [0, 1, 1]
    assert torch.equal(packed.targets, tiny.train.targets[[5, 30, 34]])


def test_packing_is_done_in_network_input(tiny: RealData) -> None:
    white = replace(tiny, preprocess=Whiten.fit(tiny.train.images))
    draw = tiny.task.groups(tiny.train.targets).draw(1, generator(0, "test"), strict=True, packed=4)
    torch.testing.assert_close(
        pack(white, draw, 2).images, encode(white.inputs(tiny.train, draw.indices), 2), rtol=0, atol=1e-5
    )
    with pytest.raises(ValueError, match="factor 3 does not divide images of 8x8"):
        pack(tiny, draw, 3)
