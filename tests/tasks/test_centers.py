"""Heat maps, losses and decoding against loops over objects and cells."""

import math

import pytest
import torch

from pydistill import seeds
from pydistill.tasks import centers

CLASSES = 3


def boxes(images=4, most=6, rows=37, columns=50, seed=0):
    """Random objects that lie within images of rows times columns pixels; the last image has none."""
    generator = seeds.generator(seed)
    corner, end = (torch.rand(images, most, 2, generator=generator) for _ in range(2))
    limits = torch.tensor([columns, rows])
    low, high = torch.minimum(corner, end) * limits, torch.maximum(corner, end) * limits
    kind = torch.randint(-1, CLASSES, (images, most, 1), generator=generator).float()
    kind[-1] = -1
    return torch.cat([kind, low, (high - low).clamp_min(1.0)], -1)


def outputs(targets, rows=10, columns=13, seed=1, dtype=torch.float32):
    shape = (len(targets), CLASSES + 4, rows, columns)
    return torch.randn(shape, generator=seeds.generator(seed), dtype=dtype)


def objects(targets, image):
    """(class, x, y, width, height) of an image's objects."""
    return [tuple(row) for row in targets[image].double().tolist() if row[0] >= 0]


def place(box, rows=10, columns=13):
    """Row, column and exact centre in cells."""
    _, x, y, width, height = box
    across, down = (x + width / 2) / 4, (y + height / 2) / 4
    return min(int(down), rows - 1), min(int(across), columns - 1), across, down


def published_radius(height, width, overlap=0.7):
    """``gaussian_radius`` of CenterNet's code, its three cases."""
    b1, c1 = height + width, width * height * (1 - overlap) / (1 + overlap)
    first = (b1 + math.sqrt(b1**2 - 4 * c1)) / 2
    b2, c2 = 2 * (height + width), (1 - overlap) * width * height
    second = (b2 + math.sqrt(b2**2 - 16 * c2)) / 2
    b3, c3 = -2 * overlap * (height + width), (overlap - 1) * width * height
    third = (b3 + math.sqrt(b3**2 - 16 * overlap * c3)) / 2
    return min(first, second, third)


def heat_maps(targets, rows=10, columns=13):
    maps = torch.zeros(len(targets), CLASSES, rows, columns, dtype=torch.float64)
    for image in range(len(targets)):
        for box in objects(targets, image):
            row, column, *_ = place(box)
            spread = (2 * int(published_radius(box[4] / 4, box[3] / 4)) + 1) / 6
            for i in range(rows):
                for j in range(columns):
                    value = math.exp(-((i - row) ** 2 + (j - column) ** 2) / (2 * spread**2))
                    maps[image, int(box[0]), i, j] = max(maps[image, int(box[0]), i, j], value)
    return maps


@pytest.mark.parametrize("seed", range(3))
def test_heat_maps_are_the_largest_gaussian_of_each_class(seed):
    targets = boxes(seed=seed)
    found = centers.encode(targets, CLASSES, 10, 13)
    torch.testing.assert_close(found.heat.double(), heat_maps(targets), rtol=1e-5, atol=1e-6)
    for image in range(len(targets)):
        assert int(found.present[image].sum()) == len(objects(targets, image))
    assert not found.heat[-1].any()


@pytest.mark.parametrize("seed", range(3))
def test_losses_are_the_formulas_written_as_loops(seed):
    targets = boxes(seed=seed)
    answers = outputs(targets, seed=seed + 10, dtype=torch.float64)
    maps, expected = heat_maps(targets), []
    for image in range(len(targets)):
        loss = 0.0
        for index in torch.cartesian_prod(
            torch.arange(CLASSES), torch.arange(10), torch.arange(13)
        ).tolist():
            score = 1 / (1 + math.exp(-float(answers[image][tuple(index)])))
            heat = float(maps[image][tuple(index)])
            loss -= (
                (1 - score) ** 2 * math.log(score)
                if heat == 1
                else (1 - heat) ** 4 * score**2 * math.log(1 - score)
            )
        there = objects(targets, image)
        for box in there:
            row, column, across, down = place(box)
            said = answers[image, CLASSES:, row, column].tolist()
            loss += 0.1 * (abs(said[0] - box[3] / 4) + abs(said[1] - box[4] / 4))
            loss += abs(said[2] - (across - column)) + abs(said[3] - (down - row))
        expected.append(loss / max(len(there), 1))
    found = centers.losses(answers, targets, CLASSES)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_an_images_loss_does_not_depend_on_the_rest_of_its_batch_or_on_padding():
    targets = boxes()
    answers = outputs(targets)
    together = centers.losses(answers, targets, CLASSES)
    longer = torch.cat([torch.full((4, 3, 5), -1.0), targets], 1)
    torch.testing.assert_close(centers.losses(answers, longer, CLASSES), together)
    for at in range(4):
        torch.testing.assert_close(
            centers.losses(answers[at : at + 1], targets[at : at + 1], CLASSES)[0], together[at]
        )


def test_images_without_any_row_have_a_loss():
    none = torch.zeros(2, 0, 5)
    answers = outputs(none).requires_grad_()
    found = centers.losses(answers, none, CLASSES)
    logits = answers.detach()[:, :CLASSES].sigmoid()
    torch.testing.assert_close(
        found, -(logits**2 * (1 - logits).log()).sum((1, 2, 3)), rtol=1e-4, atol=1e-4
    )
    found.sum().backward()
    assert answers.grad.isfinite().all()


