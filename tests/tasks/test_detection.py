"""What detection makes of boxes: checks, groups, pooling, moving, drawing."""

import math

import pytest
import torch

from pydistill import seeds
from pydistill.augment import Augmentation
from pydistill.errors import DataError
from pydistill.tasks import centers, restore
from pydistill.tasks.detection import Detection, box_means

TASK = Detection(("red", "white", "flat"))
IMAGES = torch.zeros(2, 3, 20, 30)


def boxes(*images):
    """(N, B, 5) of rows for each image, padded."""
    most = max(map(len, images))
    rows = [[*image, *[(-1, 0, 0, 0, 0)] * (most - len(image))] for image in images]
    return torch.tensor(rows, dtype=torch.float32)


TARGETS = boxes([(0, 2, 3, 10, 8), (0, 5, 5, 10, 8), (1, 0, 0, 30, 20)], [(2, 25.5, 1, 4, 4)])


def test_what_it_is_called_and_what_it_needs():
    assert (TASK.name, TASK.metric, TASK.network, TASK.outputs) == ("detection", "AP50", "centernet", 7)
    assert TASK.augment == ("color", "crop", "flip", "scale")
    assert not TASK.by_class
    assert TASK.metric == TASK.make_metric().names[0]
    assert not TASK.soft(TARGETS)
    assert TASK.hard(TARGETS) is TARGETS
    assert TASK.kind(TARGETS) == "hard"
    assert TASK.target_names["hard"] == "boxes"
    assert TASK.loss_name() == "CenterNet loss"


def test_good_boxes_pass():
    TASK.check(IMAGES, TARGETS, "train")
    nothing = boxes([(-1, 0, 0, 0, 0)], [(-1, 0, 0, 0, 0)])
    TASK.check(IMAGES, nothing, "train")
    TASK.check(IMAGES, torch.zeros(2, 0, 5), "train")
    TASK.check(IMAGES[:0], torch.zeros(0, 3, 5), "train")
    between = boxes([(-1, -70, 0, 0, 900), (0, 2, 3, 10, 8)], [])
    TASK.check(IMAGES, between, "train")  # padding in any row, whatever stands there
    out_by_a_pixel = boxes([(0, -1, -1, 32, 22)], [(1, 29, 19, 2, 2)])
    TASK.check(IMAGES, out_by_a_pixel, "train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0, math.nan, 1, 4, 4), r"^train: box 1 of image 1 has .* not finite, \(0, nan, 1, 4, 4\)"),
        ((-1, 0, 0, math.inf, 0), "box 1 of image 1 has numbers that are not finite"),
        ((math.nan, 0, 0, 4, 4), "box 1 of image 1 has numbers that are not finite"),
        ((3, 1, 1, 4, 4), r"is of an unknown class, \(3, 1, 1, 4, 4\): the 3 classes are numbered 0 to 2"),
        ((-2, 1, 1, 4, 4), "is of an unknown class"),
        ((0.5, 1, 1, 4, 4), "is of an unknown class"),
        ((0, 1, 1, 0, 4), r"box 1 of image 1 has no area, \(0, 1, 1, 0, 4\): drop it"),
        ((0, 1, 1, 4, -2), "has no area"),
        ((0, 5, 5, -4, -2), "has no area"),
        ((0, 1, 1, 1e-30, 1e-30), "has no area"),
        ((0, 30, 1, 1, 4), "does not overlap its image, .* which has 30x20 pixels: drop it"),
        ((0, -4, 1, 4, 4), "does not overlap its image"),
        ((0, 1, 90, 4, 4), "does not overlap its image"),
        ((0, 1, -20, 4, 4), "does not overlap its image"),
        ((0, 27, 1, 4.1, 4), "sticks out of its image, .* 30x20 pixels, by more than a pixel: clip it"),
        ((0, -1.1, 1, 4, 4), "sticks out"),
        ((0, 1, 18, 4, 4), "sticks out"),
        ((0, 1, -2, 4, 4), "sticks out"),
    ],
)  # fmt: skip
def test_bad_boxes_are_refused_with_image_and_box(row, message):
    targets = boxes([(0, 2, 3, 10, 8)], [(1, 2, 3, 10, 8), row])
    with pytest.raises(DataError, match=message):
        TASK.check(IMAGES, targets, "train")


