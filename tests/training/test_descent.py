"""The loop under every training: what a step tells, which way it goes, how a training is taken up."""

import itertools

import pytest
import torch

from pydistill import nets, seeds
from pydistill.optim import Adam, AsUnrolled, Sgd
from pydistill.tasks import Classification
from pydistill.training.descent import Batch, Descent, Objective, Steepest
from pydistill.training.feed import Order
from pydistill.training.jobs import Training, TrainingJob
from pydistill.training.run import TrainingRun
from pydistill.training.samples import TensorSamples
from pydistill.training.sharpness import SurrogateGap
from pydistill.training.trainer import train

TASK = Classification(("a", "b", "c"))
DSA = "color_crop_cutout_flip_scale_rotate"
CPU = torch.device("cpu")


def samples(seed=0, count=10):
    images = torch.randn(count, 1, 8, 8, generator=seeds.generator(seed, "images"))
    return TensorSamples(images, torch.arange(count) % 3)


def training_run(architecture="mlp:width=4", jobs=1, steps=9, stacked=False, **settings):
    own = [TrainingJob(samples(at), seed=at, augment=DSA) for at in range(jobs)]
    training = Training(steps=steps, batch_size=4, learning_rate=0.1, schedule="cosine", **settings)
    return TrainingRun(architecture, own, TASK, training, CPU, stacked=stacked, positions=range(jobs))


@pytest.mark.parametrize("stacked", [False, True])
def test_a_step_tells_its_images_outputs_and_targets(stacked):
    running = training_run(jobs=2 if stacked else 1, stacked=stacked)
    for info in running.run():
        for job in info.jobs:
            indices, outputs = info.indices(job), info.outputs(job)
            assert outputs.shape == (len(indices), 3)
            assert not outputs.requires_grad
            assert torch.equal(info.targets(job), indices % 3)
            assert float(TASK.loss(outputs, info.targets(job))) == pytest.approx(
                float(info.losses[info.jobs.index(job)]), rel=1e-5
            )
    assert info.step == info.steps == 9
    assert info.epoch == 3


def test_of_a_set_that_is_taken_whole_a_step_has_no_indices():
    job = TrainingJob(samples(count=3), seed=0)
    seen = []
    train("mlp:width=2", [job], TASK, Training(steps=2), callback=lambda info: seen.append(info.indices(0)))
    assert seen == [None, None]


@pytest.mark.parametrize(
    ("architecture", "jobs", "stacked"),
    [("mlp:width=4", 1, False), ("convnet:width=4,depth=1,norm=batch", 1, False), ("mlp:width=4", 3, True)],
)
@pytest.mark.parametrize("optimiser", [Sgd(momentum=0.9), Adam()])
@pytest.mark.parametrize("broken_at", [0, 2, 3, 5, 9])
def test_a_training_that_is_taken_up_is_the_same(architecture, jobs, stacked, optimiser, broken_at):
    whole = training_run(architecture, jobs, stacked=stacked, optimiser=optimiser)
    losses = [info.losses for info in whole.run()]
    first = training_run(architecture, jobs, stacked=stacked, optimiser=optimiser)
    assert sum(1 for _ in first.run(broken_at)) == first.done == broken_at
    state = first.state()
    assert sum(1 for _ in first.run()) == 9 - broken_at  # what goes on does not reach the state
    second = training_run(architecture, jobs, stacked=stacked, optimiser=optimiser)
    second.restore(state)
    again = [info.losses for info in second.run()]
    assert len(again) == 9 - broken_at
    assert all(torch.equal(one, other) for one, other in zip(losses[broken_at:], again, strict=True))
    for one, other in zip(whole.results(), second.results(), strict=True):
        for kind in ("parameters", "buffers"):
            mine, theirs = getattr(one, kind), getattr(other, kind)
            assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
        assert one.loss == other.loss


