"""What every registered selector promises, whoever wrote it: inherited by being registered."""

import dataclasses

import pytest
import torch

from pydistill import DistilledData, distill
from pydistill.data.real import Split
from pydistill.engine.method import make_method, methods
from pydistill.engine.problem import make_problem
from pydistill.scores import compute_scores
from pydistill.selection.base import Selector

TINY = {"network": "convnet:width=4,depth=2", "epochs": 2}
"""Options that make scores cheap, for the selectors that have them."""
SELECTORS = [name for name, kind in methods().items() if issubclass(kind, Selector)]

every = pytest.mark.parametrize("name", SELECTORS)


def small(name, **options):
    fields = {field.name for field in dataclasses.fields(methods()[name])}
    return make_method(name, **{key: value for key, value in TINY.items() if key in fields}, **options)


@pytest.fixture(scope="module")
def scores(tiny):
    return compute_scores(tiny, **TINY)


def select(name, data, scores, **budget):
    seed = budget.pop("seed", 0)
    problem = make_problem(data, seed=seed, device="cpu", **budget)
    selector = small(name)
    return selector.select(problem, scores if selector.scored else None)


def test_there_are_some():
    assert "el2n" in SELECTORS


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
    from pydistill.budget import Budget

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
