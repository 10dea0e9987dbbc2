import itertools

import pytest
import torch
import torch.nn.functional as F

from pydistill import nets, seeds
from pydistill.data.formation import decode
from pydistill.errors import DivergenceError
from pydistill.optim import Adam, Sgd
from pydistill.tasks import Classification
from pydistill.training.samples import SplitSamples, TensorSamples
from pydistill.training.trainer import StepInfo, Training, TrainingJob, choose, train

TASK = Classification(("a", "b", "c"))
DSA = "color_crop_cutout_flip_scale_rotate"
CONVNET = "convnet:width=4,depth=2"


def samples(seed: int, count: int = 9, dtype: torch.dtype = torch.float64) -> TensorSamples:
    images = torch.randn(count, 1, 8, 8, generator=seeds.generator(seed, "images"))
    return TensorSamples(images, torch.arange(count) % 3, dtype=dtype)


def teach(architecture: str, jobs, training=None, **options):
    return train(
        architecture,
        jobs,
        TASK,
        training or Training(steps=5, batch_size=4, learning_rate=0.1),
        dtype=torch.float64,
        **options,
    )


def same(first, second, tolerance: float = 0.0) -> bool:
    return all(
        torch.allclose(value, second.parameters[name], rtol=tolerance, atol=tolerance)
        for name, value in first.parameters.items()
    )


def test_loop_is_plain_sgd_as_torch_optim_does_it():
    job = TrainingJob(samples(0), seed=3)
    (trained,) = teach("mlp:width=8", [job], Training(steps=4, learning_rate=0.1), execution="loop")

    generator = seeds.generator(3, "initial weights")
    network = nets.build("mlp:width=8", (1, 8, 8), 3, generator, dtype=torch.float64)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for step in range(4):
        optimiser.param_groups[0]["lr"] = 0.1 if step < 2 else 0.01
        loss = F.cross_entropy(network(job.samples.batch(None)[0]), torch.arange(9) % 3)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(trained.parameters[name], value.detach(), rtol=1e-12, atol=1e-12)
    assert trained.loss == pytest.approx(loss.item())


@pytest.mark.parametrize("architecture", ["mlp:width=8", CONVNET, "lenet"])
@pytest.mark.parametrize("optimiser", [Sgd(momentum=0.9, weight_decay=1e-3), Adam()])
def test_ensemble_and_loop_agree(architecture, optimiser):
    jobs = [TrainingJob(samples(at), seed=at, augment=DSA) for at in range(3)]
    training = Training(steps=5, batch_size=4, learning_rate=0.02, optimiser=optimiser)
    loop = teach(architecture, jobs, training, execution="loop")
    ensemble = teach(architecture, jobs, training, execution="ensemble")
    assert {each.execution for each in loop} == {"loop"}
    assert {each.execution for each in ensemble} == {"ensemble"}
    for one, other in zip(loop, ensemble, strict=True):
        assert same(one, other, 1e-8)
        assert one.loss == pytest.approx(other.loss, rel=1e-8)


def test_each_network_of_an_ensemble_has_its_own_learning_rate():
    rates = (0.1, 0.01, None)
    jobs = [TrainingJob(samples(0), seed=0, learning_rate=rate) for rate in rates]
    loop = teach("mlp:width=8", jobs, execution="loop")
    ensemble = teach("mlp:width=8", jobs, execution="ensemble")
    assert all(same(one, other, 1e-9) for one, other in zip(loop, ensemble, strict=True))
    assert same(loop[0], loop[2])
    assert not same(loop[0], loop[1], 1e-3)


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_a_network_does_not_depend_on_those_beside_it(execution):
    jobs = [TrainingJob(samples(at), seed=at, augment=DSA) for at in range(4)]
    together = teach(CONVNET, jobs, execution=execution)
    alone = [teach(CONVNET, [job], execution=execution)[0] for job in reversed(jobs)]
    tolerance = 0.0 if execution == "loop" else 1e-9
    assert all(same(one, other, tolerance) for one, other in zip(together, alone[::-1], strict=True))


def test_sets_of_different_sizes_come_back_in_order():
    jobs = [TrainingJob(samples(at, count), seed=at) for at, count in enumerate((9, 3, 9, 5, 3))]
    together = teach("mlp:width=8", jobs, execution="ensemble")
    for job, found in zip(jobs, together, strict=True):
        assert same(found, teach("mlp:width=8", [job], execution="loop")[0], 1e-9)