def test_an_order_goes_on_in_the_middle_of_a_pass():
    whole = list(itertools.islice(Order(10, 4, 7), 9))
    for at in range(9):
        order = Order(10, 4, 7)
        for _ in range(at):
            next(order)
        later = Order(10, 4, 7)
        later.restore(order.state())
        for (picked, ends), (expected, expected_end) in zip(later, whole[at:], strict=False):
            assert torch.equal(picked, expected)
            assert ends == expected_end


def quadratic(curvature):
    """A loss of one parameter: pass, parameters."""
    weight = torch.tensor([3.0, -2.0], dtype=torch.float64, requires_grad=True)

    def passed(images, targets):
        loss = (curvature * weight.square()).sum() / 2
        return loss, weight[None]

    return passed, {"weight": weight}


def test_sharpness_aware_descent_goes_as_the_paper_has_it():
    curvature = torch.tensor([1.0, 4.0], dtype=torch.float64)
    rho, alpha, rate = 0.3, 0.2, 0.1
    passed, parameters = quadratic(curvature)
    before = parameters["weight"].detach().clone()
    descent = Descent(passed, parameters, Sgd(), lambda step: rate, 1, direction=SurrogateGap(rho, alpha))
    descent.finish([Batch(torch.zeros(1), torch.zeros(1))])
    plain = curvature * before
    steep = curvature * (before + rho * plain / plain.norm())
    along = (plain @ steep) / (steep @ steep)
    expected = before - rate * (steep - alpha * (plain - along * steep))
    torch.testing.assert_close(parameters["weight"].detach(), expected)


def test_sharpness_aware_descent_keeps_statistics_of_the_weights_themselves():
    network = nets.build("convnet:width=4,depth=1,norm=batch", (1, 8, 8), 3, seeds.generator(0))
    images, targets = samples().batch(None)
    found = {}
    for name, direction in (("plain", Steepest()), ("flat", SurrogateGap(5.0))):
        own = nets.build("convnet:width=4,depth=1,norm=batch", (1, 8, 8), 3, seeds.generator(0)).train()
        descent = Descent(
            Objective(TASK).alone(own), dict(own.named_parameters()), Sgd(), lambda step: 0.1, 1,
            direction=direction, buffers=dict(own.named_buffers()),
        )  # fmt: skip
        descent.finish([Batch(images, targets)])
        found[name] = own.state_dict()
    statistics = [name for name, _ in network.named_buffers() if "running" in name]
    assert statistics
    assert all(torch.equal(found["plain"][name], found["flat"][name]) for name in statistics)
    assert any(not torch.equal(found["plain"][n], found["flat"][n]) for n, _ in network.named_parameters())


def test_sharpness_aware_descent_refuses_a_stack_and_wrong_settings():
    losses = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="one network at a time, got a stack"):
        SurrogateGap(0.1).find({"a": losses}, {}, lambda: (losses * 1, losses))
    with pytest.raises(ValueError, match="rho must be above 0, got 0"):
        SurrogateGap(0)
    with pytest.raises(ValueError, match="alpha must be at least 0, got -1"):
        SurrogateGap(0.1, -1)


@pytest.mark.parametrize("inner", [Sgd(momentum=0.9, weight_decay=1e-2), Adam(weight_decay=1e-2)])
def test_an_update_in_place_can_round_as_the_differentiable_one(inner):
    start = torch.randn(50, generator=seeds.generator(0))
    gradients = [{"w": torch.randn(50, generator=seeds.generator(1, at))} for at in range(4)]
    apart, memory = {"w": start.clone()}, inner.init({"w": start})
    placed = {"w": start.clone()}
    unrolled = AsUnrolled(inner)
    kept = unrolled.init(placed)
    for gradient in gradients:
        apart, memory = inner.update(apart, gradient, memory, torch.tensor(0.1))
        unrolled.update_(placed, gradient, kept, torch.tensor(0.1))
    assert torch.equal(placed["w"], apart["w"])
    assert kept.keys() == memory.keys()
