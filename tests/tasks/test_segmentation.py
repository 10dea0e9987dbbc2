"""Segmentation: every formula against loops over pixels, derivatives, void pixels, what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, vmap

from pydistill import seeds
from pydistill.augment import ParameterMovement, Parameters
from pydistill.errors import DataError
from pydistill.tasks.masks import VOID, palette, resized
from pydistill.tasks.segmentation import Segmentation
from pydistill.tasks.segmentation_metric import SegmentationMetric

TASK = Segmentation(("sky", "road", "car"))
CLASSES = 3


def masks(count, height=6, width=4, seed=0, void=0.2):
    """Random masks (count, height, width), a share of their pixels void."""
    generator = seeds.generator(seed, "masks")
    drawn = torch.randint(0, CLASSES, (count, height, width), generator=generator)
    empty = torch.rand(count, height, width, generator=generator) < void
    return torch.where(empty, VOID, drawn).to(torch.uint8)


def scores(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=seeds.generator(seed, "scores"), dtype=dtype)


def soft_masks(*shape, seed=0):
    return scores(*shape, seed=seed).softmax(1)


def block_means(maps, size):
    """Means over blocks of pixels, cell by cell."""
    found = torch.zeros(*maps.shape[:2], *size, dtype=maps.dtype)
    rows, columns = maps.shape[2] // size[0], maps.shape[3] // size[1]
    for row in range(size[0]):
        for column in range(size[1]):
            cell = maps[:, :, row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
            found[:, :, row, column] = cell.mean((2, 3))
    return found


def slow_losses(outputs, targets):
    """Pixel by pixel: minus the logarithm of the softmax at the label, its mean over labelled pixels."""
    found = []
    for maps, mask in zip(outputs, targets, strict=True):
        terms = []
        for row in range(mask.shape[0]):
            for column in range(mask.shape[1]):
                if mask[row, column] != VOID:
                    logits = maps[:, row, column]
                    terms.append(logits.exp().sum().log() - logits[int(mask[row, column])])
        found.append(sum(terms) / len(terms) if terms else torch.zeros((), dtype=outputs.dtype))
    return torch.stack(found)


def slow_confusion(answers, truth, classes=CLASSES):
    table = [[0] * classes for _ in range(classes)]
    for answer, label in zip(answers.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if label != VOID:
            table[label][answer] += 1
    return table


def slow_ious(table):
    """Of each class; None where neither a row nor a column counts a pixel."""
    found = []
    for each in range(len(table)):
        right = table[each][each]
        union = sum(table[each]) + sum(row[each] for row in table) - right
        found.append(right / union if union else None)
    return found


def mean_known(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


# ---- the loss ------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_labelled_pixels_of_an_image_then_over_images():
    targets, outputs = masks(5), scores(5, CLASSES, 6, 4)
    targets[1, :, 1:] = VOID
    expected = slow_losses(outputs, targets)
    torch.testing.assert_close(TASK.losses(outputs, targets), expected)
    torch.testing.assert_close(TASK.loss(outputs, targets), expected.mean())
    torch.testing.assert_close(TASK.error(outputs, targets), expected.mean())


def test_an_image_that_is_void_all_over_adds_nothing_to_loss_and_gradient():
    targets, outputs = masks(3), scores(3, CLASSES, 6, 4).requires_grad_()
    targets[1] = VOID
    losses = TASK.losses(outputs, targets)
    assert losses[1] == 0
    torch.testing.assert_close(TASK.loss(outputs, targets), losses[[0, 2]].sum() / 3)
    (slope,) = torch.autograd.grad(TASK.loss(outputs, targets), outputs)
    assert (slope[1] == 0).all()
    assert slope.isfinite().all()
    assert slope[0].any()


def test_coarser_outputs_are_enlarged_bilinearly():
    targets, outputs = masks(2), scores(2, CLASSES, 3, 2)
    enlarged = torch.zeros(2, CLASSES, 6, 4, dtype=torch.float64)
    for row in range(6):
        for column in range(4):
            place = [(row + 0.5) / 2 - 0.5, (column + 0.5) / 2 - 0.5]
            for y in range(3):
                for x in range(2):
                    near = [
                        max(0.0, 1 - abs(min(max(at, 0), last) - centre))
                        for at, last, centre in zip(place, (2, 1), (y, x), strict=True)
                    ]
                    enlarged[:, :, row, column] += near[0] * near[1] * outputs[:, :, y, x]
    torch.testing.assert_close(TASK.losses(outputs, targets), slow_losses(enlarged, targets))


def test_soft_masks_of_a_coarser_grid_are_compared_with_outputs_averaged_over_its_cells():
    outputs, targets = scores(2, CLASSES, 6, 4), soft_masks(2, CLASSES, 3, 2, seed=1)
    logarithms = block_means(outputs, (3, 2)).log_softmax(1)
    expected = -(targets * logarithms).sum(1).mean((1, 2))
    torch.testing.assert_close(TASK.losses(outputs, targets), expected)
    alike = block_means(outputs, (3, 2)).softmax(1)
    lowest = TASK.losses(outputs, alike)
    assert (lowest < TASK.losses(outputs + scores(2, CLASSES, 6, 4, seed=2), alike)).all()


def test_soft_masks_of_whole_pixels_have_the_loss_of_the_masks():
    targets, outputs = masks(4), scores(4, CLASSES, 6, 4)
    targets[2] = VOID
    hot = torch.stack([targets == each for each in range(CLASSES)], 1).double()
    torch.testing.assert_close(TASK.losses(outputs, hot), TASK.losses(outputs, targets))


def test_a_cell_that_is_void_in_part_counts_for_the_rest():
    outputs, targets = scores(1, CLASSES, 1, 2), soft_masks(1, CLASSES, 1, 2)
    targets[..., 1] *= 0.25
    entropy = -(targets * outputs.log_softmax(1)).sum((1, 2, 3))
    torch.testing.assert_close(TASK.losses(outputs, targets), entropy / 1.25)


def test_half_precision_outputs_are_summed_in_single():
    targets, outputs = masks(2, 64, 64), scores(2, CLASSES, 64, 64, dtype=torch.float32).bfloat16()
    found = TASK.losses(outputs, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, TASK.losses(outputs.float(), targets))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_divergence_is_from_soft_masks_to_averaged_outputs(temperature):
    outputs, targets = scores(3, CLASSES, 6, 4), soft_masks(3, CLASSES, 3, 2, seed=1)
    targets[1] = 0
    targets[2, :, 0] *= 0.25
    said = (block_means(outputs, (3, 2)) / temperature).softmax(1)
    for image, found in enumerate(TASK.divergence(outputs, targets, temperature).tolist()):
        total = mass = 0.0
        for row in range(3):
            for column in range(2):
                cell, share = targets[image, :, row, column], float(targets[image, :, row, column].sum())
                if share > 0:
                    wanted = cell / share
                    ratio = (wanted / said[image, :, row, column]).log()
                    total, mass = total + share * float((wanted * ratio).sum()), mass + share
        assert found == pytest.approx(total / mass if mass else 0.0)
    alike = TASK.probabilities(block_means(outputs, (3, 2)), temperature)
    assert TASK.divergence(outputs, alike, temperature).tolist() == pytest.approx([0.0] * 3, abs=1e-12)


def test_the_divergence_is_differentiable_twice_and_maps_over_networks():
    targets = soft_masks(2, CLASSES, 2, 2)
    targets[1] = 0
    outputs = scores(2, 2, CLASSES, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: TASK.divergence(given, targets, 2.0), outputs[0])
    assert torch.autograd.gradgradcheck(lambda given: TASK.divergence(given, targets, 2.0), outputs[0])
    mapped = vmap(TASK.divergence, in_dims=(0, None))(outputs, targets)
    torch.testing.assert_close(mapped[1], TASK.divergence(outputs[1], targets))


def test_masks_of_mixed_images_are_refused():
    """A share tells not where a pasted window lies."""
    with pytest.raises(
        ValueError, match="segmentation has no targets of mixed images: its targets are masks"
    ):
        TASK.mix(masks(2), masks(2, seed=1), torch.ones(2))


def test_outputs_for_whole_images_are_refused():
    for call in (TASK.losses, TASK.target_probability, TASK.make_metric().update):
        with pytest.raises(ValueError, match=r"expected maps \(N, K, h, w\).*found \(2, 3\)"):
            call(torch.zeros(2, CLASSES), masks(2))


@pytest.mark.parametrize("size", [(4, 2), (2, 1), (8, 6)], ids=["same", "coarser", "finer"])
@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_has_the_right_first_and_second_derivatives(size, soft):
    targets = soft_masks(2, CLASSES, 4, 2, seed=1) if soft else masks(2, 4, 2, seed=3)
    outputs = scores(2, CLASSES, *size).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: TASK.losses(given, targets), outputs)
    assert torch.autograd.gradgradcheck(lambda given: TASK.losses(given, targets), outputs)


def test_the_loss_of_soft_masks_has_derivatives_in_the_masks():
    targets = soft_masks(2, CLASSES, 2, 2).requires_grad_()
    outputs = scores(2, CLASSES, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(TASK.losses, (outputs, targets))
    assert torch.autograd.gradgradcheck(TASK.losses, (outputs, targets))


@pytest.mark.parametrize("size", [(6, 4), (3, 2), (12, 8)], ids=["same", "coarser", "finer"])
def test_the_loss_maps_over_networks_and_over_images(size):
    targets, outputs = masks(3), scores(2, 3, CLASSES, *size)
    targets[0] = VOID
    mapped = vmap(TASK.loss, in_dims=(0, None))(outputs, targets)
    torch.testing.assert_close(mapped, torch.stack([TASK.loss(each, targets) for each in outputs]))
    slopes = vmap(grad(TASK.loss), in_dims=(0, None))(outputs, targets)
    torch.testing.assert_close(slopes[1], grad(TASK.loss)(outputs[1], targets))

    def one(maps, mask):
        return TASK.loss(maps[None], mask[None])

    torch.testing.assert_close(vmap(one)(outputs[0], targets), TASK.losses(outputs[0], targets))
    soft = soft_masks(3, CLASSES, 3, 2)
    torch.testing.assert_close(vmap(one)(outputs[0], soft), TASK.losses(outputs[0], soft))


# ---- what targets are ----------------------------------------------------------------------------


def test_soft_masks_turn_into_the_most_probable_class_and_void_stays_void():
    targets = torch.tensor([[[[0.2, 0.0]], [[0.7, 0.0]], [[0.1, 0.0]]]])
    assert TASK.soft(targets)
    hard = TASK.hard(targets)
    assert hard.dtype == torch.uint8
    assert hard.tolist() == [[[1, VOID]]]
    plain = masks(1)
    assert TASK.hard(plain) is plain
    assert not TASK.soft(plain)
    assert [TASK.kind(each) for each in (plain, targets)] == ["hard", "soft"]


def test_probabilities_add_up_to_one_over_classes():
    outputs = scores(2, CLASSES, 3, 2)
    found = TASK.probabilities(outputs, 2.0)
    expected = (outputs / 2).exp() / (outputs / 2).exp().sum(1, keepdim=True)
    torch.testing.assert_close(found, expected)


def test_the_probability_of_targets_is_the_mean_over_labelled_pixels():
    targets, outputs = masks(3), scores(3, CLASSES, 6, 4)
    targets[1] = VOID
    chances = outputs.softmax(1)
    for image, found in enumerate(TASK.target_probability(outputs, targets).tolist()):
        mask = targets[image]
        given = [
            float(chances[image, int(mask[row, column]), row, column])
            for row in range(6)
            for column in range(4)
            if mask[row, column] != VOID
        ]
        assert found == pytest.approx(sum(given) / len(given) if given else 0.0)


def test_what_masks_have_no_use_for_is_refused_by_name():
    targets, outputs = masks(1), scores(1, CLASSES, 6, 4)
    for call in (
        lambda: TASK.values(targets),
        lambda: TASK.from_values(outputs),
        lambda: TASK.error(outputs, targets, "squared"),
    ):
        with pytest.raises(
            ValueError, match="segmentation has no values to regress: its targets are masks"
        ):
            call()
    with pytest.raises(ValueError, match="segmentation has no learned targets"):
        TASK.smoothed_logits(targets)
    assert TASK.pack(targets, 1) is targets
    with pytest.raises(ValueError, match="segmentation stores one image in one, found factor 2"):
        TASK.pack(targets, 2)


@pytest.mark.parametrize("count", [0, 256])
def test_masks_of_bytes_tell_255_classes_apart(count):
    assert Segmentation(tuple(map(str, range(255)))).outputs == 255
    with pytest.raises(ValueError, match=f"expected 1 to 255 classes.*found {count}"):
        Segmentation(tuple(map(str, range(count))))


def test_a_budget_is_of_images_not_of_classes():
    assert not TASK.by_class
    strata = TASK.strata(masks(4))
    assert len(strata) == 1
    assert strata.members[0].tolist() == [0, 1, 2, 3]


# ---- checks --------------------------------------------------------------------------------------


def test_masks_that_fit_pass_and_so_does_one_that_is_void_all_over():
    targets = masks(3)
    targets[1] = VOID
    TASK.check(torch.zeros(3, 3, 6, 4), targets, "train")
    TASK.check(torch.zeros(0, 3, 6, 4), targets[:0], "train")
    assert [member.tolist() for member in TASK.groups(targets).members] == [[0, 2]] * CLASSES


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (masks(2), r"train: 3 images but 2 masks"),
        (masks(3, 4, 6), r"train: the masks are 4x6 pixels \(height x width\), the images 6x4; resize"),
        (masks(3).long(), r"train: expected masks \(N, H, W\) uint8.*255.*found \(3, 6, 4\) torch.int64"),
        (masks(3)[:, None], r"train: expected masks \(N, H, W\) uint8.*found \(3, 1, 6, 4\) torch.uint8"),
        (torch.zeros(3, dtype=torch.uint8), r"found \(3,\) torch.uint8"),
    ],
    ids=["count", "size", "dtype", "axes", "labels"],
)
def test_masks_of_another_shape_or_type_are_refused(targets, message):
    with pytest.raises(DataError, match=message):
        TASK.check(torch.zeros(3, 3, 6, 4), targets, "train")


def test_a_value_without_a_class_is_refused_with_its_image_and_place():
    targets = masks(3)
    targets[1, 4, 2], targets[2, 0, 0] = 11, 3
    with pytest.raises(
        DataError,
        match=r"train: the mask of image 1 holds 11 at row 4, column 2, but the 3 classes are numbered "
        r"0 to 2 and void is 255; values without a class: 3, 11$",
    ):
        TASK.check(torch.zeros(3, 3, 6, 4), targets, "train")
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    with pytest.raises(
        DataError, match=r"values without a class: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, \.\.\.$"
    ):
        TASK.check(torch.zeros(1, 3, 16, 16), every, "train")


def test_soft_masks_are_probabilities_in_the_cells_of_a_grid_of_the_images():
    images = torch.zeros(2, 3, 6, 4)
    for size in ((6, 4), (3, 2), (1, 1)):
        TASK.check_soft(images, soft_masks(2, CLASSES, *size).float())
    for rows, columns in ((4, 4), (12, 8)):
        with pytest.raises(ValueError, match=f"expected soft masks of 6x4 cells.*found {rows}x{columns}"):
            TASK.check_soft(images, torch.zeros(2, CLASSES, rows, columns))
    for wrong in ((2, 4, 6, 4), (1, CLASSES, 6, 4), (2, CLASSES)):
        with pytest.raises(ValueError, match=r"expected soft targets \(2, 3, 6, 4\) float32") as refusal:
            TASK.check_soft(images, torch.zeros(wrong))
        assert str(wrong) in str(refusal.value)
    with pytest.raises(ValueError, match=r"expected soft targets.*found \(2, 3, 6, 4\) torch\.float64"):
        TASK.check_soft(images, torch.zeros(2, CLASSES, 6, 4).double())
    with pytest.raises(ValueError, match="expected finite soft targets"):
        TASK.check_soft(images, torch.full((2, CLASSES, 3, 2), torch.nan))
    with pytest.raises(ValueError, match=r"expected soft masks of at least 0, found -0\.5"):
        TASK.check_soft(images, torch.full((2, CLASSES, 3, 2), -0.5))


def test_outputs_are_maps_of_the_images_size_or_a_whole_number_of_times_smaller():
    images = torch.zeros(2, 3, 6, 4)
    for size in ((6, 4), (3, 2), (3, 4), (1, 1)):
        TASK.check_outputs(torch.zeros(2, CLASSES, *size), images)
    for wrong in ((2, CLASSES, 4, 4), (2, CLASSES), (2, 4, 6, 4), (1, CLASSES, 6, 4), (2, CLASSES, 12, 8)):
        with pytest.raises(ValueError, match=r"expected outputs \(2, 3, 6, 4\).*found \(") as refusal:
            TASK.check_outputs(torch.zeros(wrong), images)
        assert str(wrong) in str(refusal.value)
    with pytest.raises(ValueError, match="found dict"):
        TASK.check_outputs({"out": torch.zeros(2, CLASSES, 6, 4)}, images)


# ---- groups and their sums -----------------------------------------------------------------------


def test_groups_are_the_images_that_hold_a_class_and_overlap():
    targets = torch.full((4, 6, 4), VOID, dtype=torch.uint8)
    targets[0, 5, 3], targets[0, 0, 0], targets[2, 1, 1] = 2, 0, 2
    groups = TASK.groups(targets)
    assert groups.names == ("sky", "road", "car")
    assert [member.tolist() for member in groups.members] == [[0], [], [0, 2]]
    assert groups.overlap


@pytest.mark.parametrize("size", [(6, 4), (3, 2), (2, 4), (1, 1)])
def test_sums_weight_each_place_by_the_area_of_the_class_in_it(size):
    targets, features = masks(4), scores(4, 5, *size)
    targets[3] = VOID
    rows, columns = 6 // size[0], 4 // size[1]
    sums, mass = torch.zeros(CLASSES, 5, dtype=torch.float64), [0.0] * CLASSES
    for image in range(4):
        for row in range(6):
            for column in range(4):
                label = int(targets[image, row, column])
                if label != VOID:
                    share = 1 / (rows * columns)
                    sums[label] += share * features[image, :, row // rows, column // columns]
                    mass[label] += share
    found, weight = TASK.group_sums(features, targets)
    torch.testing.assert_close(found, sums)
    torch.testing.assert_close(weight, torch.tensor(mass, dtype=torch.float64))


def test_sums_of_vectors_share_an_image_out_by_the_pixels_of_its_classes():
    targets, features = masks(4), scores(4, 5)
    share = torch.stack([(targets == each).double().mean((1, 2)) for each in range(CLASSES)], 1)
    sums, mass = TASK.group_sums(features, targets)
    torch.testing.assert_close(sums, share.T @ features)
    torch.testing.assert_close(mass, share.sum(0))
    assert float(mass.sum()) == pytest.approx(float((targets != VOID).double().mean()) * 4)


def test_sums_add_up_over_chunks_of_any_layout_and_are_single_or_wider():
    targets = masks(5)
    features = scores(5, 8, 3, 2, dtype=torch.float32).to(memory_format=torch.channels_last)
    whole = TASK.group_sums(features, targets)
    parts = [TASK.group_sums(features[at : at + 2].bfloat16(), targets[at : at + 2]) for at in (0, 2, 4)]
    for at in range(2):
        assert whole[at].dtype == parts[0][at].dtype == torch.float32
        exact = TASK.group_sums(features.bfloat16().double(), targets)[at].float()
        torch.testing.assert_close(sum(part[at] for part in parts), exact)


def test_sums_of_soft_masks_are_weighted_by_their_probabilities():
    targets, features = soft_masks(3, CLASSES, 6, 4), scores(3, 5, 3, 2, seed=1)
    share = block_means(targets, (3, 2))
    sums, mass = TASK.group_sums(features, targets)
    torch.testing.assert_close(sums, torch.einsum("nkhw,ndhw->kd", share, features))
    torch.testing.assert_close(mass, share.sum((0, 2, 3)))
    finer = scores(3, 5, 12, 8, seed=2)
    repeated = targets.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(
        TASK.group_sums(finer, targets)[0], torch.einsum("nkhw,ndhw->kd", repeated, finer)
    )


@pytest.mark.parametrize("size", [(4, 2), (2, 1), (3, 2)])
def test_sums_are_differentiable_twice_in_the_features(size):
    targets, features = masks(2, 4, 2), scores(2, 2, *size).requires_grad_()

    def squares(given):
        return TASK.group_sums(given, targets)[0].square()

    assert torch.autograd.gradcheck(squares, features)
    assert torch.autograd.gradgradcheck(squares, features)


def test_sums_of_features_that_are_no_maps_are_refused():
    with pytest.raises(
        ValueError, match=r"expected features \(N, D\) or \(N, D, h, w\), found \(2, 3, 4\)"
    ):
        TASK.group_sums(torch.zeros(2, 3, 4), masks(2))


def test_a_grid_that_does_not_divide_the_pixels_keeps_a_constant():
    maps = torch.full((1, 2, 7, 5), 3.0)
    for size in ((3, 2), (4, 3), (9, 6)):
        torch.testing.assert_close(resized(maps, size), torch.full((1, 2, *size), 3.0))


# ---- how masks move, and how they look -----------------------------------------------------------


def test_masks_follow_a_shift_and_uncovered_pixels_are_void():
    parameters = Parameters.identity(2, (6, 4))
    parameters.column("shift_y")[1] = 2
    parameters.column("shift_x")[1] = -1
    targets = masks(2, void=0)
    moved = TASK.move(targets, ParameterMovement(parameters))
    assert moved.dtype == torch.uint8
    assert torch.equal(moved[0], targets[0])
    assert torch.equal(moved[1, :4, 1:], targets[1, 2:, :3])
    assert (moved[1, 4:] == VOID).all()
    assert (moved[1, :, 0] == VOID).all()
    TASK.check(torch.zeros(2, 3, 6, 4), moved, "moved")
    outputs = scores(2, CLASSES, 6, 4)
    torch.testing.assert_close(TASK.losses(outputs, moved), slow_losses(outputs, moved))
    soft = torch.stack([targets == each for each in range(CLASSES)], 1).double()
    moved_soft = TASK.move(soft, ParameterMovement(parameters))
    assert torch.equal(TASK.hard(moved_soft), moved)
    torch.testing.assert_close(TASK.losses(outputs, moved_soft), TASK.losses(outputs, moved))


def test_a_picture_shows_classes_in_colours_and_void_as_it_is():
    pixels = torch.rand(2, 3, 6, 4, generator=seeds.generator(0))
    targets = masks(2)
    shown = TASK.picture(pixels, targets)
    colours = palette(CLASSES)
    for image in range(2):
        for row in range(6):
            for column in range(4):
                label, pixel = int(targets[image, row, column]), pixels[image, :, row, column]
                expected = pixel if label == VOID else (pixel + colours[label]) / 2
                torch.testing.assert_close(shown[image, :, row, column], expected)


def test_a_picture_of_grey_images_and_coarse_soft_masks_is_coloured():
    pixels = torch.rand(1, 1, 6, 4, generator=seeds.generator(0))
    soft = torch.zeros(1, CLASSES, 3, 2)
    soft[0, 1, 2, 1] = 0.5
    shown = TASK.picture(pixels, soft)
    assert shown.shape == (1, 3, 6, 4)
    assert torch.equal(shown[:, :, :4], pixels.expand(1, 3, 6, 4)[:, :, :4])
    colour = palette(CLASSES)[1].view(3, 1, 1)
    torch.testing.assert_close(shown[0, :, 4:, 2:], (pixels[0, :, 4:, 2:] + colour) / 2)


def test_the_colours_of_many_classes_are_different_and_within_range():
    colours = palette(255)
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1
    assert len(torch.unique((colours * 255).round(), dim=0)) == 255
    assert float(torch.cdist(palette(11), palette(11)).add(torch.eye(11)).min()) > 0.1


# ---- the metric ----------------------------------------------------------------------------------


def measured(outputs, targets, batch=2):
    metric = TASK.make_metric()
    for start in range(0, len(targets), batch):
        metric.update(outputs[start : start + batch], targets[start : start + batch])
    return metric


def test_mean_iou_is_of_one_confusion_matrix_over_all_images():
    targets, outputs = masks(5), scores(5, CLASSES, 6, 4)
    targets[3] = VOID
    table = slow_confusion(outputs.max(1).indices, targets)
    metric = measured(outputs, targets)
    found = metric.compute()
    assert list(found) == list(metric.names) == ["mIoU", "pixel accuracy"]
    assert metric.value == found["mIoU"] == pytest.approx(mean_known(slow_ious(table)))
    pixels = sum(map(sum, table))
    assert found["pixel accuracy"] == pytest.approx(sum(table[k][k] for k in range(CLASSES)) / pixels)
    assert metric.images == 5
    detail = metric.breakdown()
    assert detail.confusion == tuple(map(tuple, table))
    assert detail.values == pytest.approx(slow_ious(table))
    assert detail.images == tuple(sum(bool((mask == k).any()) for mask in targets) for k in range(CLASSES))


def test_classes_in_neither_truth_nor_answers_do_not_count():
    targets = torch.tensor([[[0, 0, 1, VOID]]], dtype=torch.uint8)
    outputs = F.one_hot(torch.tensor([[[0, 1, 1, 2]]]), CLASSES).permute(0, 3, 1, 2).float()
    metric = measured(outputs, targets)
    assert metric.breakdown().values == (0.5, 0.5, None)
    assert metric.value == 0.5
    predicted = targets.clone()
    predicted[..., 3] = 0  # now class 2 is answered where the truth is another: it counts, with 0
    assert measured(outputs, predicted).breakdown().values == pytest.approx((1 / 3, 0.5, 0.0))
    assert measured(outputs, predicted).value == pytest.approx((1 / 3 + 0.5) / 3)


def test_nothing_labelled_has_no_value():
    metric = TASK.make_metric()
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.images == 0
    metric.update(scores(2, CLASSES, 6, 4), torch.full((2, 6, 4), VOID, dtype=torch.uint8))
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.images == 2
    assert metric.breakdown().values == (None,) * CLASSES


def test_merged_metrics_are_one_over_all_images_in_order():
    targets, outputs = masks(6), scores(6, CLASSES, 6, 4)
    one, other = measured(outputs[:4], targets[:4], 3), measured(outputs[4:], targets[4:])
    whole = measured(outputs, targets, 6)
    one.merge(other)
    assert one.compute() == whole.compute()
    assert one.breakdown() == whole.breakdown()
    assert torch.equal(one.parts, whole.parts)
    assert other.images == 2
    with pytest.raises(ValueError, match="expected a metric of 3 classes, found 4"):
        one.merge(SegmentationMetric(4))


def test_what_is_kept_of_an_image_are_pixels_right_labelled_and_answered_by_class():
    targets, outputs = masks(3), scores(3, CLASSES, 6, 4)
    parts = measured(outputs, targets).parts
    assert parts.shape == (3, 3, CLASSES)
    assert not parts.is_floating_point()
    for image in range(3):
        table = slow_confusion(outputs[image].max(0).indices, targets[image])
        for each in range(CLASSES):
            column = sum(row[each] for row in table)
            assert parts[image, :, each].tolist() == [table[each][each], sum(table[each]), column]


def test_resampled_values_are_those_of_sets_in_which_images_are_repeated():
    targets, outputs = masks(4), scores(4, CLASSES, 6, 4)
    targets[0, targets[0] == 2] = 1
    counts = torch.tensor([[1, 1, 1, 1], [0, 3, 0, 1], [4, 0, 0, 0], [0, 0, 0, 0]])
    found = measured(outputs, targets).resampled(counts.double())
    assert found.shape == (4,)
    assert found.dtype == torch.float64
    for row in range(3):
        repeated = torch.arange(4).repeat_interleave(counts[row])
        assert float(found[row]) == pytest.approx(measured(outputs[repeated], targets[repeated]).value)
    assert found[3].isnan()
    assert float(found[0]) == pytest.approx(measured(outputs, targets).value)
    assert measured(outputs, targets).spread(seeds.generator(0), 50) > 0


def test_the_metric_enlarges_coarser_outputs_and_takes_soft_masks():
    targets, outputs = masks(3), scores(3, CLASSES, 3, 2)
    enlarged = F.interpolate(outputs, size=(6, 4), mode="bilinear", align_corners=False)
    assert measured(outputs, targets).compute() == measured(enlarged, targets).compute()
    soft = torch.stack([targets == each for each in range(CLASSES)], 1).float()
    assert measured(enlarged, soft).breakdown() == measured(enlarged, targets).breakdown()


def test_many_classes_have_values_but_no_confusion_matrix():
    task = Segmentation(tuple(map(str, range(101))))
    metric = task.make_metric()
    targets = torch.arange(101, dtype=torch.uint8).view(1, 1, 101)
    metric.update(F.one_hot(targets.long(), 101).permute(0, 3, 1, 2).float(), targets)
    assert metric.breakdown().values == (1.0,) * 101
    assert metric.breakdown().confusion is None
