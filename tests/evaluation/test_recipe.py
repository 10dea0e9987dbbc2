"""A set is used as it was learned: its own training, its kernel, its stored augmentations."""

import dataclasses

import pytest
import torch

from pydistill import DivergenceError, KernelRidge, distill, evaluate, nets, relabel, seeds
from pydistill.augment import Augmentation, Parameters
from pydistill.data.recipe import Recipe, StoredTraining
from pydistill.evaluation import Protocol
from pydistill.evaluation.as_learned import train_as_learned
from pydistill.optim import Sgd
from pydistill.tasks import Classification
from pydistill.training.descent import Objective
from pydistill.training.inner_loop import InnerLoop
from pydistill.training.samples import TensorSamples
from pydistill.training.scoring import score
from pydistill.training.trainer import Training, TrainingJob, train

NET = "mlp:width=8"
PROTOCOL = Protocol(
    architectures=(NET,), repeats=2, epochs=3, learning_rate=0.05, random_draws=2, whole=False
)


def of(report, start):
    return [run for run in report.runs if run.architecture.startswith(start)]


@pytest.fixture(scope="module")
def learned(tiny):
    return distill(tiny, "dd", ipc=2, network=NET, iterations=3, inner_steps=4, learn_weights=True,
                   learn_rates="steps", batch_real=20)  # fmt: skip


def test_own_training_is_that_of_the_recipe_from_its_weights_at_its_rates(learned, tiny) -> None:
    report = evaluate(learned, tiny, PROTOCOL)
    (run, *_) = of(report, "own training")
    training = learned.recipe.training
    network = nets.build(NET, tiny.shape, 3, torch.Generator())
    network.load_state_dict(dict(training.start))
    images, targets = learned.views()
    for rate in training.rates:
        loss = tiny.task.loss(network(images), targets)
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weight, slope in zip(network.parameters(), slopes, strict=True):
                weight -= rate * slope
    assert run.value == score(network, tiny, tiny.test)
    assert run.loss == pytest.approx(float(loss.detach()), rel=1e-4)
    assert any("4 steps of sgd" in note and "kept with the set" in note for note in report.notes)


def test_what_repeats_exactly_runs_once_a_set(learned, tiny) -> None:
    runs = of(evaluate(learned, tiny, PROTOCOL), "own training")
    assert [(run.source, run.draw) for run in runs] == [("distilled", 0), ("random", 0), ("random", 1)]
    fresh = distill(tiny, "dd", ipc=2, network=NET, iterations=1, inner_steps=4, batch_real=20)
    runs = of(evaluate(fresh, tiny, PROTOCOL), "own training")
    assert [(run.source, run.seed) for run in runs] == [
        ("distilled", 0), ("distilled", 1), ("random", 0), ("random", 0)
    ]  # fmt: skip
    assert runs[0].loss != runs[1].loss


def test_kernels_of_the_protocol_are_scored_on_any_set(tiny) -> None:
    made = distill(tiny, "random", ipc=2, seed=11)
    assert not of(evaluate(made, tiny, PROTOCOL), "kernel ridge")
    report = evaluate(made, tiny, dataclasses.replace(PROTOCOL, kernels=("ntk:depth=2", "linear")))
    runs = of(report, "kernel ridge, ntk:depth=2")
    assert [run.source for run in runs] == ["distilled", "random", "random"]
    images = tiny.inputs(tiny.test, slice(None))
    fitted = KernelRidge("ntk:depth=2").fit(made)
    assert runs[0].value == pytest.approx(fitted.score(images, tiny.test.targets))
    assert len(of(report, "kernel ridge, linear")) == 3


def test_a_learned_rate_that_breaks_a_training_is_named(tiny) -> None:
    made = distill(tiny, "random", ipc=2)
    training = StoredTraining(architecture=NET, steps=9, rates=(1e25,))
    with pytest.raises(DivergenceError, match=r"rate of 1e\+25"):
        evaluate(dataclasses.replace(made, recipe=Recipe(training=training)), tiny, PROTOCOL)


def test_stored_augmentations_are_trained_on_in_turn_with_their_targets(tiny) -> None:
    made = dataclasses.replace(distill(tiny, "random", ipc=2), augment="crop_flip")
    teacher = nets.build(NET, tiny.shape, 3, torch.Generator().manual_seed(1))
    labelled = relabel(made, teacher, "augmentations", draws=2, temperature=2.0)
    stored = labelled.recipe.augmentations
    samples = TensorSamples(labelled.images, labelled.targets)
    job = TrainingJob(samples, 0, labelled.augment, augmentations=stored)
    training = Training(steps=3, optimiser=Sgd(), learning_rate=0.1, schedule="constant")
    (done,) = train(NET, [job], tiny.task, training)

    network = nets.build(NET, tiny.shape, 3, seeds.generator(0, "initial weights"))
    for step in range(3):
        seen = Augmentation.parse("crop_flip").apply_images(
            labelled.images, Parameters(stored.parameters[step % 2], (8, 8))
        )
        loss = tiny.task.loss(network(seen), stored.targets[step % 2])
        slopes = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weight, slope in zip(network.parameters(), slopes, strict=True):
                weight -= 0.1 * slope
    for name, weight in network.named_parameters():
        torch.testing.assert_close(done.parameters[name], weight.detach(), rtol=1e-4, atol=1e-6)
    assert any("stored augmentations" in note for note in evaluate(labelled, tiny, PROTOCOL).notes)
    with pytest.raises(ValueError, match="an ensemble does not take stored augmentations"):
        train(NET, [job], tiny.task, training, execution="ensemble")