def test_how_many_more_boxes_are_bad_is_said():
    targets = boxes([(0, 2, 3, 0, 8), (0, 2, 3, 0, 8)], [(0, 2, 3, 0, 8)])
    with pytest.raises(
        DataError, match=r"box 0 of image 0 has no area, \(0, 2, 3, 0, 8\) \(2 more are like it\)"
    ):
        TASK.check(IMAGES, targets, "train")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(2, 5), r"expected \(N, B, 5\) float32 boxes .*, found \(2, 5\) torch.float32"),
        (torch.zeros(2, 3, 4), r"found \(2, 3, 4\)"),
        (torch.zeros(2, 3, 5, dtype=torch.float64), "torch.float64"),
        (torch.zeros(2, dtype=torch.int64), "torch.int64"),
        (torch.zeros(3, 2, 5), "2 images but boxes of 3"),
    ],
)
def test_targets_of_another_shape_are_refused(targets, message):
    with pytest.raises(DataError, match=message):
        TASK.check(IMAGES, targets, "train")


def test_outputs_have_a_channel_a_class_and_four_and_a_cell_for_every_four_pixels():
    images = torch.zeros(2, 3, 18, 30)
    TASK.check_outputs(torch.zeros(2, 7, 5, 8), images)
    for wrong in ((2, 7, 4, 8), (2, 6, 5, 8), (1, 7, 5, 8), (2, 7)):
        with pytest.raises(
            ValueError, match=r"expected outputs \(2, 7, 5, 8\) of the network, 3 classes and 4"
        ):
            TASK.check_outputs(torch.zeros(wrong), images)
    with pytest.raises(ValueError, match="found list"):
        TASK.check_outputs([], images)


def test_groups_are_the_images_that_hold_a_class():
    targets = torch.cat(
        [TARGETS, boxes([(1, 2, 2, 4, 4), (0, 1, 1, 4, 4), (1, 2, 2, 4, 4)], [(-1, 0, 0, 0, 0)])]
    )
    groups = TASK.groups(targets)
    assert groups.names == TASK.class_names
    assert [member.tolist() for member in groups.members] == [[0, 2], [0, 2], [1]]
    assert groups.overlap
    everything = TASK.strata(targets)
    assert everything.names == ("all",)
    assert everything.members[0].tolist() == [0, 1, 2, 3]


def mean_by_pixels(maps, box, fine=8):
    """Mean of one image's maps (D, h, w) over a box, by sampling points within it."""
    _, x, y, width, height = box
    points = []
    for i in range(fine):
        for j in range(fine):
            down, across = y + (i + 0.5) * height / fine, x + (j + 0.5) * width / fine
            points.append(maps[:, int(down / 20 * maps.shape[1]), int(across / 30 * maps.shape[2])])
    return torch.stack(points).mean(0)


@pytest.mark.parametrize("grid", [(20, 30), (5, 6)])
def test_features_are_pooled_over_boxes_and_added_up_by_class(grid):
    maps = torch.randn(2, 4, *grid, generator=seeds.generator(0), dtype=torch.float64)
    targets = boxes([(0, 2, 4, 16, 8), (0, 10, 4, 8, 16), (1, 0, 0, 20, 16)], [(1, 28.5, 1, 0.5, 0.5)])
    sums, mass = TASK.group_sums(maps, targets, (20, 30))
    fine = 80
    expected = [
        mean_by_pixels(maps[0], (0, 2, 4, 16, 8), fine) + mean_by_pixels(maps[0], (0, 10, 4, 8, 16), fine),
        mean_by_pixels(maps[0], (1, 0, 0, 20, 16), fine)
        + mean_by_pixels(maps[1], (1, 28.5, 1, 0.5, 0.5), fine),
        torch.zeros(4, dtype=torch.float64),
    ]
    torch.testing.assert_close(sums, torch.stack(expected), rtol=1e-9, atol=1e-9)
    assert mass.tolist() == [2, 2, 0]


def test_group_sums_add_up_over_chunks_and_leave_out_background():
    maps = torch.randn(2, 4, 5, 6, generator=seeds.generator(0))
    whole = TASK.group_sums(maps, TARGETS, (20, 30))
    parts = [TASK.group_sums(maps[at : at + 1], TARGETS[at : at + 1], (20, 30)) for at in range(2)]
    for at in range(2):
        torch.testing.assert_close(whole[at], parts[0][at] + parts[1][at])
    outside = maps.clone()
    outside[1, :, 2:] += 100  # image 1 has its one box above
    torch.testing.assert_close(TASK.group_sums(outside, TARGETS, (20, 30))[0], whole[0])
    half = TASK.group_sums(maps.bfloat16(), TARGETS, (20, 30))
    assert half[0].dtype == half[1].dtype == torch.float32


