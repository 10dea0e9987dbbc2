"""Mixed images and averaged weights: what the papers have, and that a training with them repeats itself."""

import pytest
import torch
import torch.nn.functional as F

from pydistill import distill, evaluate, nets, seeds
from pydistill.evaluation.page import page
from pydistill.optim import Sgd
from pydistill.tasks import Classification
from pydistill.training.averaging import WeightAverage
from pydistill.training.mixing import CutMix, DrawnMixing, MixUp, parse_mixing
from pydistill.training.run import TrainingRun
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import Training, TrainingJob, train

TASK = Classification(("a", "b", "c"))
NET = "mlp:width=8"


def images(count=8, side=6):
    return torch.arange(1.0, count + 1).view(-1, 1, 1, 1).expand(count, 2, side, side).contiguous()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("cutmix", CutMix()),
        ("cutmix:alpha=0.5,probability=0.25", CutMix(0.5, 0.25)),
        ("mixup:alpha=0.2", MixUp(0.2)),
    ],
)
def test_texts_say_how_images_are_mixed(text, expected):
    assert parse_mixing(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cutmx", r"unknown mixing 'cutmx' \(did you mean 'cutmix'\?\); known: none, cutmix, mixup"),
        ("none:alpha=1", "unknown mixing"),
        ("mixup:beta=1", "mixup has no option 'beta'"),
        ("mixup:alpha=x", "mixup: alpha must be a number, got 'x'"),
        ("mixup:alpha=0", "mixup: alpha must be above 0"),
        ("cutmix:probability=2", "cutmix: probability must be at most 1, got 2"),
    ],
)
def test_other_texts_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_mixing(text)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 5.0])
def test_shares_are_of_a_beta_distribution(alpha):
    pixels, targets, found = images(2, 1), torch.tensor([0, 1]), []
    generator = seeds.generator(0)

    class Recorder(MixUp):
        def images(self, images, partners, share, generator):
            found.append(share)
            return super().images(images, partners, share, generator)

    for _ in range(1500):
        Recorder(alpha).apply(pixels, targets, TASK, generator)
    shares = torch.tensor(found)
    assert len(shares) == 1500
    assert ((shares >= 0) & (shares <= 1)).all()
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_images_and_classes_are_averaged_by_one_share_a_batch():
    pixels, targets = images(), torch.arange(8) % 3
    mixed, wanted, _ = MixUp().apply(pixels, targets, TASK, seeds.generator(1))
    torch.testing.assert_close(wanted.sum(1), torch.ones(8))
    hard = F.one_hot(targets, 3).float()
    shares = {round(float(s), 5) for s in wanted.flatten() if 0 < s < 1}
    assert len(shares) == 2  # the share and what is left of one
    for at in range(8):
        value = float(mixed[at, 0, 0, 0])
        assert any(
            value == pytest.approx(s * (at + 1) + (1 - s) * (other + 1), rel=1e-4)
            and torch.allclose(wanted[at], s * hard[at] + (1 - s) * hard[other], atol=1e-4)
            for s in shares
            for other in range(8)
        )


def test_a_window_of_each_image_is_its_partners_and_its_targets_by_the_area():
    pixels, targets = images(), torch.arange(8) % 3
    seen = set()
    for seed in range(30):
        mixed, wanted, _ = CutMix().apply(pixels, targets, TASK, seeds.generator(seed))
        own = (mixed == pixels).all(1)
        for at in range(8):
            others = set(mixed[at].unique().tolist()) - {at + 1.0}
            assert len(others) <= 1
            if not others:
                continue
            partner = int(others.pop()) - 1
            share = float(own[at].float().mean())
            hard = F.one_hot(targets, 3).float()
            torch.testing.assert_close(wanted[at], share * hard[at] + (1 - share) * hard[partner])
            rows, columns = torch.nonzero(~own[at], as_tuple=True)
            height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
            assert len(rows) == height * width  # one window without holes
            seen.add(round(share, 4))
    assert len(seen) > 5
    assert torch.equal(pixels, images())  # what was given stays


def test_a_batch_that_is_not_mixed_has_soft_targets_as_well():
    pixels, targets = images(), torch.arange(8) % 3
    mixed, wanted, _ = CutMix(1.0, 0.0).apply(pixels, targets, TASK, seeds.generator(0))
    assert torch.equal(mixed, pixels)
    assert torch.equal(wanted, F.one_hot(targets, 3).float())
    generator = seeds.generator(0)
    batches = [MixUp(1.0, 0.3).apply(pixels, targets, TASK, generator)[0] for _ in range(200)]
    assert sum(not torch.equal(each, pixels) for each in batches) == pytest.approx(60, abs=20)


def test_soft_targets_and_values_are_mixed_as_they_are():
    soft = torch.softmax(torch.randn(8, 3, generator=seeds.generator(0)), 1)
    _, wanted, _ = MixUp().apply(images(), soft, TASK, seeds.generator(1))
    torch.testing.assert_close(wanted.sum(1), torch.ones(8))
    _, values, _ = MixUp().apply(images(), TASK.values(soft), TASK, seeds.generator(1))
    torch.testing.assert_close(TASK.from_values(values), wanted)