def test_a_set_may_be_scored_as_it_was_learned_alone(tiny) -> None:
    alone = dataclasses.replace(PROTOCOL, architectures=())
    made = distill(tiny, "kip", ipc=1, iterations=2, batch_real=20)
    runs = evaluate(made, tiny, alone).runs
    assert {run.architecture for run in runs} == {"kernel ridge, ntk:depth=1"}
    assert [run.source for run in runs] == ["distilled", "random", "random"]
    with pytest.raises(ValueError, match="nothing to score"):
        evaluate(distill(tiny, "random", ipc=1), tiny, alone)


def test_kernels_that_the_set_cannot_serve_are_refused_before_any_training(tiny) -> None:
    made = distill(tiny, "random", ipc=2)
    with pytest.raises(ValueError, match="carries its teacher"):
        evaluate(made, tiny, dataclasses.replace(PROTOCOL, kernels=("teacher",)))


def test_features_of_every_trained_network_are_a_kernel(tiny) -> None:
    made = distill(tiny, "frepo", ipc=2, network=NET, iterations=2, batch_real=20)
    report = evaluate(made, tiny, PROTOCOL)
    found = [(run.source, run.draw, run.seed) for run in of(report, "kernel ridge")]
    assert found == [(run.source, run.draw, run.seed) for run in of(report, NET)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rates": (0.1, 0.2)}, "one learning rate or 3, found 2"),
        ({"rates": (0.0,)}, "learning rates above 0, found 0.0"),
        ({"rates": (0.1,), "steps": 0}, "at least one step, found 0"),
        ({"rates": (0.1,), "optimiser": "lion"}, "sgd or adam, got 'lion'"),
        ({"rates": (0.1,), "momentum": 1.0}, r"momentum must be within \[0, 1\)"),
    ],
)
def test_a_training_out_of_range_is_refused(changes, words) -> None:
    with pytest.raises(ValueError, match=words):
        StoredTraining(**{"architecture": NET, "steps": 3, **changes})


@pytest.mark.parametrize("network", ["convnet:width=16,depth=2", "convnet:width=4,depth=1,norm=batch"])
@pytest.mark.parametrize(
    ("augment", "batch_size", "optimiser"), [("none", None, "adam"), ("color_crop_flip", 3, "sgd")]
)
def test_a_set_is_trained_on_as_it_was_learned_to_the_bit(network, augment, batch_size, optimiser) -> None:
    shape, task = (3, 16, 16), Classification(("a", "b", "c"))
    images = torch.randn(7, *shape, generator=seeds.generator(0))
    samples = TensorSamples(images, torch.arange(7) % 3)
    training = StoredTraining(
        architecture=network, steps=5, rates=(0.1, 0.05, 0.1, 0.02, 0.1), optimiser=optimiser,
        momentum=0.9, weight_decay=1e-3, batch_size=batch_size, augment=augment,
    )  # fmt: skip
    one, other = (nets.build(network, shape, 3, seeds.generator(1)) for _ in range(2))
    loss = train_as_learned(training, one, samples, Objective(task), 5)
    loop = InnerLoop(other, task.loss, training.make_optimiser(), batch_size, augment, 5)
    start = {name: value.detach() for name, value in other.named_parameters()}
    rates = torch.tensor(training.rates)
    done = loop.train(
        loop.start(start, dict(other.named_buffers())),
        {**dict(zip(("images", "targets"), samples.batch(None), strict=True)), "rate": rates},
        steps=5,
    )  # fmt: skip
    expected = {**done.state["parameters"], **done.state["buffers"]}
    assert all(torch.equal(value, expected[name]) for name, value in one.state_dict().items())
    assert loss == float(done.losses[-1])


def test_a_training_that_a_set_was_learned_through_may_diverge(tiny) -> None:
    training = StoredTraining(architecture=NET, steps=9, rates=(1e30,))
    network = nets.build(NET, tiny.shape, 3, seeds.generator(0))
    samples = TensorSamples(
        *(part[:9] for part in (tiny.inputs(tiny.train, slice(None)), tiny.train.targets))
    )
    with pytest.raises(DivergenceError, match=r"in step \d of 9, at a learning rate of 1e\+30"):
        train_as_learned(training, network, samples, Objective(tiny.task), 0)
