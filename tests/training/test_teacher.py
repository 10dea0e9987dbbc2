"""Relabelling is recorded, keeps the classes of origin, and makes sets of values sets of probabilities."""

import dataclasses

import pytest
import torch

from pydistill import DistilledData, distill, nets, relabel
from pydistill.data.recipe import StoredNetwork

NET = "mlp:width=8"


@pytest.fixture(scope="module")
def teacher(tiny):
    return nets.build(NET, tiny.shape, 3, torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def values(tiny):
    return distill(tiny, "kip", ipc=2, iterations=1, batch_real=9)


@pytest.mark.parametrize("kind", ["hard", "soft", "augmentations"])
def test_provenance_says_how_a_set_was_relabelled(values, teacher, kind, tmp_path):
    made = relabel(values, teacher, kind, temperature=2.0, draws=3, seed=5)
    digest = StoredNetwork(NET, teacher.state_dict()).digest()
    expected = {"kind": kind, "teacher": NET, "teacher_sha256": digest, "temperature": 2.0}
    if kind == "augmentations":
        expected |= {"draws": 3, "seed": 5}
    assert made.provenance.relabelled == expected
    assert values.provenance.relabelled is None
    made.save(tmp_path)
    found = DistilledData.load(tmp_path)
    assert found.provenance == made.provenance
    assert torch.equal(found.origin, made.origin)


@pytest.mark.parametrize("kind", ["hard", "soft", "augmentations"])
def test_values_become_targets_of_the_tasks_own_loss_and_origin_stays(values, teacher, kind):
    made = relabel(values, teacher, kind)
    assert values.recipe.loss == "squared"
    assert made.recipe.loss == "task"
    assert made.origin.tolist() == [0, 0, 1, 1, 2, 2]
    if kind == "hard":
        assert torch.equal(made.classes, made.targets)
    else:
        assert torch.equal(made.classes, made.origin)
        torch.testing.assert_close(made.targets.sum(1), torch.ones(6))
    again = relabel(relabel(values, teacher, "hard"), teacher, kind)
    assert torch.equal(again.origin, made.origin)


def test_another_teacher_is_another_digest(values, teacher, tiny):
    other = nets.build(NET, tiny.shape, 3, torch.Generator().manual_seed(2))
    one, two = (relabel(values, each).provenance.relabelled for each in (teacher, other))
    assert one["teacher_sha256"] != two["teacher_sha256"]
    assert one == relabel(values, teacher).provenance.relabelled


def test_a_teacher_is_kept_where_asked_for_and_counted(values, teacher, tmp_path):
    without, kept = relabel(values, teacher), relabel(values, teacher, temperature=3.0, keep_teacher=True)
    assert without.recipe.teacher is None
    assert kept.recipe.temperature == 3.0
    weights = sum(value.nbytes for value in teacher.state_dict().values())
    assert kept.nbytes["networks"] == without.nbytes["networks"] + weights
    kept.save(tmp_path)
    found = DistilledData.load(tmp_path)
    assert found.recipe.temperature == 3.0
    assert found.recipe.teacher.digest() == kept.provenance.relabelled["teacher_sha256"]


def test_a_teachers_mode_and_global_generator_are_left_alone(values, teacher):
    teacher.train()
    before = torch.get_rng_state()
    relabel(values, teacher, "augmentations", draws=2)
    assert teacher.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_set_that_was_relabelled_goes_on_being_a_set_of_its_method(values, teacher):
    made = relabel(values, teacher)
    plain = dataclasses.replace(made.provenance, relabelled=None)
    assert plain == values.provenance
