"""Losses by text: what they are, what they refuse, and a training with each."""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from pydistill import distill, evaluate, nets, relabel, seeds
from pydistill.data.recipe import Recipe
from pydistill.tasks import Classification, Task, parse_loss
from pydistill.tasks.losses import CrossEntropy, KullbackLeibler, Squared, TaskLoss, losses
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import Training, TrainingJob, choose, train

TASK = Classification(("a", "b", "c"))
OUTPUTS = torch.randn(6, 3, generator=seeds.generator(0, "outputs"))
CLASSES = torch.arange(6) % 3
SOFT = torch.softmax(torch.randn(6, 3, generator=seeds.generator(0, "targets")), 1)
NET = "mlp:width=8"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("task", TaskLoss()),
        ("cross_entropy", CrossEntropy()),
        ("squared", Squared()),
        ("kl", KullbackLeibler()),
        ("kl:temperature=4", KullbackLeibler(4.0)),
        (" kl:temperature=0.5, squared_temperature=true", KullbackLeibler(0.5, True)),
    ],
)
def test_a_text_names_a_loss(text, expected):
    assert parse_loss(text) == expected
    assert parse_loss(str(expected)) == expected


def test_every_loss_can_be_said():
    assert set(losses()) == {"task", "cross_entropy", "squared", "kl"}
    assert str(KullbackLeibler(4.0, True)) == "kl:temperature=4,squared_temperature=true"
    assert [kind().title(TASK) for kind in losses().values()] == [
        "cross-entropy", "cross-entropy", "squared error", "KL divergence",
    ]  # fmt: skip
    assert KullbackLeibler(2.5).title(TASK) == "KL divergence at temperature 2.5"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("klt", r"unknown loss 'klt' \(did you mean 'kl'\?\); known: task, cross_entropy, squared, kl"),
        ("kl:temprature=2", r"kl has no option 'temprature' \(did you mean 'temperature'\?\)"),
        ("kl:temperature=hot", "kl: temperature must be float, got 'hot'"),
        ("kl:temperature=0", "kl: temperature must be above 0, got 0"),
        ("kl:squared_temperature=yes", "kl: squared_temperature must be true or false, got 'yes'"),
        ("task:temperature=2", "task has no option 'temperature'; it has: none"),
    ],
)
def test_other_texts_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_loss(text)
    with pytest.raises(ValueError, match=words):
        Recipe(loss=text)


@pytest.mark.parametrize("targets", [CLASSES, SOFT])
@pytest.mark.parametrize("name", ["task", "cross_entropy"])
def test_cross_entropy_of_hard_and_soft_targets(name, targets):
    loss = parse_loss(name)
    assert torch.equal(loss.of(TASK, OUTPUTS, targets), F.cross_entropy(OUTPUTS, targets))
    torch.testing.assert_close(loss.each(TASK, OUTPUTS, targets).mean(), loss.of(TASK, OUTPUTS, targets))


def test_squared_errors_of_values_and_of_a_teachers_outputs():
    loss, values = Squared(), TASK.values(SOFT)
    expected = (OUTPUTS - values).square().mean()
    assert torch.equal(loss.of(TASK, OUTPUTS, values), expected)
    torch.testing.assert_close(loss.each(TASK, OUTPUTS, values).mean(), expected)
    assert float(loss.of(TASK, OUTPUTS, CLASSES, OUTPUTS, lambda images: images)) == 0
    with pytest.raises(ValueError, match="squared is of values to regress, the targets are classes"):
        loss.of(TASK, OUTPUTS, CLASSES)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_divergence_is_the_sum_it_stands_for(temperature):
    said = torch.softmax(OUTPUTS.double() / temperature, 1)
    expected = (SOFT.double() * (SOFT.double() / said).log()).sum(1)
    loss = KullbackLeibler(temperature)
    torch.testing.assert_close(loss.each(TASK, OUTPUTS, SOFT).double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.of(TASK, OUTPUTS, SOFT).double(), expected.mean(), rtol=1e-4, atol=1e-5)
    scaled = KullbackLeibler(temperature, squared_temperature=True)
    torch.testing.assert_close(
        scaled.of(TASK, OUTPUTS, SOFT), temperature**2 * loss.of(TASK, OUTPUTS, SOFT)
    )


def test_a_divergence_from_certain_targets_is_a_cross_entropy():
    hard = F.one_hot(CLASSES, 3).float()
    expected = F.cross_entropy(OUTPUTS, CLASSES)
    torch.testing.assert_close(KullbackLeibler().of(TASK, OUTPUTS, hard), expected)


def test_a_teacher_is_asked_at_the_temperature_and_not_trained():
    teacher = nets.build(NET, (1, 4, 4), 3, seeds.generator(1)).eval()
    images = torch.randn(6, 1, 4, 4, generator=seeds.generator(2))
    outputs = OUTPUTS.clone().requires_grad_()
    found = KullbackLeibler(2.0).of(TASK, outputs, CLASSES, images, teacher)
    soft = TASK.probabilities(teacher(images), 2.0).detach()
    torch.testing.assert_close(found, KullbackLeibler(2.0).of(TASK, outputs, soft))
    found.backward()
    assert outputs.grad is not None
    assert all(value.grad is None for value in teacher.parameters())
    with pytest.raises(ValueError, match="kl asks a teacher, which needs the images; found none"):
        KullbackLeibler().of(TASK, OUTPUTS, CLASSES, None, teacher)


