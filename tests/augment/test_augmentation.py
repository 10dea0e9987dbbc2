"""Text, draws, and what applying promises: siamese, exact where inactive, dtype and layout kept."""

import math

import pytest
import torch

from pydistill import seeds
from pydistill.augment import TRANSFORMS, Augmentation, Parameters
from tests.augment import reference

EVERY = "color_crop_cutout_flip_scale_rotate"
SIZE = (6, 5)


def images(count, channels=3, size=SIZE, dtype=torch.float64, seed=0):
    return torch.randn(count, channels, *size, generator=seeds.generator(seed), dtype=dtype)


def draw(text, rows, *, together=True, size=SIZE, seed=1):
    augmentation = Augmentation.parse(text)
    return augmentation, augmentation.sample(rows, seeds.generator(seed), together=together, size=size)


def active(parameters):
    """(G, 6) which transforms a row has active."""
    differs = parameters.values != torch.tensor(Parameters.IDENTITY)
    return torch.stack(
        [
            differs[:, [Parameters.COLUMNS.index(column) for column in transform.columns]].any(1)
            for transform in TRANSFORMS.values()
        ],
        1,
    )


def test_text_round_trips_in_one_order():
    assert Augmentation.parse(EVERY).transforms == tuple(TRANSFORMS)
    assert str(Augmentation.parse("rotate_color")) == "color_rotate"
    assert str(Augmentation.parse("rotate_color", "all")) == "color_rotate:mode=all"
    assert Augmentation.parse("color_rotate:mode=all") == Augmentation(("color", "rotate"), "all")
    assert Augmentation.parse("none") == Augmentation(())
    assert str(Augmentation(())) == "none"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "color_corp",
            r"unknown transform 'corp' \(did you mean 'crop'\?\); known: color, crop, cutout, flip",
        ),
        ("color_crop_color", "color is given more than once"),
        ("color_none", "unknown transform 'none'"),
        ("color:mode=both", "mode must be one of single, all; found 'both'"),
        ("color:single", "expected mode=single or mode=all behind the colon, found 'single'"),
    ],
)
def test_wrong_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Augmentation.parse(text)


def test_transforms_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in the order color, flip; found flip, color"):
        Augmentation(("flip", "color"))


def test_draws_come_from_the_generator_alone():
    before = torch.get_rng_state()
    _, one = draw(EVERY, 8, together=False)
    torch.manual_seed(1234)
    augmentation, same = draw(EVERY, 8, together=False)
    torch.set_rng_state(before)
    _, other = draw(EVERY, 8, together=False, seed=2)
    augmentation.apply_images(images(8), one)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.values, same.values)
    assert not torch.equal(one.values, other.values)


def test_together_chooses_one_transform_for_all_rows_with_strengths_of_their_own():
    chosen = set()
    for seed in range(40):
        _, parameters = draw("color_cutout_scale_rotate", 12, seed=seed)
        rows = active(parameters)
        assert rows.sum(1).tolist() == [1] * 12
        assert (rows == rows[:1]).all()
        assert len(parameters.values.unique(dim=0)) > 1
        chosen.add(int(rows[0].nonzero()))
    assert chosen == {0, 2, 4, 5}


def test_apart_each_row_chooses_and_all_are_chosen_equally_often():
    _, parameters = draw(EVERY, 6000, together=False)
    rows = active(parameters)
    assert (rows.sum(1) <= 1).all()
    # one in six, but flip is active in half of its rows and a crop by (0, 0) is none: 1 in 9 at this size
    expected = 1000 * torch.tensor([1, 8 / 9, 1, 0.5, 1, 1])
    error = (expected * (1 - expected / 6000)).sqrt()
    assert ((rows.sum(0) - expected).abs() < 5 * error).all()


def test_all_composes_every_transform():
    parameters = Augmentation.parse("color_cutout_scale_rotate", "all").sample(
        50, seeds.generator(0), together=True, size=SIZE
    )
    assert (active(parameters).sum(0) == torch.tensor([50, 0, 50, 0, 50, 50])).all()


