"""How many threads compute, and what idle ones do."""

import pytest
import torch

from pydistill import about, threads
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import Training, TrainingJob, train


@pytest.mark.parametrize(
    ("given", "found"), [(None, "spin"), ("ACTIVE", "spin"), ("PASSIVE", "sleep"), ("passive", "sleep")]
)
def test_what_idle_threads_do_is_told(monkeypatch, given, found):
    if given is None:
        monkeypatch.delenv(threads.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(threads.VARIABLE, given)
    assert about.installation()["idle threads"] == found


@pytest.fixture
def two():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("work", "device", "found"), [(10, "cpu", 1), (threads.LEAST_SHARED, "cpu", 2), (10, "cuda", 2)]
)
def test_little_work_is_not_shared_out(two, work, device, found):
    with threads.suited(work, torch.device(device)):
        assert torch.get_num_threads() == found
    assert torch.get_num_threads() == 2


def test_threads_are_as_before_after_an_error(two):
    with pytest.raises(KeyError), threads.suited(1, torch.device("cpu")):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("width", "found"), [(4, 1), (64, 2)])
def test_training_takes_the_threads_that_its_steps_pay_for(two, tiny, width, found):
    samples = TensorSamples(torch.randn(90, 1, 8, 8), torch.arange(90) % 3, torch.device("cpu"))
    seen = []
    train(
        f"convnet:width={width},depth=2",
        [TrainingJob(samples, 0)],
        tiny.task,
        Training(steps=1, batch_size=90, learning_rate=0.01),
        callback=lambda info: seen.append(torch.get_num_threads()),
    )
    assert seen == [found]
