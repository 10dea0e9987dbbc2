"""The loss of an image counts by its weight, in every training."""

import pytest
import torch
import torch.nn.functional as F

from pydistill import nets, seeds
from pydistill.data.recipe import StoredAugmentations, StoredTraining
from pydistill.evaluation.as_learned import train_as_learned
from pydistill.optim import Sgd
from pydistill.tasks import Classification, Detection, Segmentation, parse_loss
from pydistill.training.descent import Objective
from pydistill.training.feed import Feed
from pydistill.training.mixing import CutMix, MixUp
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import Training, TrainingJob, train

TASK = Classification(("a", "b", "c"))
NET, CONVNET = "mlp:width=8", "convnet:width=4,depth=2"
DSA = "color_crop_cutout_flip_scale_rotate"
CPU = torch.device("cpu")
WEIGHTS = torch.tensor([3.0, 2, 0, 1, 0, 1, 0.5, 1.5, 0])


def pixels(seed=0, count=9):
    return torch.randn(count, 1, 8, 8, generator=seeds.generator(seed, "images"))


def samples(seed=0, weights=None, dtype=torch.float64, targets=None, factor=1):
    targets = torch.arange(9) % 3 if targets is None else targets
    return TensorSamples(pixels(seed), targets, dtype=dtype, factor=factor, weights=weights)


def trained(job, steps=5, batch_size=4, dtype=torch.float64, architecture=NET, **settings):
    training = Training(steps=steps, batch_size=batch_size, learning_rate=0.1, **settings)
    (found,) = train(architecture, [job], TASK, training, dtype=dtype, execution="loop")
    return found


def assert_same(one, other, tolerance):
    for name, value in one.parameters.items():
        torch.testing.assert_close(value, other.parameters[name], rtol=tolerance, atol=tolerance)


def differs(one, other):
    return any(not torch.allclose(v, other.parameters[n], atol=1e-4) for n, v in one.parameters.items())


def test_a_step_goes_down_the_mean_of_weighed_losses():
    network = nets.build(NET, (1, 8, 8), 3, seeds.generator(1))
    found = samples(weights=WEIGHTS, dtype=torch.float32)
    loss, _ = Objective(TASK).of(network, *found.batch(None), found.weights(None))
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    images, targets = found.batch(None)
    by_hand = [torch.zeros_like(value) for value in network.parameters()]
    for at, weight in enumerate(WEIGHTS):
        own = F.cross_entropy(network(images[at : at + 1]), targets[at : at + 1])
        for total, part in zip(by_hand, torch.autograd.grad(own, list(network.parameters())), strict=True):
            total += weight * part / 9
    for one, other in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"mix": "cutmix:alpha=1"}, {"average": 0.5, "batch_size": 99}])
def test_weights_of_1_are_no_weights(settings):
    plain, ones = (
        trained(TrainingJob(samples(weights=each), 3, DSA), **settings) for each in (None, torch.ones(9))
    )
    assert_same(plain, ones, 1e-12)
    assert plain.loss == pytest.approx(ones.loss, rel=1e-12)


def test_whole_weights_are_repeated_images():
    weights, times = torch.tensor([3.0, 2, 0, 1, 0, 1, 0, 2, 0]), [3, 2, 0, 1, 0, 1, 0, 2, 0]
    at = torch.arange(9).repeat_interleave(torch.tensor(times))
    repeated = TensorSamples(pixels()[at], at % 3, dtype=torch.float64)
    given = samples(weights=weights)
    assert len(given) == len(repeated) == 9
    one, other = (trained(TrainingJob(each, 3), batch_size=9) for each in (given, repeated))
    assert_same(one, other, 1e-10)
    assert differs(one, trained(TrainingJob(samples(), 3), batch_size=9))


@pytest.mark.parametrize("batch_size", [4, 9])
def test_an_image_of_weight_0_does_not_matter(batch_size):
    other = pixels()
    other[WEIGHTS == 0] += 5
    changed = TensorSamples(other, torch.arange(9) % 3, dtype=torch.float64, weights=WEIGHTS)
    one, two = (
        trained(TrainingJob(each, 3), batch_size=batch_size) for each in (samples(weights=WEIGHTS), changed)
    )
    assert_same(one, two, 1e-12)


@pytest.mark.parametrize("mix", ["none", "cutmix:alpha=1", "mixup:alpha=0.4,probability=0.5"])
@pytest.mark.parametrize("batch_size", [4, 9])
def test_a_stack_of_networks_weighs_as_each_alone(mix, batch_size):
    each = [WEIGHTS, WEIGHTS.flip(0), torch.ones(9)]
    jobs = [TrainingJob(samples(at, own), at, DSA) for at, own in enumerate(each)]
    training = Training(steps=5, batch_size=batch_size, learning_rate=0.1, mix=mix)
    stack = train(CONVNET, jobs, TASK, training, dtype=torch.float64, execution="ensemble")
    for job, found in zip(jobs, stack, strict=True):
        alone = trained(job, batch_size=batch_size, architecture=CONVNET, mix=mix)
        assert_same(found, alone, 1e-8)
        assert found.loss == pytest.approx(alone.loss)


def test_sets_with_and_without_weights_share_no_stack():
    jobs = [TrainingJob(samples(0, own), 0) for own in (WEIGHTS, None, WEIGHTS)]
    training = Training(steps=3, learning_rate=0.1)
    found = train(NET, jobs, TASK, training, dtype=torch.float64, execution="ensemble")
    assert_same(found[0], found[2], 0)
    assert differs(found[0], found[1])
    for job, one in zip(jobs, found, strict=True):
        assert_same(one, trained(job, steps=3, batch_size=256), 1e-9)


