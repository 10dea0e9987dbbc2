"""Average precision against faster-coco-eval and against counting by hand."""

import math
import sys

import numpy as np
import pytest
import torch

from pydistill import extras, seeds
from pydistill.errors import MissingExtraError
from pydistill.tasks import centers
from pydistill.tasks.detection import Detection
from pydistill.tasks.detection_metric import AveragePrecision, matched, overlaps

NAMES = ("a", "b", "c", "never")
TASK = Detection(NAMES)


def crowded(images=9, most=12, seed=0):
    """Targets with many overlapping boxes of one class, and outputs that find some of them, and others.

    Image 0 has no objects; class 2 is never found; class 3 has no objects, but is found.
    """
    generator = seeds.generator(seed)
    corner = torch.rand(images, most, 2, generator=generator) * torch.tensor([40.0, 28.0])
    side = torch.rand(images, most, 2, generator=generator) * 12 + 4
    kind = torch.randint(-1, 3, (images, most, 1), generator=generator).float()
    kind[kind == 1] = 0  # crowds of class 0
    kind[0] = -1
    kind[1, 0], kind[1, 1] = 1, 2
    targets = torch.cat([kind, corner, side], -1)
    wanted = centers.encode(targets, len(NAMES), 12, 16)
    flat = torch.zeros(images, 4, 12 * 16).scatter(
        2, wanted.cells[:, None].expand(-1, 4, -1), wanted.regressed
    )
    heat = torch.logit(wanted.heat, 0.02) + torch.randn(wanted.heat.shape, generator=generator) * 2
    heat[:, 2] = -torch.inf
    boxes = flat.view(images, 4, 12, 16) + torch.randn(images, 4, 12, 16, generator=generator) * 0.5
    return torch.cat([heat, boxes], 1), targets


def given(outputs, targets):
    metric = TASK.make_metric()
    metric.update(outputs, targets)
    return metric


@pytest.mark.parametrize("seed", range(6))
def test_own_ap50_is_that_of_faster_coco_eval(seed):
    metric = given(*crowded(seed=seed))
    values = metric.compute()
    own = metric.resampled(torch.ones(1, metric.images))
    assert 0.05 < values["AP50"] < 0.95
    assert abs(float(own[0]) - values["AP50"]) < 1e-6
    by_class = metric._coco()[0, ..., 0].mean(0)
    for value, other in zip(metric.breakdown().values, by_class, strict=True):
        assert other == -1 if value is None else abs(value - other) < 1e-6
    assert metric.breakdown().values[2] == 0
    assert metric.breakdown().values[3] is None


def test_a_weight_counts_as_that_many_copies_of_the_image():
    outputs, targets = crowded(seed=3)
    times = torch.tensor([0, 2, 1, 0, 3, 1, 1, 0, 2])
    copies = given(outputs.repeat_interleave(times, 0), targets.repeat_interleave(times, 0))
    metric = given(outputs, targets)
    found = metric.resampled(torch.stack([times, torch.ones(9)]))
    assert abs(float(found[0]) - copies.compute()["AP50"]) < 1e-6
    assert abs(float(found[1]) - metric.compute()["AP50"]) < 1e-6
    assert found.dtype == torch.float64


def test_samples_are_taken_in_parts_that_fit_into_memory(monkeypatch):
    metric = given(*crowded())
    weights = torch.randint(0, 3, (20, 9), generator=seeds.generator(1))
    whole = metric.resampled(weights)
    monkeypatch.setattr("pydistill.tasks.detection_metric._AT_ONCE", 1)
    assert torch.equal(metric.resampled(weights), whole)
    assert math.isfinite(metric.spread(seeds.generator(0)))


