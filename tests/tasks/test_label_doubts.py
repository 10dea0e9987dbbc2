"""Confident learning with a guard, against cases made by hand and planted noise."""

import pytest
import torch

from pydistill.tasks import Classification, Detection
from pydistill.tasks.label_doubts import (
    calibrated,
    concentration,
    confident_joint,
    label_doubts,
    surest_disagreement,
)

CLASSES, COUNT = 4, 4000


def planted(share: float, similar: bool, seed: int = 0):
    """Labels drawn from probabilities, a share of them then changed, and the probabilities of all that."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(COUNT, CLASSES, generator=generator)
    logits[torch.arange(COUNT), torch.randint(CLASSES, (COUNT,), generator=generator)] += 5
    clean = logits.softmax(1)
    true = torch.multinomial(clean, 1, generator=generator).squeeze(1)
    wrong = torch.rand(COUNT, generator=generator) < share
    step = torch.ones(COUNT, dtype=torch.int64)
    if not similar:
        step = torch.randint(1, CLASSES, (COUNT,), generator=generator)
    labels = torch.where(wrong, (true + step) % CLASSES, true)
    floor = torch.full((CLASSES, CLASSES), share / (CLASSES - 1))
    if similar:
        floor = share * torch.eye(CLASSES).roll(1, 1)
    floor.fill_diagonal_(1 - share)
    return labels, wrong, clean @ floor


def auc(quality, wrong):
    order = torch.empty(len(quality), dtype=torch.float64)
    order[quality.argsort()] = torch.arange(len(quality), dtype=torch.float64)
    count = int(wrong.sum())
    return 1 - float((order[wrong].sum() - count * (count - 1) / 2) / (count * (len(wrong) - count)))


@pytest.mark.parametrize("similar", [False, True])
def test_planted_labels_are_ranked_and_flagged(similar):
    labels, wrong, given = planted(0.1, similar)
    found = label_doubts(given, labels)
    own = given.gather(1, labels[:, None]).squeeze(1)
    assert auc(found.quality, wrong) >= auc(own, wrong) - 1e-3
    flagged = torch.zeros(COUNT, dtype=torch.bool)
    flagged[found.flagged] = True
    assert float(wrong[flagged].float().mean()) > 0.75
    assert float(flagged[wrong].float().mean()) > 0.75
    assert (found.quality[found.flagged].diff() >= 0).all()
    estimated = float(found.noise.sum() - found.noise.diagonal().sum()) / COUNT
    assert estimated == pytest.approx(0.1, abs=0.03)


def test_clean_labels_are_hardly_flagged_though_the_joint_counts_many():
    labels, _, given = planted(0.0, False)
    found = label_doubts(given, labels)
    off = float(found.joint.sum() - found.joint.diagonal().sum())
    assert len(found.flagged) <= 0.01 * COUNT
    assert off > 2 * len(found.flagged)


def test_the_confident_joint_of_the_papers_counts_by_hand():
    given = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.1, 0.9], [0.6, 0.4]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    thresholds = torch.tensor([2.0 / 3, 0.7])
    assert torch.allclose(label_doubts(given, labels).thresholds, thresholds)
    joint = confident_joint(given, labels, thresholds)
    # counts are [[2, 1], [0, 2]]; image 5 reaches no threshold; rows are scaled to 3 and 3 images
    assert torch.allclose(joint, torch.tensor([[2.0, 1.0], [0.0, 3.0]], dtype=torch.float64))


def test_disagreement_is_counted_in_the_surest_quarter():
    top = torch.linspace(0.6, 0.99, 8)
    given = torch.stack([top, 1 - top], 1)
    labels = torch.tensor([1, 1, 1, 1, 1, 1, 0, 1])
    rates = surest_disagreement(given, labels)
    assert rates[:, 0].tolist() == [0.5, 0.5]
    assert rates[:, 1].tolist() == [0, 0]


def test_concentration_by_hand():
    spread = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert concentration(spread) == pytest.approx(0.5)
    assert concentration(
        torch.tensor([[0.9, 0.0, 0.1], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
    ) == pytest.approx(1)


def test_calibration_undoes_a_temperature():
    labels, _, given = planted(0.0, False)
    too_sure = (given.log() * 3).softmax(1)
    assert float((calibrated(too_sure, labels) - given).abs().mean()) < 0.01


def test_what_is_no_probability_or_label_is_refused():
    given = torch.full((3, 2), 0.5)
    task = Classification(("a", "b"))
    with pytest.raises(ValueError, match=r"found \(3, 2\) and \(2,\)"):
        task.label_doubts(given, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="two classes or more, found 1"):
        label_doubts(given[:, :1], torch.zeros(3, dtype=torch.int64))
    given[1, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        label_doubts(given, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="detection has no one class an image"):
        Detection(("a",)).label_doubts(given, torch.zeros(3, 1, 5))
