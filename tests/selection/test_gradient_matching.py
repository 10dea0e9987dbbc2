import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pydistill.selection.factored import Gradients
from pydistill.selection.gradient_matching import Craig, Glister, GradMatch
from pydistill.selection.pursuit import pursue
from pydistill.tasks import Classification
from tests.conftest import ROOT
from tests.selection.known import candidates, generator, gradients, written_out

SELECTORS = [Craig(), GradMatch(), Glister()]


def chosen(selector, residual, inputs, count):
    given = candidates(len(residual), residual=residual, inputs=inputs, classes=residual.shape[1])
    return selector.choose(given, count, generator())


def test_factors_give_lengths_distances_products_and_sums_of_written_out_gradients():
    residual, inputs = gradients(50)
    written = written_out(residual, inputs)
    with_bias = np.concatenate([inputs, np.ones((50, 1))], 1)
    found = Gradients(torch.from_numpy(residual).float(), torch.from_numpy(with_bias).float())
    assert found.lengths.numpy() == pytest.approx(np.linalg.norm(written, axis=1), rel=1e-5)
    rows = torch.tensor([3, 40, 7])
    gaps = np.linalg.norm(written[rows.numpy()][:, None] - written[None], axis=2)
    assert found.distances(rows).numpy() == pytest.approx(gaps, abs=1e-2)
    assert found.distances(rows)[torch.arange(3), rows].tolist() == [0, 0, 0]
    total = found.sum()
    assert total.flatten().numpy() == pytest.approx(written.sum(0), rel=1e-4, abs=1e-4)
    assert found.sum(rows).flatten().numpy() == pytest.approx(
        written[rows.numpy()].sum(0), rel=1e-4, abs=1e-5
    )
    assert found.along(total).numpy() == pytest.approx(written @ written.sum(0), rel=1e-3, abs=1e-3)
    assert found.along(1e-60 * total).dtype == torch.float32


@pytest.mark.parametrize("seed", range(3))
def test_craig_is_facility_location_of_distances_with_clusters_for_weights(seed):
    residual, inputs = gradients(40, seed=seed)
    written = written_out(residual, inputs)
    gaps = np.linalg.norm(written[:, None] - written[None], axis=2)
    expected = []
    for _ in range(7):
        sums = [
            np.inf if at in expected else gaps[:, [*expected, at]].min(1).sum() for at in range(len(gaps))
        ]
        expected.append(int(np.argmin(sums)))
    found = chosen(Craig(), residual, inputs, 7)
    assert found.positions.tolist() == expected
    sizes = np.bincount(gaps[:, expected].argmin(1), minlength=7)
    assert found.weights.tolist() == sizes.tolist()


def test_of_equal_gradients_each_chosen_one_stands_for_itself():
    found = chosen(Craig(), np.ones((6, 2)), np.ones((6, 3)), 4)
    assert found.positions.tolist() == [0, 1, 2, 3]
    assert found.weights.tolist() == [3, 1, 1, 1]


def test_matched_weights_sum_to_the_number_of_images_and_none_is_tiny():
    residual, inputs = gradients(40)
    found = chosen(GradMatch(ridge=0.0), residual, inputs, 25)
    with_bias = np.concatenate([inputs, np.ones((40, 1))], 1)
    match = pursue(
        Gradients(torch.from_numpy(residual).float(), torch.from_numpy(with_bias).float()), 25, 0.0
    )
    assert torch.equal(found.positions, match.positions)
    assert float(found.weights.sum()) == pytest.approx(40)
    assert float(found.weights.min()) == pytest.approx(0.01 * float(found.weights.mean()), rel=0.05)
    large = match.weights > 0.05 * match.weights.mean()
    ratios = found.weights[large] / match.weights[large]
    assert ratios.numpy() == pytest.approx(float(ratios[0]), rel=1e-6)


