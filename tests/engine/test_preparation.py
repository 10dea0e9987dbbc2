"""What a method trains before its first iteration is told, kept epoch by epoch, and taken up to the bit."""

import argparse
import shutil

import pytest
import torch
from rich.console import Console

from pydistill.cli.common import Listener
from pydistill.cli.distill import _advised
from pydistill.cli.stopping import StoppedError
from pydistill.engine import preparation
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill, distillation
from pydistill.errors import CheckpointError
from pydistill.events import Progress, Saved, Started, Step
from pydistill.experts.training import Expert
from pydistill.storage.checkpoint import Checkpoint
from pydistill.storage.run_folder import CHECKPOINT, PREPARATION
from pydistill.training.run import TrainingRun

NET = "convnet:width=4,depth=2"
EXPERTS = {
    "network": NET, "iterations": 2, "inner_steps": 2, "expert_epochs": 2,
    "own_experts": "count=2,epochs=3,snapshots=1,rate=0.1,momentum=0.5",
}  # fmt: skip
TEACHER = {"network": NET, "iterations": 2, "batch_real": 16, "teacher_steps": 6}
CASES = [("mtt", EXPERTS), ("datm", {**EXPERTS, "labels": "class"}), ("teacher_krr", TEACHER)]
TOTAL = 6
"""Epochs that each of them trains first: 2 experts of 3, 6 steps of a set that is one batch."""


class KilledError(Exception):
    """Ends a run within its listener."""


@pytest.fixture
def counted(monkeypatch):
    """Epochs that were trained."""
    seen = []
    for kind in (Expert, TrainingRun):

        def epoch(self, *arguments, real=kind.epoch):
            found = real(self, *arguments)
            if found is not None:
                seen.append(1)
            return found

        monkeypatch.setattr(kind, "epoch", epoch)
    return seen


def same(one, other):
    """Whether two sets are equal to the bit."""
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.targets, other.targets)
    assert one.learning_rate == other.learning_rate
    for name, value in one.recipe.tensors().items():
        assert torch.equal(value, other.recipe.tensors()[name])
    return True


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("epoch", [1, 3, 4, TOTAL])
def test_a_run_that_is_killed_in_an_epoch_repeats_that_one_alone(
    name, options, epoch, tiny, tmp_path, counted, monkeypatch
):
    monkeypatch.setattr(preparation, "EVERY", 0.0)

    def listen(event):  # what lies on the disk then is what a kill within the next epoch leaves
        if isinstance(event, Progress) and event.done == epoch:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    whole = distill(tiny, name, ipc=2, folder=tmp_path / "whole", on_event=listen, **options)
    assert len(counted) == TOTAL
    assert not (tmp_path / "killed" / CHECKPOINT).exists()
    counted.clear()
    told = []
    again = distill(
        tiny, name, ipc=2, folder=tmp_path / "killed", resume=True, on_event=told.append, **options
    )
    assert same(whole, again)
    assert len(counted) == TOTAL - epoch
    assert [each.done for each in told if isinstance(each, Progress)] == list(range(epoch + 1, TOTAL + 1))
    assert not (tmp_path / "killed" / PREPARATION).exists()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_run_that_is_ended_between_epochs_repeats_none(name, options, tiny, tmp_path, counted):
    def listen(event):
        if isinstance(event, Progress) and event.done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        distill(tiny, name, ipc=2, folder=tmp_path / "run", on_event=listen, **options)
    assert (tmp_path / "run" / PREPARATION).exists()
    counted.clear()
    again = distill(tiny, name, ipc=2, folder=tmp_path / "run", resume=True, **options)
    assert len(counted) == TOTAL - 2
    assert same(distill(tiny, name, ipc=2, **options), again)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_first_checkpoint_takes_the_place_of_what_was_kept(name, options, tiny, tmp_path, counted):
    def listen(event):
        if isinstance(event, Saved):
            assert event.index == 0
            raise KilledError

    with pytest.raises(KilledError):
        distill(tiny, name, ipc=2, folder=tmp_path / "run", on_event=listen, **options)
    assert Checkpoint.load(tmp_path / "run" / CHECKPOINT, torch.device("cpu")).index == 0
    counted.clear()
    told = []
    again = distill(
        tiny, name, ipc=2, folder=tmp_path / "run", resume=True, on_event=told.append, **options
    )
    assert not counted
    assert [type(each) for each in told[:2]] == [Started, Step]
    assert not (tmp_path / "run" / PREPARATION).exists()
    assert same(distill(tiny, name, ipc=2, **options), again)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_start_and_a_run_prepare_alike(name, options, tiny):
    problem, method = make_problem(tiny, ipc=2), make_method(name, **options)
    state, events = method.start(problem), []
    work = preparation.told(method.prepare(problem, preparation.Interim()), preparation.Interim())
    try:
        while True:
            events.append(next(work))
    except StopIteration as done:
        other = done.value
    assert [each.done for each in events] == list(range(1, TOTAL + 1))
    assert state.keys() == other.keys()
    key = "teacher" if name == "teacher_krr" else "experts"
    flat = [tree if isinstance(tree, dict) else tree[1][-1] for tree in (state[key], other[key])]
    assert all(torch.equal(value, flat[1][name]) for name, value in flat[0].items())


