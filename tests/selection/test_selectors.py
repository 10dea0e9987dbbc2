"""What every registered selector promises, whoever wrote it: inherited by being registered."""

import dataclasses

import pytest
import torch

from pydistill import DistilledData, distill
from pydistill.budget import Budget
from pydistill.data.real import Split
from pydistill.engine.method import make_method, methods
from pydistill.engine.problem import make_problem
from pydistill.scores import compute_scores
from pydistill.selection.base import Selector
from tests.evaluation.test_dense import NETWORKS

TINY = {"network": "convnet:width=4,depth=2", "epochs": 2}
"""Options that make scores cheap, for the selectors that have them."""
SELECTORS = [name for name, kind in methods().items() if issubclass(kind, Selector)]

CLASSIFYING = [name for name in SELECTORS if "classification" in methods()[name].tasks]
DENSE = [
    (name, task)
    for name in SELECTORS
    for task in methods()[name].tasks
    if task in ("segmentation", "detection")
]

every = pytest.mark.parametrize("name", CLASSIFYING)
every_dense = pytest.mark.parametrize(("name", "task"), DENSE)


def small(name, **options):
    fields = {field.name for field in dataclasses.fields(methods()[name])}
    chosen = {**TINY, **options}
    return make_method(name, **{key: value for key, value in chosen.items() if key in fields})


@pytest.fixture(scope="module")
def scores(tiny):
    return compute_scores(tiny, **TINY)


def select(name, data, scores, **budget):
    seed = budget.pop("seed", 0)
    problem = make_problem(data, seed=seed, device="cpu", **budget)
    selector = small(name, network=NETWORKS.get(data.task.name, TINY["network"]))
    return selector.select(problem, scores if selector.scored else None)


def test_there_are_some():
    assert {"el2n", "greedy"} <= set(CLASSIFYING)
    assert {("balanced", "segmentation"), ("greedy", "detection")} <= set(DENSE)


@every
@pytest.mark.parametrize("ipc", [1, 2, 26, 27])
def test_exactly_as_many_different_images_of_each_class(name, ipc, tiny, scores):
    found = select(name, tiny, scores, ipc=ipc)
    assert len(found) == len(set(found.indices.tolist())) == 3 * ipc
    assert found.groups.tolist() == [at for at in range(3) for _ in range(ipc)]
    assert torch.equal(tiny.train.targets[found.indices], found.groups)
    if found.weights is not None:
        assert found.weights.shape == (3 * ipc,)
        assert (found.weights >= 0).all()
        assert float(found.weights.mean()) == pytest.approx(1, rel=1e-5)


@every
def test_too_many_or_none_are_refused(name, tiny, scores):
    with pytest.raises(ValueError, match="asked for, but class"):
        select(name, tiny, scores, ipc=28)
    with pytest.raises(ValueError, match="ipc must be at least 1, got 0"):
        select(name, tiny, scores, ipc=0)
    found = select(name, tiny, scores, ipc=28, short_classes="keep")
    assert sorted(found.indices.tolist()) == list(range(81))


@every
def test_the_same_seed_selects_the_same_and_bounded_batches_change_nothing(name, tiny, scores):
    one = select(name, tiny, scores, ipc=4, seed=1)
    assert torch.equal(one.indices, select(name, tiny, scores, ipc=4, seed=1).indices)
    assert torch.equal(one.indices, select(name, tiny, scores, ipc=4, seed=1, max_batch=7).indices)


@every
def test_a_nested_order_has_every_smaller_selection_at_its_start(name, tiny, scores):
    whole = select(name, tiny, scores, budget=Budget.of(images=20))
    if whole.order is None:
        assert not methods()[name].nested
        return
    assert sorted(whole.order.tolist()) == list(range(20))
    for images in (3, 4, 8, 15):
        part = select(name, tiny, scores, budget=Budget.of(images=images))
        assert set(whole.indices[whole.order[:images]].tolist()) == set(part.indices.tolist())


