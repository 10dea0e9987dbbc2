"""What classification makes of targets and of answers, so that nothing else has to know."""

import math

import pytest
import torch
import torch.nn.functional as F

from pydistill import distill, evaluate, load_data
from pydistill.tasks import Breakdown, Classification, Metric
from tests.conftest import blobs

TASK = Classification(("a", "b", "c"))
CLASSES = torch.tensor([0, 2, 1, 2])
OUTPUTS = torch.tensor([[3.0, 1, 0], [0, 2, 1], [0, 4, 1], [1, 0, 5]])


def test_targets_turn_into_each_other():
    hard = F.one_hot(CLASSES, 3).float()
    assert torch.equal(TASK.values(CLASSES), hard - 1 / 3)
    assert torch.equal(TASK.values(hard), hard - 1 / 3)
    assert torch.equal(TASK.hard(TASK.values(CLASSES)), CLASSES)
    assert TASK.hard(CLASSES) is CLASSES
    assert torch.equal(TASK.probabilities(OUTPUTS, 2.0), torch.softmax(OUTPUTS / 2, 1))
    sure = TASK.probabilities(TASK.smoothed_logits(CLASSES))
    torch.testing.assert_close(sure, hard * 0.9 + (1 - hard) * 0.05)
    torch.testing.assert_close(
        TASK.target_probability(TASK.smoothed_logits(CLASSES), CLASSES), torch.full((4,), 0.9)
    )
    assert [TASK.loss_name(kind) for kind in ("task", "squared")] == ["cross-entropy", "squared error"]


def test_answers_are_counted_by_class_and_by_what_was_said():
    metric, more = TASK.make_metric(), TASK.make_metric()
    metric.update(OUTPUTS, CLASSES)
    more.update(OUTPUTS[:1], CLASSES[:1])
    metric.merge(more)
    assert metric.images == 5
    assert metric.compute() == {"accuracy": 4 / 5}
    found = metric.breakdown()
    assert found.confusion == ((2, 0, 0), (0, 1, 0), (0, 1, 1))
    assert found.values == (1.0, 1.0, 0.5)
    assert found.images == (2, 1, 2)
    none = more.breakdown()
    assert none.values == (1.0, None, None)
    both = Breakdown.mean([found, none])
    assert both.confusion == ((3, 0, 0), (0, 1, 0), (0, 1, 1))
    assert both.values == (1.0, 1.0, 0.5)
    assert both.images == (3, 1, 2)
    unseen = Breakdown((0.0, None), (0, 0))
    assert Breakdown.mean([unseen, Breakdown((None, None), (0, 0))]).values == (0.0, None)


def test_a_metric_can_be_had_of_resampled_images():
    metric = TASK.make_metric()
    metric.update(OUTPUTS, CLASSES)
    weights = torch.tensor([[1.0, 1, 1, 1], [0, 4, 0, 0], [0, 0, 1, 3]])
    assert metric.resampled(weights).tolist() == [0.75, 0, 1]
    closed = metric.spread(torch.Generator())
    sampled = Metric.spread(metric, torch.Generator().manual_seed(0), 20_000)
    assert sampled == pytest.approx(closed, rel=0.02)
    alone = TASK.make_metric()
    assert math.isnan(alone.value)
    alone.update(OUTPUTS[:1], CLASSES[:1])
    assert math.isnan(alone.spread(torch.Generator()))
    with pytest.raises(ValueError, match="same classes"):
        alone.merge(Classification(("x", "y")).make_metric())


@pytest.mark.parametrize("classes", [2, 100, 101])
def test_many_classes_have_no_confusion_matrix_but_their_accuracies(classes):
    task = Classification(tuple(map(str, range(classes))))
    targets = torch.arange(classes)
    outputs = F.one_hot(targets, classes).float()
    outputs[0] = outputs[1]
    metric = task.make_metric()
    metric.update(outputs, targets)
    found = metric.breakdown()
    assert found.values == (0.0, *[1.0] * (classes - 1))
    assert (found.confusion is None) == (classes > 100)


def test_a_report_of_many_classes_says_what_is_left_out():
    data = load_data(blobs(classes=101, each=4, side=4), name="many")
    report = evaluate(
        distill(data, "random", ipc=1), data, architectures=("mlp:width=4",), epochs=1, repeats=1,
        random_draws=0, whole=False,
    )  # fmt: skip
    (detail,) = report.details
    assert detail.classes.confusion is None
    assert len(detail.classes.values) == 101
    assert "Confusion matrices are left out: there are 101 classes, more than 100." in report.notes