def interrupted(tiny, folder, **options):
    def listen(event):
        if isinstance(event, Progress):
            raise KilledError

    with pytest.raises(KilledError):
        distill(tiny, "mtt", ipc=2, folder=folder, on_event=listen, **{**EXPERTS, **options})


def test_what_is_kept_belongs_to_its_run(tiny, tmp_path):
    interrupted(tiny, tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds a run already: resume it \(--resume\)"):
        distill(tiny, "mtt", ipc=2, folder=tmp_path / "run", **EXPERTS)
    with pytest.raises(CheckpointError, match=r"options\.inner_steps is 2 there, 3 here"):
        distill(tiny, "mtt", ipc=2, folder=tmp_path / "run", resume=True, **{**EXPERTS, "inner_steps": 3})
    assert (tmp_path / "run" / PREPARATION).exists()
    other = {**EXPERTS, "inner_steps": 3}
    made = distill(tiny, "mtt", ipc=2, folder=tmp_path / "run", overwrite=True, **other)
    assert same(distill(tiny, "mtt", ipc=2, **other), made)
    assert not (tmp_path / "run" / PREPARATION).exists()


def test_a_run_that_replaces_another_is_the_one_that_is_taken_up(tiny, tmp_path):
    def listen(event):
        if isinstance(event, Step):
            raise KilledError

    with pytest.raises(KilledError):
        distill(tiny, "dm", ipc=2, network=NET, iterations=3, folder=tmp_path, on_event=listen)
    with pytest.raises(KilledError):
        distill(
            tiny, "mtt", ipc=2, folder=tmp_path, overwrite=True, **EXPERTS,
            on_event=lambda event: listen(Step(1, 1, {}, 0)) if isinstance(event, Progress) else None,
        )  # fmt: skip
    assert (tmp_path / PREPARATION).exists()
    assert not (tmp_path / CHECKPOINT).exists()
    again = distill(tiny, "mtt", ipc=2, folder=tmp_path, resume=True, **EXPERTS)
    assert same(distill(tiny, "mtt", ipc=2, **EXPERTS), again)


def test_epochs_that_are_over_at_once_are_not_each_written(tiny, tmp_path, monkeypatch):
    written = []
    save = Checkpoint.save
    monkeypatch.setattr(
        Checkpoint, "save", lambda self, path: (written.append(path.name), save(self, path))
    )
    distill(tiny, "mtt", ipc=2, folder=tmp_path, **EXPERTS)
    assert written == [PREPARATION, CHECKPOINT]  # the last epoch, which ends the preparation


def test_a_method_that_trains_nothing_first_keeps_nothing(tiny, tmp_path):
    problem, method = make_problem(tiny, ipc=2), make_method("dm", network=NET, iterations=2)
    events = []
    for event in distillation(problem, method, folder=tmp_path):
        events.append(type(event).__name__)
        assert not (tmp_path / PREPARATION).exists()
    assert events == ["Started", "Step", "Step", "Snapshot"]


def test_whoever_is_stopped_is_told_what_is_kept(tiny, tmp_path):
    interrupted(tiny, tmp_path / "run")
    options = argparse.Namespace(out=tmp_path / "run", given=["distill", "tiny"])
    listener = Listener(Console(quiet=True))
    kept = "what was trained before the first iteration is kept in"
    with pytest.raises(StoppedError, match=kept), _advised(options, listener):
        raise StoppedError(15)
    shutil.rmtree(tmp_path / "run")
    nothing = "nothing is kept; the same command starts again"
    with pytest.raises(StoppedError, match=nothing), _advised(options, listener):
        raise StoppedError(15)