def test_pooling_has_derivatives_to_second_order():
    maps = torch.randn(2, 2, 3, 4, generator=seeds.generator(0), dtype=torch.float64).requires_grad_()

    def squares(features):
        return TASK.group_sums(features, TARGETS, (20, 30))[0].square().sum()

    assert torch.autograd.gradcheck(squares, (maps,))
    assert torch.autograd.gradgradcheck(squares, (maps,))


def test_the_mean_over_a_box_is_over_what_of_it_lies_in_the_image():
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    out = torch.tensor([[[-5.0, 0, 10, 4], [2.0, -1, 4, 3], [0, 0, 8, 8]]])
    assert box_means(maps, out, (8, 8))[0, 0].tolist() == [pytest.approx(0.2), 0.5, 1.5]


def test_features_without_a_grid_are_shared_out_among_the_classes_of_an_image():
    features = torch.tensor([[1.0, 2.0], [10.0, 20.0], [7.0, 7.0]])
    targets = torch.cat([TARGETS, boxes([(-1, 0, 0, 0, 0)] * 3)])
    sums, mass = TASK.group_sums(features, targets)
    assert sums.tolist() == [[0.5, 1.0], [0.5, 1.0], [10.0, 20.0]]
    assert mass.tolist() == [0.5, 0.5, 1.0]


def test_maps_cannot_be_pooled_without_the_size_of_images():
    with pytest.raises(ValueError, match=r"pass size=\(H, W\)"):
        TASK.group_sums(torch.zeros(2, 4, 5, 6), TARGETS)


class Moved:
    """Boxes moved by a vector and clipped to an image of 20x30 pixels."""

    def __init__(self, right, down):
        self.by = torch.tensor([right, down])

    def boxes(self, boxes):
        low, high = boxes[..., :2] + self.by, boxes[..., :2] + boxes[..., 2:] + self.by
        limits = torch.tensor([30.0, 20.0])
        low, high = (torch.minimum(end.clamp_min(0), limits) for end in (low, high))
        area = boxes[..., 2:].prod(-1)
        left = torch.where(area > 0, (high - low).prod(-1) / area, 0.0)
        return torch.cat([low, high - low], -1), left


def test_boxes_of_which_too_little_is_left_are_dropped():
    targets = boxes([(0, 0, 0, 10, 10), (1, 4, 2, 10, 10), (2, 20, 0, 10, 10), (-1, 4, 4, 4, 4)])
    moved = TASK.move(targets, Moved(-6, 0))
    assert moved[0].tolist() == [[0, 0, 0, 4, 10], [1, 0, 2, 8, 10], [2, 14, 0, 10, 10], [-1, 0, 0, 0, 0]]
    moved = TASK.move(targets, Moved(-6.25, 0))  # 37.5 % of the first
    assert moved[0, 0].tolist() == [-1, 0, 0, 0, 0]
    assert moved.dtype == torch.float32
    gone = TASK.move(targets, Moved(500, 0))
    assert (gone[..., 0] == -1).all()
    TASK.check(torch.zeros(1, 3, 20, 30), gone, "moved")


def test_what_has_no_area_left_is_dropped_whatever_its_share():
    class Squeezed(Moved):
        def boxes(self, boxes):
            return boxes * torch.tensor([1, 1, 0, 1]), torch.ones(boxes.shape[:2])

    assert (TASK.move(TARGETS, Squeezed(0, 0))[..., 0] == -1).all()


def test_images_with_boxes_are_not_packed():
    assert TASK.pack(TARGETS, 1) is TARGETS
    with pytest.raises(ValueError, match="cannot be packed, found a factor of 2"):
        TASK.pack(TARGETS, 2)