def test_more_networks_than_fit_a_stack_are_trained_in_several():
    jobs = [TrainingJob(samples(0), seed=at) for at in range(27)]
    training = Training(steps=2, batch_size=4)
    seen: list[StepInfo] = []
    together = teach("mlp:width=2", jobs, training, execution="ensemble", callback=seen.append)
    assert [info.jobs for info in seen] == [tuple(range(14))] * 2 + [tuple(range(14, 27))] * 2
    loop = teach("mlp:width=2", jobs, training, execution="loop")
    assert all(same(one, other, 1e-9) for one, other in zip(together, loop, strict=True))


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_lower_precision_rounds_the_network_and_nothing_else(execution):
    jobs = [TrainingJob(samples(at, dtype=torch.float32), seed=at, augment=DSA) for at in range(2)]

    def taught(precision: str):
        training = Training(steps=20, optimiser=Sgd(), learning_rate=0.05, precision=precision)
        return train(CONVNET, jobs, TASK, training, execution=execution)

    for full, lower in zip(taught("float32"), taught("bfloat16"), strict=True):
        assert {value.dtype for value in lower.parameters.values()} == {torch.float32}
        assert same(full, lower, 0.02)
        assert not same(full, lower, 1e-6)
        assert lower.loss == pytest.approx(full.loss, rel=0.05)


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16; got 'half'"):
        teach(CONVNET, [TrainingJob(samples(0), seed=0)], Training(steps=1, precision="half"))


def test_same_seed_same_bits_and_other_seed_other_network():
    def once(seed: int):
        return teach(CONVNET, [TrainingJob(samples(0), seed=seed, augment=DSA)])[0]

    assert same(once(0), once(0))
    assert not same(once(0), once(1), 1e-2)


def test_global_generator_is_left_alone():
    before = torch.get_rng_state()
    jobs = [TrainingJob(samples(at), seed=at, augment=DSA) for at in range(2)]
    for execution in ("loop", "ensemble"):
        teach(CONVNET, jobs, execution=execution)
    assert torch.equal(torch.get_rng_state(), before)


class Recorder(TensorSamples):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked: list[list[int] | None] = []

    def batch(self, indices):
        self.asked.append(None if indices is None else indices.tolist())
        return super().batch(indices)


def test_every_epoch_takes_each_image_once_and_keeps_the_last_short_batch():
    recorder = Recorder(torch.randn(10, 1, 4, 4, generator=seeds.generator(0)), torch.arange(10) % 3)
    train("mlp:width=2", [TrainingJob(recorder, seed=0)], TASK, Training(steps=6, batch_size=4))
    assert [len(each) for each in recorder.asked] == [4, 4, 2] * 2
    first, second = itertools.chain(*recorder.asked[:3]), itertools.chain(*recorder.asked[3:])
    first, second = list(first), list(second)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_set_that_fits_into_a_batch_is_taken_whole():
    recorder = Recorder(torch.zeros(4, 1, 4, 4), torch.arange(4) % 3)
    train("mlp:width=2", [TrainingJob(recorder, seed=0)], TASK, Training(steps=3, batch_size=4))
    assert recorder.asked == [None] * 3


def test_batch_normalisation_keeps_its_statistics_and_is_not_stacked():
    jobs = [TrainingJob(samples(at), seed=at) for at in range(2)]
    architecture = "convnet:width=4,depth=1,norm=batch"
    trained = teach(architecture, jobs)
    assert {each.execution for each in trained} == {"loop"}
    means = [value for name, value in trained[0].buffers.items() if name.endswith("running_mean")]
    assert means
    assert all(value.abs().max() > 0 for value in means)
    with pytest.raises(ValueError, match="has buffers, which an ensemble does not keep: use the loop"):
        teach(architecture, jobs, execution="ensemble")


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_watch_sees_every_step_and_the_parameters_of_each_network(execution):
    moments, snapshots = [], []

    def callback(info: StepInfo) -> None:
        moments.append(info)
        at = info.jobs[-1]
        snapshots.append({name: value.clone() for name, value in info.parameters(at).items()})

    jobs = [TrainingJob(samples(at), seed=at) for at in range(2)]
    trained = teach("mlp:width=4", jobs, execution=execution, callback=callback)
    runs = 2 if execution == "loop" else 1
    assert [info.step for info in moments] == [1, 2, 3, 4, 5] * runs
    assert [info.epoch for info in moments] == [0, 0, 1, 1, 1] * runs
    assert [info.ends_epoch for info in moments] == [False, False, True, False, False] * runs
    assert all(info.losses.shape == (3 - runs,) for info in moments)
    for name, value in trained[1].parameters.items():
        assert torch.equal(snapshots[-1][name], value)
        assert not torch.equal(snapshots[-1][name], snapshots[-2][name])
        assert not value.requires_grad