def test_strengths_cover_the_published_ranges():
    augmentation = Augmentation.parse(EVERY, "all")
    parameters = augmentation.sample(20_000, seeds.generator(3), together=True, size=(32, 20))
    angle = math.radians(15)
    bounds = {
        "brightness": (-0.5, 0.5),
        "saturation": (0, 2),
        "contrast": (0.5, 1.5),
        "scale_y": (1 / 1.2, 1.2),
        "scale_x": (1 / 1.2, 1.2),
        "angle": (-angle, angle),
    }
    for name, (low, high) in bounds.items():
        column = parameters.column(name)
        assert low <= column.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < column.max() <= high * (1 + 1e-6)
        assert abs(column.mean() - (low + high) / 2) < 5 * (high - low) / math.sqrt(12 * 20_000)
    assert parameters.column("shift_y").unique().tolist() == list(range(-4, 5))
    assert parameters.column("shift_x").unique().tolist() == list(range(-3, 4))
    assert abs(parameters.column("flip").mean() - 0.5) < 5 * 0.5 / math.sqrt(20_000)
    height = parameters.column("cut_bottom") - parameters.column("cut_top")
    width = parameters.column("cut_right") - parameters.column("cut_left")
    assert height.unique().tolist() == [16]
    assert width.unique().tolist() == [10]
    assert (parameters.column("cut_top") + 8).unique().tolist() == list(range(33))
    assert (parameters.column("cut_left") + 5).unique().tolist() == list(range(21))


def test_flip_is_off_where_the_text_leaves_it_out():
    _, parameters = draw("color_crop_cutout_scale_rotate", 500, together=False)
    assert not parameters.column("flip").any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", [*TRANSFORMS, "every", "all"])
@pytest.mark.parametrize("channels", [1, 3])
def test_applying_equals_the_slow_reference(name, layout, channels):
    text = {"every": EVERY, "all": f"{EVERY}:mode=all"}.get(name, name)
    batch = images(24, channels).to(memory_format=layout)
    for together in (True, False):
        augmentation, parameters = draw(text, 24, together=together)
        expected = torch.from_numpy(reference.augment(batch, parameters))
        torch.testing.assert_close(
            augmentation.apply_images(batch, parameters), expected, rtol=1e-6, atol=1e-6
        )
    augmentation, few = draw(text, 3, together=False)
    few = few.rows(torch.arange(3).repeat_interleave(8))
    expected = torch.from_numpy(reference.augment(batch, few))
    torch.testing.assert_close(augmentation.apply_images(batch, few), expected, rtol=1e-6, atol=1e-6)


def test_how_a_batch_is_cut_does_not_change_the_result():
    augmentation, parameters = draw(EVERY, 300, together=False)
    batch = images(300, dtype=torch.float32).to(memory_format=torch.channels_last)
    whole = augmentation.apply_images(batch, parameters)  # sorted by transform: far more than 64 runs
    assert (active(parameters)[1:] != active(parameters)[:-1]).any(1).sum() > 64
    assert whole.is_contiguous(memory_format=torch.channels_last)
    single = [
        augmentation.apply_images(batch[i : i + 1], parameters.rows(slice(i, i + 1))) for i in range(300)
    ]
    torch.testing.assert_close(whole, torch.cat(single), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*TRANSFORMS, "all"])
def test_siamese_one_row_does_the_same_to_one_image_and_to_256(name):
    augmentation, parameters = draw(f"{EVERY}:mode=all" if name == "all" else name, 1)
    image = images(1, dtype=torch.float32)
    alone = augmentation.apply_images(image, parameters)
    many = augmentation.apply_images(
        image.expand(256, -1, -1, -1).contiguous(), parameters.rows(torch.zeros(256, dtype=torch.long))
    )
    assert (many == many[:1]).all()
    torch.testing.assert_close(many[:1], alone, rtol=1e-6, atol=1e-6)