@pytest.mark.parametrize("mixing", [CutMix(), MixUp()])
def test_weights_are_mixed_by_the_share_of_the_targets(mixing):
    images = torch.arange(9.0).view(-1, 1, 1, 1).expand(9, 1, 8, 8)
    apart = Classification(tuple("abcdefghi"))
    seen = 0
    for seed in range(5):
        _, targets, weights = mixing.apply(
            images, torch.arange(9), apart, seeds.generator(seed), WEIGHTS
        )  # a class an image: its soft target holds the share of each
        torch.testing.assert_close(weights, targets @ WEIGHTS)
        seen += int((targets > 0).sum(1).max()) == 2
    assert seen


def test_stored_augmentations_keep_their_images_weights():
    stored = StoredAugmentations(torch.zeros(2, 9, 13), torch.eye(3)[torch.arange(9) % 3].expand(2, 9, 3))
    job = TrainingJob(samples(weights=WEIGHTS, dtype=torch.float32), 0, augmentations=stored)
    feed = Feed([job], TASK, Training(steps=3, batch_size=4), CPU, stacked=False)
    for _ in range(3):
        batch = feed.next()
        assert torch.equal(batch.weights, WEIGHTS[batch.indices[0]])


def test_a_batch_has_the_weights_of_its_images():
    job = TrainingJob(samples(weights=WEIGHTS, dtype=torch.float32, factor=2), 0)
    feed = Feed([job], TASK, Training(steps=3, batch_size=8), CPU, stacked=False)
    seen = []
    while not seen or not seen[-1].ends_epoch:
        seen.append(feed.next())
        assert torch.equal(seen[-1].weights, WEIGHTS[seen[-1].indices[0] // 4])
    assert sum(len(batch.weights) for batch in seen) == 36
    plain = TrainingJob(samples(), 0)
    assert Feed([plain], TASK, Training(steps=1), CPU, stacked=False).next().weights is None


@pytest.mark.parametrize("text", ["task", "cross_entropy", "squared", "kl:temperature=3"])
def test_every_loss_weighs_its_errors(text):
    generator = seeds.generator(0)
    outputs, soft = torch.randn(9, 3, generator=generator), torch.rand(9, 3, generator=generator).softmax(1)
    loss = parse_loss(text)
    each = loss.each(TASK, outputs, soft)
    expected = sum(float(w) * float(e) for w, e in zip(WEIGHTS, each, strict=True)) / 9
    assert float(loss.of(TASK, outputs, soft, weights=WEIGHTS)) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(
        loss.of(TASK, outputs, soft, weights=torch.ones(9)), loss.of(TASK, outputs, soft)
    )


@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        (Segmentation(("a", "b")), (2, 2, 4, 4), torch.tensor([0, 1, 255, 1]).repeat(2, 4, 1).byte()),
        (Detection(("a", "b")), (2, 6, 2, 2), torch.tensor([[[1.0, 3, 3, 2, 2]], [[-1.0, 0, 0, 0, 0]]])),
    ],
)
def test_dense_tasks_weigh_images(task, outputs, targets):
    said, loss = torch.randn(outputs, generator=seeds.generator(0)), parse_loss("task")
    first, second = loss.each(task, said, targets)
    assert float(first) != float(second)
    found = loss.of(task, said, targets, weights=torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(found, first)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_the_training_of_a_set_weighs_too(batch_size):
    training = StoredTraining(architecture=NET, steps=4, rates=(0.1,), batch_size=batch_size)

    def weights_of(found):
        network = nets.build(NET, (1, 8, 8), 3, seeds.generator(1), dtype=torch.float64)
        loss = train_as_learned(training, network, found, Objective(TASK, dtype=torch.float64), 5)
        return loss, torch.cat([value.detach().flatten() for value in network.parameters()])

    other = pixels()
    other[WEIGHTS == 0] += 5
    changed = TensorSamples(other, torch.arange(9) % 3, dtype=torch.float64, weights=WEIGHTS)
    one, two = weights_of(samples(weights=WEIGHTS)), weights_of(changed)
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
    plain, ones = weights_of(samples()), weights_of(samples(weights=torch.ones(9)))
    torch.testing.assert_close(plain, ones, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(one[1], plain[1], atol=1e-4)


def test_lower_precision_weighs_in_the_precision_of_the_loss():
    job = TrainingJob(samples(weights=WEIGHTS, dtype=torch.float32), 3)
    low, full = (
        trained(job, dtype=torch.float32, optimiser=Sgd(), precision=precision)
        for precision in ("bfloat16", "float32")
    )
    assert_same(low, full, 0.05)
    assert differs(low, trained(TrainingJob(samples(dtype=torch.float32), 3), dtype=torch.float32))


def test_samples_of_other_weights_are_other_samples():
    found = [samples(weights=each) for each in (None, torch.ones(9), WEIGHTS, WEIGHTS.flip(0))]
    assert len({each.digest for each in found}) == 4
    assert len({each.signature for each in found}) == 2
    assert samples(weights=WEIGHTS.clone()).digest == found[2].digest


@pytest.mark.parametrize(
    ("weights", "words"),
    [(torch.ones(8), r"expected weights \(9,\)"), (torch.full((9,), 2.0), "of mean 1, found 2")],
)
def test_other_weights_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        samples(weights=weights)