def test_what_detection_has_not_is_refused_by_name():
    for ask in (
        lambda: TASK.error(torch.zeros(2, 7, 5, 8), TARGETS, "squared"),
        lambda: TASK.values(TARGETS),
        lambda: TASK.from_values(TARGETS),
        lambda: TASK.probabilities(torch.zeros(2, 7, 5, 8)),
        lambda: TASK.smoothed_logits(TARGETS),
        lambda: TASK.target_probability(torch.zeros(2, 7, 5, 8), TARGETS),
    ):
        with pytest.raises(ValueError, match=r"^detection has no .*: its targets are boxes"):
            ask()


def test_the_loss_is_the_mean_of_the_losses_of_images():
    outputs = torch.randn(2, 7, 5, 8, generator=seeds.generator(0))
    losses = TASK.losses(outputs, TARGETS)
    assert losses.shape == (2,)
    assert torch.equal(TASK.loss(outputs, TARGETS), losses.mean())
    assert torch.equal(TASK.error(outputs, TARGETS), losses.mean())
    assert torch.equal(losses, centers.losses(outputs, TARGETS, 3))


def drawn(targets, height=20, width=30, channels=3):
    return TASK.picture(torch.full((len(targets), channels, height, width), 0.5), targets)


def test_boxes_are_drawn_as_outlines_in_the_colour_of_their_class():
    targets = boxes([(0, 2, 3, 10, 8), (1, 20, 5, 6, 6)], [(-1, 1, 1, 8, 8)])
    found = drawn(targets)
    painted = (found != 0.5).any(1)
    assert int(painted[0].sum()) == 2 * (10 + 8) - 4 + 2 * (6 + 6) - 4
    assert not painted[1].any()
    for corner in ((3, 2), (3, 11), (10, 2), (10, 11)):
        assert torch.equal(found[0, :, corner[0], corner[1]], found[0, :, 3, 2])
    assert not painted[0, 4:10, 3:11].any()
    assert not torch.equal(found[0, :, 3, 2], found[0, :, 5, 20])


def test_boxes_at_the_edge_and_tiny_ones_are_drawn_within_the_image():
    targets = boxes([(0, -1, -1, 32, 22), (1, 29.9, 19.9, 0.1, 0.1), (1, 15.2, 9.1, 0.2, 0.3)])
    painted = (drawn(targets)[0] != 0.5).any(0)
    assert int(painted.sum()) == 2 * (20 + 30) - 4 + 1  # the second one is the outline's corner
    assert painted[9, 15]


def test_large_images_have_thicker_outlines_and_grey_ones_are_drawn_on_in_colour():
    targets = boxes([(0, 10, 10, 50, 40)])
    painted = (drawn(targets, 256, 300)[0] != 0.5).any(0)
    assert int(painted.sum()) == 50 * 40 - 46 * 36
    grey = drawn(targets, 64, 64, channels=1)
    assert grey.shape == (1, 3, 64, 64)
    assert not torch.equal(grey[0, 0, 10, 10], grey[0, 1, 10, 10])
    assert drawn(torch.zeros(2, 0, 5), channels=1).unique().tolist() == [0.5]


def test_boxes_stay_around_their_objects_under_the_task_s_augmentation():
    generator = seeds.generator(0)
    images, targets = torch.zeros(40, 1, 48, 64), torch.zeros(40, 1, 5)
    for at in range(len(images)):
        x, y = (
            int(torch.randint(4, 40, (), generator=generator)),
            int(torch.randint(4, 28, (), generator=generator)),
        )
        images[at, 0, y : y + 14, x : x + 18] = 1
        targets[at, 0] = torch.tensor([0, x, y, 18, 14])
    transforms = tuple(name for name in TASK.augment if name != "color")
    augmentation = Augmentation(transforms, "all")
    drawn = augmentation.sample(40, generator, together=False, size=(48, 64))
    shown, moved = augmentation.apply(images, targets, drawn, TASK)
    assert not torch.equal(moved, targets)
    TASK.check(shown, moved, "moved")
    for image, (kind, x, y, width, height) in zip(shown[:, 0], moved[:, 0].tolist(), strict=True):
        if kind < 0:
            continue
        bright = image > 0.5
        rows, columns = torch.nonzero(bright.any(1)).flatten(), torch.nonzero(bright.any(0)).flatten()
        seen = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        assert [x, y, x + width, y + height] == pytest.approx(seen, abs=1.01)
    assert int((moved[..., 0] >= 0).sum()) >= 30


def test_what_describes_it_restores_it():
    assert restore(TASK.describe()) == TASK