def test_jobs_beside_each_other_are_mixed_as_alone():
    pixels, targets = torch.cat([images(), images() + 8]), torch.arange(16) % 3
    both = DrawnMixing(CutMix(), [3, 4], TASK).apply(pixels, targets)
    for at, seed in enumerate((3, 4)):
        own = slice(8 * at, 8 * at + 8)
        alone = DrawnMixing(CutMix(), [seed], TASK).apply(pixels[own], targets[own])
        assert torch.equal(both[0][own], alone[0])
        assert torch.equal(both[1][own], alone[1])


def samples(seed=0, count=10):
    return TensorSamples(
        torch.randn(count, 1, 8, 8, generator=seeds.generator(seed, "images")), torch.arange(count) % 3
    )


@pytest.mark.parametrize("mix", ["cutmix:alpha=1", "mixup:alpha=0.4,probability=0.5"])
def test_a_stack_of_networks_is_trained_on_the_same_mixtures(mix):
    jobs = [TrainingJob(samples(at), at, augment="flip") for at in range(3)]
    training = Training(steps=6, batch_size=4, learning_rate=0.05, mix=mix, average=0.5)
    loop, ensemble = (
        train(NET, jobs, TASK, training, execution=execution) for execution in ("loop", "ensemble")
    )
    plain = train(NET, jobs, TASK, Training(steps=6, batch_size=4, learning_rate=0.05), execution="loop")
    for one, other, unmixed in zip(loop, ensemble, plain, strict=True):
        for name, value in one.parameters.items():
            torch.testing.assert_close(value, other.parameters[name], rtol=1e-3, atol=1e-5)
        assert any(not torch.allclose(v, unmixed.parameters[n]) for n, v in one.parameters.items())


@pytest.mark.parametrize("broken_at", [0, 3, 5])
def test_a_mixed_and_averaged_training_that_is_taken_up_is_the_same(broken_at):
    def training_run():
        training = Training(steps=8, batch_size=4, learning_rate=0.1, mix="cutmix", average=0.7)
        return TrainingRun(NET, [TrainingJob(samples(), 0)], TASK, training, torch.device("cpu"))

    whole, first, second = training_run(), training_run(), training_run()
    assert sum(1 for _ in whole.run()) == 8
    assert sum(1 for _ in first.run(broken_at)) == broken_at
    second.restore(first.state())
    assert sum(1 for _ in second.run()) == 8 - broken_at
    (one,), (other,) = whole.results(), second.results()
    assert all(torch.equal(value, other.parameters[name]) for name, value in one.parameters.items())


def test_an_average_weighs_steps_by_powers_of_the_decay():
    generator, decay = seeds.generator(0), 0.8
    steps = [torch.randn(4, generator=generator, dtype=torch.float64) for _ in range(5)]
    average = WeightAverage({"w": steps[0]}, decay)
    parameters = {"w": torch.full((4,), 9.0, dtype=torch.float64)}
    average.put(parameters)
    assert torch.equal(parameters["w"], torch.full((4,), 9.0, dtype=torch.float64))  # nothing yet
    for count, each in enumerate(steps, 1):
        average.add({"w": each})
        average.put(parameters)
        weights = torch.tensor([decay ** (count - at) for at in range(1, count + 1)], dtype=torch.float64)
        expected = (weights[:, None] * torch.stack(steps[:count])).sum(0) / weights.sum()
        torch.testing.assert_close(parameters["w"], expected)
    with pytest.raises(ValueError, match=r"average must be within \[0, 1\), got 1.0"):
        WeightAverage({}, 1.0)


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_a_training_gives_the_average_of_its_weights(execution):
    kept = []

    def callback(info):
        kept.append({name: value.clone() for name, value in info.parameters(0).items()})

    job = TrainingJob(samples(), 0)
    training = Training(
        steps=4, batch_size=4, optimiser=Sgd(), learning_rate=0.2, schedule="constant", average=0.5
    )
    trained, *_ = train(NET, [job] * 2, TASK, training, execution=execution, callback=callback)
    steps = [each for each in kept if kept][:4] if execution == "ensemble" else kept[:4]
    weights = torch.tensor([0.5**3, 0.5**2, 0.5, 1.0])
    for name, value in trained.parameters.items():
        stack = torch.stack([each[name] for each in steps])
        expected = (weights.view(-1, *[1] * value.ndim) * stack).sum(0) / weights.sum()
        torch.testing.assert_close(value, expected)


def test_a_module_of_ones_own_ends_with_the_averaged_weights():
    module = nets.build(NET, (1, 8, 8), 3, seeds.generator(0))
    (trained,) = train(module, [TrainingJob(samples(), 0)], TASK, Training(steps=4, average=0.9))
    assert all(torch.equal(value, trained.parameters[name]) for name, value in module.named_parameters())


def test_an_evaluation_mixes_and_averages_as_its_protocol_says(tiny):
    made = distill(tiny, "random", ipc=2)
    settings = {"architectures": (NET,), "epochs": 4, "repeats": 1, "random_draws": 1, "whole": False}
    plain = evaluate(made, tiny, **settings)
    mixed = evaluate(made, tiny, mix="mixup:alpha=1", average=0.9, **settings)
    assert [run.loss for run in plain.runs] != [run.loss for run in mixed.runs]
    assert mixed.protocol["mix"] == "mixup:alpha=1"
    assert "mix" not in plain.protocol
    shown = page(mixed)
    assert "images mixed by" in shown
    assert "mixup:alpha=1" in shown
    assert "images mixed by" not in page(plain)