def test_a_class_has_the_same_transform_in_both_branches():
    augmentation, parameters = draw(EVERY, 4, together=False)
    real_classes, synthetic_classes = torch.arange(4).repeat_interleave(20), torch.arange(4)
    image = images(1, dtype=torch.float32)
    real = augmentation.apply_images(image.expand(80, -1, -1, -1), parameters.rows(real_classes))
    synthetic = augmentation.apply_images(image.expand(4, -1, -1, -1), parameters.rows(synthetic_classes))
    torch.testing.assert_close(real, synthetic[real_classes], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_identity_rows_give_the_input_bit_for_bit(dtype):
    augmentation = Augmentation.parse(EVERY)
    batch = images(5, dtype=dtype)
    assert torch.equal(augmentation.apply_images(batch, Parameters.identity(5, SIZE)), batch)
    mixed = draw("rotate", 5)[1]
    mixed.values[::2] = torch.tensor(Parameters.IDENTITY)
    done = augmentation.apply_images(batch, mixed)
    assert torch.equal(done[::2], batch[::2])
    assert (done[1::2] != batch[1::2]).any((1, 2, 3)).all()
    none = Augmentation.parse("none")
    parameters = none.sample(5, seeds.generator(0), together=False, size=SIZE)
    assert none.apply_images(batch, parameters) is batch


@pytest.mark.parametrize("name", [*TRANSFORMS, "all"])
@pytest.mark.parametrize("rows", [1, 12])
def test_dtype_and_layout_are_kept(name, rows):
    augmentation, parameters = draw(f"{EVERY}:mode=all" if name == "all" else name, rows)
    parameters = parameters.rows(torch.arange(12) % rows)
    plain = images(12, dtype=torch.float32)
    expected = augmentation.apply_images(plain, parameters)
    assert expected.is_contiguous()
    last = augmentation.apply_images(plain.to(memory_format=torch.channels_last), parameters)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, expected, rtol=1e-5, atol=1e-6)
    half = augmentation.apply_images(plain.bfloat16(), parameters)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half, augmentation.apply_images(plain.bfloat16().float(), parameters).bfloat16()
    )


def test_empty_batch():
    augmentation, parameters = draw(EVERY, 0, together=False)
    assert augmentation.apply_images(images(0), parameters).shape == (0, 3, *SIZE)
    assert len(draw(EVERY, 0, together=True)[1]) == 0


def test_rows_are_selected_and_repeated():
    _, parameters = draw(EVERY, 3, together=False)
    index = torch.tensor([2, 0, 0])
    assert torch.equal(parameters.rows(index).values, parameters.values[index])
    assert len(parameters.rows(slice(1, 3))) == 2


def test_wrong_arguments_are_refused_with_what_was_expected():
    augmentation, parameters = draw(EVERY, 3)
    with pytest.raises(ValueError, match=r"found \(4, 3, 6, 5\) and 3 rows; repeat the rows"):
        augmentation.apply_images(images(4), parameters)
    with pytest.raises(ValueError, match="drawn for images of 6x5 pixels, found 5x6"):
        augmentation.apply_images(images(3, size=(5, 6)), parameters)
    with pytest.raises(TypeError, match=r"must be floating point, found torch\.uint8"):
        augmentation.apply_images(images(3).to(torch.uint8), parameters)
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\)"):
        augmentation.apply_images(images(3)[0], parameters)
    with pytest.raises(ValueError, match="rows must be at least 0, found -1"):
        augmentation.sample(-1, seeds.generator(0), together=True, size=SIZE)
    with pytest.raises(ValueError, match=r"size must be \(H, W\)"):
        augmentation.sample(1, seeds.generator(0), together=True, size=(0, 4))
    with pytest.raises(ValueError, match=r"values must be \(G, 13\), found \(3, 4\)"):
        Parameters(torch.zeros(3, 4), SIZE)
    with pytest.raises(TypeError, match=r"must be float32 on the CPU, found torch\.float64"):
        Parameters(torch.zeros(3, 13, dtype=torch.float64), SIZE)