@every
def test_it_is_a_method_whose_set_is_made_of_the_selected_images(name, tiny, scores, tmp_path):
    found = select(name, tiny, scores, ipc=3)
    made = distill(tiny, small(name), ipc=3, folder=tmp_path)
    assert torch.equal(made.images, tiny.inputs(tiny.train, found.indices).contiguous())
    assert torch.equal(made.targets, tiny.train.targets[found.indices])
    assert torch.equal(made.indices, found.indices)
    assert made == DistilledData.load(tmp_path)


@every
def test_it_never_looks_at_test_images(name, tiny, scores):
    bad = Split(torch.zeros_like(tiny.test.images), torch.zeros_like(tiny.test.targets))
    poisoned = dataclasses.replace(tiny, test=bad)
    assert torch.equal(
        select(name, tiny, scores, ipc=3).indices, select(name, poisoned, scores, ipc=3).indices
    )


@every
def test_a_tensor_of_equal_images_is_no_trouble(name, tiny):
    """Ties, zero distances and zero gradients."""
    same = Split(torch.full_like(tiny.train.images, 0.5), tiny.train.targets)
    flat = dataclasses.replace(tiny, train=same, fingerprint="flat")
    found = select(name, flat, compute_scores(flat, **TINY), ipc=5)
    assert len(set(found.indices.tolist())) == 15


@every_dense
@pytest.mark.parametrize("images", [1, 2, 15, 16])
def test_exactly_as_many_different_images_of_a_dense_task(name, task, images, every_data, every_scores):
    data, scores = every_data[task], every_scores[task]
    found = select(name, data, scores, budget=Budget.of(images=images))
    assert len(found) == len(set(found.indices.tolist())) == images
    assert found.groups.tolist() == [0] * images
    assert set(found.indices.tolist()) <= set(range(16))
    if found.weights is not None:
        assert float(found.weights.mean()) == pytest.approx(1, rel=1e-5)


@every_dense
def test_too_many_images_of_a_dense_task_are_refused(name, task, every_data, every_scores):
    data, scores = every_data[task], every_scores[task]
    with pytest.raises(ValueError, match="has only 16 training images"):
        select(name, data, scores, budget=Budget.of(images=17))
    kept = select(name, data, scores, budget=Budget.of(images=17), short_classes="keep")
    assert sorted(kept.indices.tolist()) == list(range(16))


@every_dense
def test_a_nested_order_of_a_dense_task(name, task, every_data, every_scores):
    data, scores = every_data[task], every_scores[task]
    whole = select(name, data, scores, budget=Budget.of(images=9))
    again = select(name, data, scores, budget=Budget.of(images=9), max_batch=3)
    assert torch.equal(whole.indices, again.indices)
    if whole.order is None:
        assert not methods()[name].nested
        return
    assert sorted(whole.order.tolist()) == list(range(9))
    for images in (1, 4, 7):
        part = select(name, data, scores, budget=Budget.of(images=images))
        assert set(whole.indices[whole.order[:images]].tolist()) == set(part.indices.tolist())


@every_dense
def test_it_is_a_method_for_a_dense_task(name, task, every_data, tmp_path):
    data = every_data[task]
    method = small(name, network=NETWORKS[task])
    made = distill(data, method, images=3, folder=tmp_path)
    assert torch.equal(made.images, data.inputs(data.train, made.indices).contiguous())
    assert torch.equal(made.targets, data.train.targets[made.indices])
    assert made == DistilledData.load(tmp_path)


@every_dense
def test_images_that_hold_nothing_are_no_trouble(name, task, every_data):
    """Void all over, or without objects, and all alike."""
    data = every_data[task]
    empty = (
        torch.tensor(255, dtype=torch.uint8) if task == "segmentation" else torch.tensor([-1.0, 0, 0, 0, 0])
    )
    train = Split(torch.full_like(data.train.images, 7), torch.zeros_like(data.train.targets) + empty)
    flat = dataclasses.replace(data, train=train, fingerprint="flat")
    scores = compute_scores(flat, NETWORKS[task], epochs=1) if small(name).scored else None
    found = select(name, flat, scores, budget=Budget.of(images=5))
    assert len(set(found.indices.tolist())) == 5