def test_average_precision_by_hand():
    """Of 2 objects one is found first, then there is a false box, then the other one."""
    truth = torch.tensor([[[0.0, 4, 4, 8, 8], [0.0, 20, 4, 8, 8]]])
    outputs = torch.full((1, 5, 4, 8), -30.0)
    for column, logit in ((2, 3.0), (4, 2.0), (6, 1.0)):
        outputs[0, 0, 2, column] = logit
        outputs[0, 1:, 2, column] = torch.tensor([2.0, 2.0, 0.0, 0.0])
    metric = AveragePrecision(("a",))
    metric.update(outputs, truth)
    values = metric.compute()
    expected = (51 * 1.0 + 50 * 2 / 3) / 101  # recalls 0 to 0.5 at precision 1, above at 2 of 3
    assert abs(values["AP50"] - expected) < 1e-9
    assert abs(values["AP"] - expected) < 1e-9
    assert abs(values["count_error"] - 1 / 3) < 1e-9
    assert metric.breakdown().values == (pytest.approx(expected),)
    assert metric.breakdown().images == (1,)


def test_sizes_of_objects_are_scaled_with_the_images():
    """8x8 pixels of 16x32 are as 198x196 of 640x480: large; so are 2x2 pixels medium and 1x1 small."""
    for side, name in ((8.0, "AP_large"), (2.0, "AP_medium"), (1.0, "AP_small")):
        metric = AveragePrecision(("a",))
        outputs = torch.full((1, 5, 4, 8), -30.0)
        outputs[0, :, 1, 3] = torch.tensor([3.0, side / 4, side / 4, 0.5, 0.5])
        metric.update(outputs, torch.tensor([[[0.0, 14 - side / 2, 6 - side / 2, side, side]]]))
        values = metric.compute()
        assert values[name] == 1
        others = {"AP_small", "AP_medium", "AP_large"} - {name}
        assert all(math.isnan(values[other]) for other in others)


def test_nothing_is_defined_without_objects():
    outputs, targets = crowded()
    for metric in (TASK.make_metric(), given(outputs[:1], targets[:1])):
        values = metric.compute()
        assert all(math.isnan(values[name]) for name in metric.names[:-1])
        assert metric.breakdown().values == (None,) * 4
        assert metric.breakdown().images == (0,) * 4
        assert metric.resampled(torch.ones(2, metric.images)).isnan().all()
    assert math.isnan(TASK.make_metric().compute()["count_error"])
    assert math.isnan(TASK.make_metric().spread(seeds.generator(0)))


def test_a_network_that_finds_nothing_has_no_precision():
    _, targets = crowded()
    metric = given(torch.full((9, 8, 12, 16), -torch.inf), targets)
    values = metric.compute()
    assert values["AP50"] == values["AP"] == 0
    assert values["count_error"] == 8 / 9  # all wrong but in the image without objects
    assert metric.resampled(torch.ones(1, 9)).tolist() == [0.0]


def test_merged_metrics_are_as_one():
    outputs, targets = crowded()
    first, second = given(outputs[:4], targets[:4]), given(outputs[4:], targets[4:])
    first.merge(second)
    whole = given(outputs, targets)
    assert first.images == 9
    assert first.compute() == pytest.approx(whole.compute(), nan_ok=True)
    weights = torch.arange(9.0)[None]
    assert torch.equal(first.resampled(weights), whole.resampled(weights))
    assert first.breakdown() == whole.breakdown()
    with pytest.raises(ValueError, match="same classes"):
        first.merge(AveragePrecision(("a",)))


def test_weights_that_are_not_one_an_image_are_refused():
    with pytest.raises(ValueError, match=r"expected weights \(B, 9\), a column an image, found \(2, 8\)"):
        given(*crowded()).resampled(torch.ones(2, 8))


def test_boxes_take_the_object_that_they_overlap_most():
    truth = np.array([[0.0, 0, 10, 10], [2, 0, 10, 10], [50, 50, 4, 4]])
    boxes = np.array([[1.9, 0, 10, 10], [2, 0, 10, 10], [0, 0, 10, 10], [80, 0, 1, 1]])
    assert matched(boxes, truth, 0.5).tolist() == [True, True, False, False]
    assert matched(boxes, truth[:0], 0.5).tolist() == [False] * 4
    np.testing.assert_allclose(overlaps(boxes, truth)[1], [80 / 120, 1, 0])
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0.0]]


def test_the_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtraError, match=r'faster_coco_eval.*pip install "pydistill\[detection\]"'):
        given(*crowded()).compute()
    assert extras.EXTRAS["faster_coco_eval"] == "detection"