def one_by_one(residual, inputs, count, rate):
    """GLISTER from its definition, in numpy: every step's outputs, gradient and gains written out."""
    with_bias = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    probability = residual.copy()
    probability[:, 0] += 1
    truth = probability - residual
    step = rate / (with_bias**2).sum(1).mean()
    layer, found = np.zeros((residual.shape[1], with_bias.shape[1])), []
    for _ in range(count):
        odds = probability * np.exp(with_bias @ layer.T)
        error = odds / odds.sum(1, keepdims=True) - truth
        gain = written_out(residual, inputs) @ (error.T @ with_bias).flatten()
        gain[found] = -np.inf
        found.append(int(gain.argmax()))
        layer -= step * np.outer(residual[found[-1]], with_bias[found[-1]])
    return found


@pytest.mark.parametrize(("seed", "rate"), [(0, 0.1), (1, 1.0), (2, 3.0)])
def test_glister_moves_the_layer_with_each_choice(seed, rate):
    residual, inputs = gradients(30, seed=seed)
    expected = one_by_one(residual, inputs, 12, rate)
    assert chosen(Glister(rate=rate), residual, inputs, 12).positions.tolist() == expected


def test_glister_does_not_just_take_the_largest_gains_of_the_first_step():
    residual, inputs = gradients(30, seed=1)
    written = written_out(residual, inputs)
    first = np.argsort(-(written @ written.sum(0)), kind="stable")[:12].tolist()
    assert chosen(Glister(rate=1e-6), residual, inputs, 12).positions.tolist() == first
    assert chosen(Glister(rate=1.0), residual, inputs, 12).positions.tolist() != first


def test_outputs_have_the_derivatives_that_they_are_told_from():
    residual, _ = gradients(20)
    task, targets = Classification(("a", "b", "c")), torch.zeros(20, dtype=torch.int64)
    outputs = task.outputs_of(torch.from_numpy(residual), targets).requires_grad_()
    (again,) = torch.autograd.grad(task.losses(outputs, targets).sum(), outputs)
    assert again.numpy() == pytest.approx(residual, abs=1e-6)


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda each: each.name)
def test_zero_equal_and_single_gradients_and_all_of_them(selector):
    zero, inputs = np.zeros((6, 3)), np.ones((6, 4))
    found = chosen(selector, zero, inputs, 4)
    assert found.positions.tolist() == [0, 1, 2, 3]
    same = np.tile([[-0.5, 0.25, 0.25]], (6, 1))
    for residual, count in ((zero, 6), (same, 4), (same, 6), (same[:1], 1)):
        found = chosen(selector, residual, inputs[: len(residual)], count)
        assert len(set(found.positions.tolist())) == count
        if found.weights is not None:
            assert (found.weights > 0).all()
            assert float(found.weights.sum()) == pytest.approx(len(residual))


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda each: each.name)
def test_scores_without_gradients_are_refused(selector):
    with pytest.raises(ValueError, match="scores of made up hold no gradients of the last layer"):
        selector.choose(candidates(5), 2, generator())


MEASURE = """
import re, pathlib, torch
torch.set_num_threads(1)
from pydistill.selection.factored import Gradients
from pydistill.selection.lazy_greedy import cover
from pydistill.selection.pursuit import pursue
generator = torch.Generator().manual_seed(0)
centres = torch.randn(40, 64, generator=generator)
inputs = centres[torch.arange(8000) % 40] + 0.1 * torch.randn(8000, 64, generator=generator)
residuals = torch.softmax(torch.randn(8000, 10, generator=generator), 1) - 0.1

def run(images, count):
    given = Gradients(residuals[:images], inputs[:images])
    cover(lambda rows, columns: 1 / (1 + given.distances(rows, columns)), images, count, None, 0)
    pursue(given, 10 * count, 0.5)
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

before = run(40, 1)
print(run(8000, 10) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_neither_all_distances_nor_all_gradients_are_held_at_a_time():
    """All distances of 8,000 images are 244 MiB, their gradients 20 MiB: peak memory of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert 0 < int(done.stdout) < 120 * 1024
