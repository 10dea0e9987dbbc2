from itertools import combinations

import numpy as np
import pytest
import torch

from pydistill.selection.factored import Gradients
from pydistill.selection.pursuit import nonnegative, pursue
from tests.selection.known import gradients, written_out


def factored(residual, inputs):
    with_bias = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    return Gradients(torch.from_numpy(residual).float(), torch.from_numpy(with_bias).float())


def by_hand(gram, right):
    """The minimum over w >= 0, by the minimum over each set of positive weights."""
    best, found = 0.0, np.zeros(len(right))
    for size in range(1, len(right) + 1):
        for own in map(list, combinations(range(len(right)), size)):
            weights = np.linalg.lstsq(gram[np.ix_(own, own)], right[own], rcond=None)[0]
            value = weights @ gram[np.ix_(own, own)] @ weights / 2 - right[own] @ weights
            if (weights > 0).all() and value < best - 1e-12:
                best, found = value, np.zeros(len(right))
                found[own] = weights
    return found


def reference(written, count, ridge):
    """Matching pursuit in numpy, gradients written out; weights by brute force."""
    total, chosen, weights = written.sum(0), [], np.zeros(0)
    penalty = ridge * (written**2).sum(1).mean()
    for _ in range(count):
        rest = total - weights @ written[chosen] if chosen else total
        gain = written @ rest
        gain[chosen] = -np.inf
        if gain.max() <= 0:
            break
        chosen.append(int(gain.argmax()))
        own = written[chosen]
        weights = by_hand(own @ own.T + penalty * np.eye(len(chosen)), own @ total)
    return chosen, weights


@pytest.mark.parametrize("seed", range(6))
def test_weights_that_are_not_negative_are_those_of_brute_force(seed):
    random = np.random.default_rng(seed)
    factors = random.standard_normal((7, 9))
    gram, right = factors @ factors.T, random.standard_normal(7)
    found = nonnegative(torch.from_numpy(gram), torch.from_numpy(right)).numpy()
    assert found == pytest.approx(by_hand(gram, right), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_weights_that_are_not_negative_are_those_of_scipy(seed):
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(seed)
    factors, wanted = random.standard_normal((60, 40)), random.standard_normal(60)
    expected = optimize.nnls(factors, wanted)[0]
    gram, right = torch.from_numpy(factors.T @ factors), torch.from_numpy(factors.T @ wanted)
    found = nonnegative(gram, right)
    assert found.numpy() == pytest.approx(expected, abs=1e-6)
    some = torch.from_numpy(expected * (random.random(40) < 0.5))
    own = torch.nonzero(some).flatten()
    some[own] = nonnegative(gram[own][:, own], right[own])
    assert nonnegative(gram, right, some).numpy() == pytest.approx(expected, abs=1e-6)


def test_a_singular_problem_has_a_minimum_all_the_same():
    gram, right = torch.ones(3, 3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
    assert float(nonnegative(gram, right).sum()) == pytest.approx(2)
    assert nonnegative(gram, -right).tolist() == [0, 0, 0]
    assert nonnegative(torch.zeros_like(gram), 0 * right).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("seed", "ridge"), [(0, 0.0), (1, 0.5), (2, 0.01)])
def test_choices_and_weights_are_those_of_written_out_gradients(seed, ridge):
    residual, inputs = gradients(30, seed=seed)
    written = written_out(residual, inputs)
    chosen, weights = reference(written, 8, ridge)
    found = pursue(factored(residual, inputs), 8, ridge)
    assert found.positions.tolist() == chosen
    assert found.weights.numpy() == pytest.approx(weights, rel=1e-3, abs=1e-4 * weights.max())
    rest = written.sum(0) - weights @ written[chosen]
    assert found.rest.flatten().numpy() == pytest.approx(rest, abs=1e-3 * np.abs(written.sum(0)).max())


def test_the_first_choices_do_not_depend_on_how_many_there_are():
    given = factored(*gradients(540, width=8))
    whole = pursue(given, 540, 0.5, exact=32).positions
    assert sorted(whole.tolist()) == list(range(540))
    for count in (1, 5, 40, 531):
        assert torch.equal(pursue(given, count, 0.5, exact=32).positions, whole[:count])


def test_a_sum_that_is_matched_leaves_the_others_a_weight_of_zero():
    """Two directions: two images make the sum of all, exactly."""
    residual = np.tile([[-1.0, 1.0]], (8, 1))
    inputs = np.eye(2)[[0, 1, 0, 1, 0, 1, 0, 1]]
    given = Gradients(torch.from_numpy(residual).float(), torch.from_numpy(inputs).float())
    found = pursue(given, 5, 0.0)
    assert found.positions.tolist()[:2] == [0, 1]
    assert found.weights.numpy() == pytest.approx([4, 4, 0, 0, 0], abs=1e-6)
    assert len(set(found.positions.tolist())) == 5
    assert float(found.rest.norm()) < 1e-6


def test_gradients_of_zero_are_taken_in_their_order():
    found = pursue(Gradients(torch.zeros(6, 3), torch.ones(6, 4)), 4, 0.5)
    assert found.positions.tolist() == [0, 1, 2, 3]
    assert found.weights.tolist() == [0, 0, 0, 0]


def test_a_descent_comes_near_the_minimum():
    given = factored(*gradients(200, width=30))
    exact, descended = pursue(given, 60, 0.5), pursue(given, 60, 0.5, exact=4)
    penalty = 0.5 * float(given.lengths.square().mean())

    def objective(match):
        return float(match.rest.square().sum() + penalty * match.weights.square().sum())

    assert objective(descended) < 1.01 * objective(exact)
    assert (descended.weights >= 0).all()
