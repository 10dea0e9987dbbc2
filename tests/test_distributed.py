"""Which part of a distributed run a process is, and which GPU it takes."""

import pytest
import torch

from pydistill.distributed import World
from pydistill.machine import resolve_device

LAUNCHED = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "2"}


def test_a_world_is_what_the_launcher_says():
    assert World.of({}) == World(0, 1, None)
    assert World.of(LAUNCHED) == World(5, 8, 2)
    assert World.of(LAUNCHED, rank=0, ranks=3) == World(0, 3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": "two"}, "RANK must be a number, got 'two'"),
        ({"RANK": "8"}, "rank must be from 0 to 7, got 8"),
        ({"WORLD_SIZE": "0"}, "ranks must be at least 1, got 0"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK must be at least 0, got -1"),
    ],
)
def test_what_fits_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        World.of({**LAUNCHED, **changes})


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(
    ("local_rank", "asked", "device"),
    [
        (None, "auto", "cuda"),
        ("0", "auto", "cuda:0"),
        ("3", "auto", "cuda:3"),
        ("5", "auto", "cuda:1"),
        ("3", "cuda", "cuda:3"),
        ("3", "cuda:1", "cuda:1"),
        ("3", "cpu", "cpu"),
    ],
)
@pytest.mark.usefixtures("four_gpus")
def test_a_process_takes_the_gpu_of_its_local_rank(local_rank, asked, device, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert resolve_device(asked) == torch.device(device)


def test_without_a_gpu_it_is_the_processor(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("auto") == torch.device("cpu")