def test_derivatives_are_right_to_second_order():
    targets = boxes(2, 3, 9, 8, seed=3)
    targets[0, 0] = torch.tensor([1.0, 1.0, 2.0, 5.0, 4.0])
    answers = outputs(targets, 3, 2, dtype=torch.float64).requires_grad_()

    def loss(values):
        return centers.losses(values, targets, CLASSES)

    assert torch.autograd.gradcheck(loss, (answers,))
    assert torch.autograd.gradgradcheck(loss, (answers,))


def test_losses_of_extreme_outputs_are_finite_with_their_gradients():
    targets = boxes()
    for size in (-200.0, 200.0):
        answers = torch.full((4, CLASSES + 4, 10, 13), size).requires_grad_()
        found = centers.losses(answers, targets, CLASSES)
        found.sum().backward()
        assert found.isfinite().all()
        assert answers.grad.isfinite().all()


def test_losses_map_over_networks_with_targets_of_their_own_or_shared():
    several = torch.stack([boxes(seed=seed) for seed in range(3)])
    answers = torch.stack([outputs(several[0], seed=seed) for seed in range(3)])
    mapped = torch.func.vmap(lambda a, t: centers.losses(a, t, CLASSES))(answers, several)
    shared = torch.func.vmap(lambda a: centers.losses(a, several[0], CLASSES))(answers)
    slopes = torch.func.vmap(torch.func.grad(lambda a, t: centers.losses(a, t, CLASSES).sum()))(
        answers, several
    )
    for at in range(3):
        torch.testing.assert_close(mapped[at], centers.losses(answers[at], several[at], CLASSES))
        torch.testing.assert_close(shared[at], centers.losses(answers[at], several[0], CLASSES))
        alone = answers[at].clone().requires_grad_()
        centers.losses(alone, several[at], CLASSES).sum().backward()
        torch.testing.assert_close(slopes[at], alone.grad)


def answering(targets, rows=10, columns=13):
    """Outputs that say exactly what they should."""
    wanted = centers.encode(targets, CLASSES, rows, columns)
    places = wanted.cells[:, None].expand(-1, 4, -1)
    flat = torch.zeros(len(targets), 4, rows * columns)
    for at in range(targets.shape[1]):  # one after the other: of two in a cell the later one is told
        there = wanted.present[:, at, None, None]
        old = flat.gather(2, places[..., at : at + 1])
        flat = flat.scatter(
            2, places[..., at : at + 1], torch.where(there, wanted.regressed[..., at : at + 1], old)
        )
    return torch.cat([torch.logit(wanted.heat, 1e-6), flat.view(len(targets), 4, rows, columns)], 1)


def test_what_is_encoded_is_decoded():
    targets = torch.tensor(
        [
            [
                [0, 3, 4, 10, 6],
                [2, 20.5, 11.25, 8, 9],
                [1, 30, 20, 20, 17],
                [0, 40, 0, 6, 30],
                [-1, 0, 0, 0, 0],
            ],
            [[-1, 0, 0, 0, 0]] * 5,
            [[1, 0, 0, 50, 37], [-1, 7, 7, 7, 7], [2, 49, 36, 1, 1], [0, 0, 0, 1, 1], [-1, 0, 0, 0, 0]],
        ],
        dtype=torch.float32,
    )
    found = centers.decode(answering(targets), CLASSES)
    assert found.boxes.shape == (3, 100, 4)
    for image in range(3):
        sure = found.scores[image] > 0.9
        rows = torch.cat([found.classes[image, sure, None].float(), found.boxes[image, sure]], 1)
        said = sorted(map(tuple, rows.tolist()))
        true = sorted(objects(targets, image))
        torch.testing.assert_close(
            torch.tensor(said), torch.tensor(true, dtype=torch.float32), atol=1e-4, rtol=1e-4
        )
    assert (found.scores.diff(dim=1) <= 0).all()


def test_two_objects_of_one_class_with_centres_in_one_cell_are_found_as_one():
    close = torch.tensor([[[1.0, 8, 8, 10, 10], [1.0, 9, 9, 9, 9], [2.0, 8, 8, 10, 10]]])
    wanted = centers.encode(close, CLASSES, 10, 13)
    assert (wanted.heat == 1).sum((2, 3)).tolist() == [[0, 1, 1]]
    answers = answering(close)
    found = centers.decode(answers, CLASSES)
    sure = found.scores[0] > 0.9
    assert sorted(found.classes[0, sure].tolist()) == [1, 2]
    answers.requires_grad_()
    centers.losses(answers, close, CLASSES).sum().backward()
    pulls = answers.grad[0, CLASSES:].flatten(1)[:, wanted.cells[0, 0]]
    # the cell says what the last object is: the others pull by 0.1 at the size and by 1 at the offset
    torch.testing.assert_close(pulls[:2].abs(), torch.full((2,), 0.1 / 3))


def test_a_cell_below_a_neighbour_is_no_peak_and_none_is_found_twice():
    answers = torch.full((1, 5, 4, 6), -5.0)
    answers[0, 0, 1, 2], answers[0, 0, 2, 3], answers[0, 0, 3, 5] = 3.0, 2.0, 1.0
    found = centers.decode(answers, 1, most=5)
    assert found.boxes.shape == (1, 5, 4)
    torch.testing.assert_close(found.scores[0, :2], torch.tensor([3.0, 1.0]).sigmoid())
    assert found.boxes[0, 0].tolist() == [(2 - 5) * 4, (1 - 5) * 4, 0, 0]
    assert centers.decode(answers, 1).boxes.shape == (1, 24, 4)


def test_an_image_that_is_not_whole_in_cells_has_a_cell_more():
    assert centers.grid(120, 160) == (30, 40)
    assert centers.grid(37, 50) == (10, 13)
    assert centers.grid(1, 4) == (1, 1)