@pytest.mark.parametrize("execution", ["loop", "ensemble"])
def test_training_goes_on_from_given_parameters(execution):
    training = Training(steps=3, optimiser=Sgd(), schedule="constant", learning_rate=0.1)
    first = teach("mlp:width=4", [TrainingJob(samples(0), seed=0)], training)[0]
    kept = {name: value.clone() for name, value in first.parameters.items()}
    job = TrainingJob(samples(0), seed=99, start=first.parameters)
    (second,) = teach("mlp:width=4", [job], training, execution=execution)
    twice = Training(steps=6, optimiser=Sgd(), schedule="constant", learning_rate=0.1)
    assert same(second, teach("mlp:width=4", [TrainingJob(samples(0), seed=0)], twice)[0], 1e-9)
    assert all(torch.equal(value, first.parameters[name]) for name, value in kept.items())


def test_soft_targets_that_are_certain_are_hard_targets():
    images = torch.randn(6, 1, 4, 4, generator=seeds.generator(0), dtype=torch.float64)
    labels = torch.arange(6) % 3
    hard = TensorSamples(images, labels, dtype=torch.float64)
    soft = TensorSamples(images, F.one_hot(labels, 3).float(), dtype=torch.float64)
    one, other = (
        teach("mlp:width=4", [TrainingJob(each, seed=0)], execution=execution)[0]
        for each, execution in ((hard, "loop"), (soft, "ensemble"))
    )
    assert same(one, other, 1e-9)


def test_divergence_is_told_with_the_rate():
    job = TrainingJob(samples(0), seed=7, learning_rate=1e200)
    with pytest.raises(DivergenceError, match=r"mlp:width=4 \(seed 7, first learning rate 1e\+200\)"):
        teach("mlp:width=4", [job])


def test_real_split_is_preprocessed_batch_by_batch(tiny):
    split = SplitSamples(tiny, tiny.train)
    images, targets = split.batch(torch.tensor([4, 2]))
    assert torch.equal(images, tiny.preprocess.apply(tiny.train.images[[4, 2]]))
    assert torch.equal(targets, tiny.train.targets[[4, 2]])
    assert split.shape == tiny.shape
    assert len(split.batch(None)[0]) == len(split) == len(tiny.train)


@pytest.mark.parametrize(
    ("architecture", "count", "networks", "expected"),
    [
        ("mlp", 10, 12, "ensemble"),
        ("mlp", 10, 11, "loop"),
        ("mlp:width=512", 10, 12, "loop"),
        ("convnet:width=16", 10, 20, "ensemble"),
        ("convnet:width=16", 100, 20, "loop"),
        ("convnet:width=4,norm=batch", 10, 20, "loop"),
    ],
)
def test_execution_is_chosen_by_the_work_in_a_step(architecture, count, networks, expected):
    job = TrainingJob(samples(0, count), seed=0)
    network = nets.build(architecture, (1, 8, 8), 3, seeds.generator(0))
    assert choose(network, job, Training(steps=1), networks) == expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 1, "batch_size": 0}, "batch_size must be at least 1"),
        ({"steps": 1, "learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"steps": 1, "schedule": "linear"}, "schedule must be one of step, cosine, constant"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        teach("mlp:width=2", [TrainingJob(samples(0), seed=0)], Training(**settings))


def test_unknown_execution_is_refused():
    with pytest.raises(ValueError, match="execution must be one of auto, loop, ensemble; got 'threads'"):
        teach("mlp:width=2", [TrainingJob(samples(0), seed=0)], execution="threads")


@pytest.mark.parametrize(
    ("images", "targets", "words"),
    [
        (torch.zeros(0, 1, 4, 4), torch.zeros(0), "at least one"),
        (torch.zeros(4, 4), torch.zeros(4), r"expected images \(N, C, H, W\)"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(3), "one target an image, got 2 and 3"),
    ],
)
def test_samples_that_do_not_fit_are_refused(images, targets, words):
    with pytest.raises(ValueError, match=words):
        TensorSamples(images, targets)


def test_samples_of_packed_images_are_their_views_by_index():
    images = torch.randn(3, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    found = TensorSamples(images, torch.arange(3), factor=2)
    views = decode(images, 2)
    assert len(found) == 12
    assert found.shape == (2, 4, 6)
    assert found.signature == (12, (), torch.int64, False)
    whole, targets = found.batch(None)
    torch.testing.assert_close(whole, views, rtol=1e-6, atol=1e-6)
    assert targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.batch(None)[0] is whole
    some, targets = found.batch(torch.tensor([7, 0, 11]))
    torch.testing.assert_close(some, views[[7, 0, 11]], rtol=1e-6, atol=1e-6)
    assert targets.tolist() == [1, 0, 2]
    assert some.is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="factor 3 does not divide images of 4x6"):
        TensorSamples(images, torch.arange(3), factor=3)
