"""Sets whose images have weights, from a method's result to the report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import pydistill
from pydistill import distill, evaluate, nets, relabel, seeds
from pydistill.data import DistilledData, load_data
from pydistill.data.recipe import StoredTraining
from pydistill.data.weights import normalised
from pydistill.engine.method import Method, Synthetic
from pydistill.evaluation import Protocol
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import TrainingJob, train

NET = "mlp:width=8"
SHORT = Protocol(
    architectures=(NET,), repeats=1, epochs=4, learning_rate=0.05, random_draws=1, random_repeats=1,
    whole=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def plain(digits):
    return distill(digits, "random", ipc=2, seed=3)


@pytest.fixture(scope="module")
def weighed(plain):
    return replace(plain, weights=normalised(torch.arange(20.0)))


@dataclass(frozen=True, kw_only=True)
class FirstImages(Method):
    """Two images, the second three times as heavy."""

    name: ClassVar[str] = "first images"
    family: ClassVar = "selection"
    steps: ClassVar[int] = 0

    def start(self, problem):
        return {"indices": torch.arange(2)}

    def step(self, problem, state, index) -> Mapping[str, float]:
        raise IndexError

    def result(self, problem, state):
        images, targets = problem.images(state["indices"]), problem.targets(state["indices"])
        return Synthetic(images, targets, weights=torch.tensor([0.5, 1.5], dtype=torch.float64))


def test_what_a_method_weighs_is_in_its_set(tiny, tmp_path):
    made = distill(tiny, FirstImages(), ipc=1, folder=tmp_path)
    assert made.weights.tolist() == [0.5, 1.5]
    assert made.weights.dtype == torch.float32
    assert DistilledData.load(tmp_path) == made


def runs(report, source):
    return [
        (run.architecture, run.regime, run.value, run.loss) for run in report.runs if run.source == source
    ]


def trained_on(small, data):
    """The network that an evaluation trains on a set under class labels, from tensors."""
    seed = seeds.derive(0, "network", 0)
    samples = TensorSamples(small.images, small.targets, factor=small.factor, weights=small.weights)
    job = TrainingJob(samples, seed, small.augment, SHORT.learning_rate)
    (found,) = train(NET, [job], data.task, SHORT.training(SHORT.steps(len(small))))
    return found


def test_an_evaluation_weighs_the_distilled_images_alone(plain, weighed, digits):
    before, report = evaluate(plain, digits, SHORT), evaluate(weighed, digits, SHORT)
    assert runs(report, "random") == runs(before, "random")
    ((_, regime, _, loss),) = runs(report, "distilled")
    assert (regime, loss) == ("classes", trained_on(weighed, digits).loss)
    assert loss != runs(before, "distilled")[0][3]
    assert report.facts("distilled").nbytes == before.facts("distilled").nbytes + 20 * 4
    assert report.facts("random").nbytes == before.facts("random").nbytes
    assert report.size["nbytes"] == before.size["nbytes"] + 20 * 4
    told = "Each distilled image has a weight, 0 to 2 and 1 on average"
    assert any(note.startswith(told) for note in report.notes)
    assert not any("weight, " in note for note in before.notes)


def test_weights_count_with_either_labels_and_in_the_set_s_own_training(plain, weighed, digits):
    teacher = nets.build(NET, digits.shape, 10, torch.Generator().manual_seed(1))
    training = StoredTraining(architecture=NET, steps=3, rates=(0.1,))

    def scored(small):
        soft = relabel(small, teacher, keep_teacher=True)
        own = replace(soft, recipe=replace(soft.recipe, training=training))
        return evaluate(own, digits, SHORT, kernels=("linear",))

    before, report = scored(plain), scored(weighed)
    assert runs(report, "random") == runs(before, "random")
    pairs = list(zip(runs(report, "distilled"), runs(before, "distilled"), strict=True))
    assert len({(name, regime) for (name, regime, _, _), _ in pairs}) == len(pairs) == 4
    for (name, _, _, loss), (_, _, _, other) in pairs:
        assert (loss == other) == name.startswith("kernel ridge"), name
    assert any("Kernel ridge regressions ignore weights." in note for note in report.notes)


def test_a_kept_score_is_of_the_same_weights_alone(weighed, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("pydistill.evaluation.kept.Memory.ended", lambda self: None)
    first = evaluate(weighed, digits, SHORT, unfinished=tmp_path)
    count = len(list(tmp_path.glob("??/*.json")))
    assert runs(evaluate(weighed, digits, SHORT, unfinished=tmp_path), "distilled") == runs(
        first, "distilled"
    )
    assert len(list(tmp_path.glob("??/*.json"))) == count == 2
    other = replace(weighed, weights=weighed.weights.flip(0))
    assert runs(evaluate(other, digits, SHORT, unfinished=tmp_path), "distilled") != runs(
        first, "distilled"
    )
    assert len(list(tmp_path.glob("??/*.json"))) == count + 1


def test_a_network_of_ones_own_is_trained_with_them(plain, weighed, digits):
    network, other = (pydistill.train(each, NET, SHORT) for each in (weighed, plain))
    expected = trained_on(weighed, digits)
    found = dict(network.named_parameters())
    assert all(torch.equal(value, found[name]) for name, value in expected.parameters.items())
    unweighed = dict(other.named_parameters())
    assert any(not torch.allclose(value, unweighed[name]) for name, value in found.items())