def test_a_divergence_from_classes_is_refused():
    with pytest.raises(
        ValueError, match="the targets are classes: relabel the set, give a teacher, or use"
    ):
        KullbackLeibler().of(TASK, OUTPUTS, CLASSES)


def test_tasks_without_soft_targets_refuse_by_name():
    class Other(Classification):
        name: ClassVar[str] = "other"
        target_names: ClassVar = {"hard": "things"}

        def loss_name(self, kind="task"):
            return "a loss of its own"

        divergence, mix = Task.divergence, Task.mix

    other = Other(("a", "b", "c"))
    with pytest.raises(ValueError, match="other has no soft targets: its targets are things"):
        KullbackLeibler().of(other, OUTPUTS, SOFT)
    with pytest.raises(
        ValueError, match="the loss of other is a loss of its own, no cross-entropy: use task"
    ):
        CrossEntropy().of(other, OUTPUTS, CLASSES)
    with pytest.raises(ValueError, match="other has no targets of mixed images"):
        other.mix(CLASSES, CLASSES, torch.ones(6))


@dataclass(frozen=True)
class _Same(TaskLoss):
    name: ClassVar[str] = "kl"


def test_a_name_is_given_once():
    from pydistill.tasks.losses import register_loss

    with pytest.raises(ValueError, match="a loss named 'kl' is registered already"):
        register_loss(_Same)


def images(count=9):
    return torch.randn(count, 1, 8, 8, generator=seeds.generator(3, "images"))


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_networks_learn_soft_targets_by_a_divergence(execution):
    soft = torch.softmax(3 * torch.randn(9, 3, generator=seeds.generator(4)), 1)
    jobs = [TrainingJob(TensorSamples(images(), soft), at, loss="kl:temperature=2") for at in range(2)]
    seen = []
    trained = train(
        NET, jobs, TASK, Training(steps=60, learning_rate=0.2), execution=execution,
        callback=lambda info: seen.append(info.losses.clone()),
    )  # fmt: skip
    assert all(each.loss < 0.1 * float(seen[0].mean()) for each in trained)


def test_networks_learn_from_a_teacher_and_the_targets_do_not_matter():
    teacher = nets.build("mlp:width=16", (1, 8, 8), 3, seeds.generator(5)).eval().requires_grad_(False)
    found = []
    for targets in (CLASSES.repeat(2)[:9], torch.zeros(9, dtype=torch.int64)):
        job = TrainingJob(
            TensorSamples(images(), targets), 0, augment="flip", loss="kl:temperature=2", teacher=teacher
        )
        (trained,) = train(NET, [job], TASK, Training(steps=40, learning_rate=0.2))
        found.append(trained)
    assert all(torch.equal(value, found[1].parameters[name]) for name, value in found[0].parameters.items())
    assert found[0].loss < 0.02


def test_a_teacher_goes_with_the_loop_and_with_a_loss_that_asks():
    samples = TensorSamples(images(), CLASSES.repeat(2)[:9])
    job = TrainingJob(samples, 0, loss="kl", teacher=lambda images: images.flatten(1)[:, :3])
    network = nets.build("mlp", (1, 8, 8), 3, seeds.generator(0))
    assert choose(network, dataclasses.replace(job, teacher=None), Training(steps=1), 12) == "ensemble"
    assert choose(network, job, Training(steps=1), 12) == "loop"
    with pytest.raises(ValueError, match="an ensemble does not ask a teacher: use the loop"):
        train("mlp", [job] * 2, TASK, Training(steps=1), execution="ensemble")
    with pytest.raises(
        ValueError, match="the loss task asks no teacher, and one is given: use kl or squared"
    ):
        train("mlp", [dataclasses.replace(job, loss="task")], TASK, Training(steps=1))


def test_a_set_may_be_meant_for_a_divergence(tiny, tmp_path):
    teacher = nets.build(NET, tiny.shape, 3, seeds.generator(0))
    made = relabel(distill(tiny, "random", ipc=2), teacher, temperature=4.0)
    made = dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, loss="kl:temperature=4"))
    made.save(tmp_path)
    kept = type(made).load(tmp_path)
    assert kept.recipe.loss == "kl:temperature=4"
    report = evaluate(kept, tiny, architectures=(NET,), epochs=2, repeats=1, random_draws=1, whole=False)
    assert report.sets["stored"]["distilled"].loss == "KL divergence at temperature 4"
    assert report.sets["classes"]["distilled"].loss == "cross-entropy"
    stored = [run for run in report.runs if run.regime == "stored" and run.source == "distilled"]
    assert stored
    assert all(math.isfinite(run.loss) for run in stored)
