"""Masks and boxes go where the pixels go."""

import math

import pytest
import torch

from pydistill import seeds
from pydistill.augment import Augmentation, ParameterMovement, Parameters
from pydistill.tasks import Classification
from tests.augment.test_augmentation import SIZE, images

TALL, WIDE = 24, 40


def movement(rows=1, **columns):
    parameters = Parameters.identity(rows, (TALL, WIDE))
    for name, value in columns.items():
        parameters.column(name)[:] = value
    return ParameterMovement(parameters)


MOVES = {
    "shift": {"shift_y": 3, "shift_x": -5},
    "flip": {"flip": 1},
    "scale": {"scale_y": 0.9, "scale_x": 1.15},
    "rotate": {"angle": math.radians(12)},
    "all": {"shift_x": 2, "flip": 1, "scale_y": 1.1, "scale_x": 0.9, "angle": math.radians(-9)},
}


@pytest.mark.parametrize("name", MOVES)
def test_a_mask_moves_as_the_image_it_is_of(name):
    """A mask drawn as an image and moved as one agrees with the moved mask but at edges."""
    moved = movement(**MOVES[name])
    mask = torch.zeros(1, TALL, WIDE, dtype=torch.uint8)
    mask[0, 6:15, 10:28] = 1
    image = Augmentation(("crop", "flip", "scale", "rotate"), "all").apply_images(
        mask[:, None].float(), moved.parameters
    )
    found = moved.sample(mask, 255)[0]
    sure = (image[0, 0] < 0.01) | (image[0, 0] > 0.99)
    assert sure.float().mean() > 0.85
    assert torch.equal(found[sure & (found != 255)], image[0, 0][sure & (found != 255)].round().byte())
    assert set(found.unique().tolist()) <= {0, 1, 255}


@pytest.mark.parametrize("name", MOVES)
def test_a_mask_is_ignored_where_the_image_is_uncovered(name):
    moved = movement(**MOVES[name])
    ones = torch.ones(1, TALL, WIDE, dtype=torch.uint8)
    image = Augmentation(("crop", "flip", "scale", "rotate"), "all").apply_images(
        ones[:, None].float(), moved.parameters
    )[0, 0]
    found = moved.sample(ones, 255)[0]
    assert (found[image > 0.99] == 1).all()
    assert (found[image == 0] == 255).all()
    assert bool((found == 255).any()) == (name != "flip")


@pytest.mark.parametrize("name", MOVES)
def test_a_box_moves_as_a_mask_of_it(name):
    moved = movement(**MOVES[name])
    mask = torch.zeros(1, TALL, WIDE, dtype=torch.uint8)
    mask[0, 6:15, 10:28] = 1
    rows, columns = torch.nonzero(moved.sample(mask, 0)[0], as_tuple=True)
    boxes, share = moved.boxes(torch.tensor([[[10.0, 6, 18, 9]]]))
    x, y, w, h = boxes[0, 0].tolist()
    around = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert (x, y, x + w, y + h) == pytest.approx(tuple(map(float, around)), abs=1.01)
    assert share.item() == pytest.approx(1.0)


def test_boxes_are_clipped_and_what_is_left_of_them_is_told():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20.0, 4, 10, 10], [0.0, 0, 0, 0]]])
    found, share = movement(shift_x=8, shift_y=5).boxes(boxes)
    assert found[0].tolist() == [[0, 0, 2, 5], [12, 0, 10, 9], [0, 0, 0, 0]]
    assert share[0].tolist() == pytest.approx([0.2 * 0.5, 0.9, 0])


def test_coarse_and_soft_maps_move_by_the_same_map():
    moved = movement(2, flip=1, shift_x=8)
    maps = torch.arange(TALL // 4 * WIDE // 4).view(1, 1, TALL // 4, WIDE // 4).expand(2, 3, -1, -1).float()
    found = moved.sample(maps, -1)
    expected = torch.full_like(maps, -1)
    expected[..., 2:] = maps.flip(3)[..., :-2]  # flipped after the shift: 8 pixels are 2 places
    assert torch.equal(found, expected)


def test_what_moves_nothing_changes_nothing():
    mask = torch.randint(0, 9, (3, TALL, WIDE), generator=seeds.generator(0))
    still = movement(3, brightness=0.4, cut_bottom=9)
    assert still.sample(mask, 255) is mask
    boxes = torch.tensor([[1.5, 2, 3, 4]]).expand(3, 1, 4)
    found, share = still.boxes(boxes)
    assert torch.equal(found, boxes)
    assert (share == 1).all()
    with pytest.raises(ValueError, match="expected targets of 3 images, a row of parameters each"):
        still.sample(mask[:2], 255)


def test_classes_stay_and_every_image_has_a_target():
    augmentation, task = Augmentation.parse("crop_flip"), Classification(("a", "b"))
    batch, targets = images(4), torch.tensor([0, 1, 1, 0])
    parameters = augmentation.sample(4, seeds.generator(0), together=False, size=SIZE)
    moved, followed = augmentation.apply(batch, targets, parameters, task)
    assert torch.equal(moved, augmentation.apply_images(batch, parameters))
    assert followed is targets
    with pytest.raises(ValueError, match="one target an image, found 4 and 3"):
        augmentation.apply(batch, targets[:3], parameters, task)
