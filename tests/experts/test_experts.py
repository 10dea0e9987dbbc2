"""Experts: snapshots that differ, training that resumes bit for bit, ranks, full disks, damaged folders."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pydistill import nets
from pydistill.cli import main
from pydistill.data import load_data
from pydistill.errors import CheckpointError, DataError, DivergenceError, FileFormatError, OutputError
from pydistill.experts import ExpertTraining, load_experts, needed_bytes, train_experts
from pydistill.experts.store import MANIFEST, RECORD
from pydistill.experts.training import Expert
from pydistill.experts.trajectory import snapshot_path
from pydistill.seeds import generator
from pydistill.storage.records import read_json, write_json
from tests.conftest import blobs

NET = "convnet:width=4,depth=2"
TRAINING = ExpertTraining(network=NET, epochs=3, batch_size=16, learning_rate=0.1)


class InterruptedRunError(Exception):
    """Stops a run from within its listener."""


def contents(folder):
    """Every snapshot's bytes by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/[0-9]*.safetensors")
    }


def test_snapshots_are_copies_that_differ_and_hold_buffers(tiny, tmp_path):
    training = replace(TRAINING, network="convnet:width=4,depth=2,norm=batch", snapshots=2)
    experts = train_experts(tiny, tmp_path, 2, training)
    assert [len(each) for each in experts.trajectories] == [7, 7]
    network = nets.build(training.network, tiny.shape, 3, generator(0))
    for trajectory in experts.trajectories:
        found = [trajectory.read(at) for at in range(7)]
        assert all(snapshot.keys() == network.state_dict().keys() for snapshot in found)
        for one, other in itertools.pairwise(found):
            assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
            name = next(name for name in one if name.endswith("running_mean"))
            assert not torch.equal(one[name], other[name])
    first = [trajectory.read(0)["classifier.weight"] for trajectory in experts.trajectories]
    assert not torch.equal(*first)


def test_an_epoch_is_plain_descent_over_all_images(tiny):
    training = replace(TRAINING, augment="none", momentum=0.9, weight_decay=1e-3)
    expert = Expert(tiny, training, 0, torch.device("cpu"))
    state = expert.start()
    (found,) = expert.epoch(state, 0)
    network = nets.build(NET, tiny.shape, 3, generator(0, "expert", 0))
    rule = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    order = torch.randperm(len(tiny.train), generator=generator(0, "expert", 0, "order", 0))
    for part in order.split(16):
        rule.zero_grad()
        F.cross_entropy(network(tiny.inputs(tiny.train, part)), tiny.train.targets[part]).backward()
        rule.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_flat_experts_descend_as_their_paper_says(tiny):
    """arXiv:2203.08065, algorithm 1, for one step."""
    training = replace(TRAINING, augment="none", rho=0.05, alpha=0.3, batch_size=len(tiny.train))
    expert = Expert(tiny, training, 0, torch.device("cpu"))
    state = expert.start()
    (found,) = expert.epoch(state, 0)
    network = nets.build(NET, tiny.shape, 3, generator(0, "expert", 0)).double()
    images, targets = tiny.inputs(tiny.train, slice(None)).double(), tiny.train.targets
    weights = list(network.parameters())
    before = torch.cat([value.detach().flatten() for value in weights])

    def slope():
        found = torch.autograd.grad(F.cross_entropy(network(images), targets), weights)
        return torch.cat([value.flatten() for value in found])

    plain = slope()
    torch.nn.utils.vector_to_parameters(before + 0.05 * plain / plain.norm(), weights)
    steep = slope()
    across = plain - (plain @ steep) / (steep @ steep) * steep
    expected = before - 0.1 * (steep - 0.3 * across)
    names = [name for name, _ in network.named_parameters()]
    moved = torch.cat([found[name].flatten() for name in names]).double()
    assert (moved - expected).norm() < 1e-4 * (expected - before).norm()


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_broken_off_run_ends_bit_identical(stop, tiny, tmp_path):
    def interrupt(event):
        if event.done == stop:
            raise InterruptedRunError

    train_experts(tiny, tmp_path / "whole", 2, TRAINING)
    with pytest.raises(InterruptedRunError):
        train_experts(tiny, tmp_path / "parts", 2, TRAINING, on_event=interrupt)
    seen = []
    train_experts(tiny, tmp_path / "parts", 2, TRAINING, on_event=lambda event: seen.append(event.done))
    assert seen[-1] == 6
    assert len(seen) < 6
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_a_killed_run_is_usable_and_goes_on(tmp_path):
    np.savez(tmp_path / "tiny.npz", **blobs(each=200))
    command = ["experts", str(tmp_path / "tiny.npz"), "--network", NET, "--epochs", "40", "--count", "2"]
    out = tmp_path / "killed"
    run = subprocess.Popen(
        [sys.executable, "-m", "pydistill.cli", *command, "--out", str(out), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while not snapshot_path(out / "0000", 3).exists():
        assert time.monotonic() < deadline, "no snapshot within ten minutes"
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert 4 <= len(load_experts(out).trajectories[0]) <= 41  # all, where the killer came late
    assert main([*command, "--out", str(out), "--json"]) == 0
    assert main([*command, "--out", str(tmp_path / "whole"), "--json"]) == 0
    assert contents(out) == contents(tmp_path / "whole")
    assert [len(each) for each in load_experts(out).trajectories] == [41, 41]


def test_ranks_and_processes_share_the_work(tiny, tmp_path):
    alone = train_experts(tiny, tmp_path / "alone", 3, TRAINING)
    for rank in range(2):
        train_experts(tiny, tmp_path / "ranks", 3, TRAINING, rank=rank, ranks=2)
    seen = []
    train_experts(tiny, tmp_path / "processes", 3, TRAINING, processes=2, on_event=seen.append)
    assert seen[-1].done == seen[-1].total == 9
    assert len(alone) == 3
    assert contents(tmp_path / "alone") == contents(tmp_path / "ranks")
    found, expected = (load_experts(tmp_path / name) for name in ("processes", "alone"))
    for one, other in zip(found.trajectories, expected.trajectories, strict=True):
        for at in range(4):
            for name, value in other.read(at).items():  # threads may share sums out otherwise
                torch.testing.assert_close(one.read(at)[name], value, rtol=1e-3, atol=1e-5)
    assert multiprocessing.active_children() == []


def test_torchrun_says_which_part_is_ours(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    train_experts(tiny, tmp_path, 3, TRAINING)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["0001"]


def test_the_manifest_tells_what_they_are(tiny, tmp_path):
    train_experts(tiny, tmp_path, 2, TRAINING)
    facts = json.loads((tmp_path / "manifest.json").read_text())
    assert facts["fingerprint"] == tiny.fingerprint
    assert facts["data"] == "tiny"
    assert facts["training"]["network"] == NET
    assert facts["training"]["learning_rate"] == 0.1
    assert [each["expert"] for each in facts["experts"]] == [0, 1]
    for each in facts["experts"]:
        assert each["snapshots"] == 4
        assert 0 <= each["validation"] <= 1
        assert each["losses"][-1] < each["losses"][0]


def test_count_may_grow_and_settings_may_not(tiny, tmp_path):
    train_experts(tiny, tmp_path, 1, TRAINING)
    assert len(train_experts(tiny, tmp_path, 2, TRAINING)) == 2
    with pytest.raises(CheckpointError, match=r"training.epochs is 3 there, 5 here"):
        train_experts(tiny, tmp_path, 2, replace(TRAINING, epochs=5))
    with pytest.raises(CheckpointError, match="storage is 'float32' there, 'bfloat16' here"):
        train_experts(tiny, tmp_path, 2, TRAINING, storage="bfloat16")


def test_bfloat16_takes_half_of_the_disk_and_does_not_change_the_training(tiny, tmp_path):
    wide, narrow = (
        train_experts(tiny, tmp_path / name, 1, TRAINING, storage=name) for name in ("float32", "bfloat16")
    )
    sizes = [snapshot_path(tmp_path / n / "0000", 3).stat().st_size for n in ("float32", "bfloat16")]
    assert sizes[1] < 0.8 * sizes[0]
    for name, value in wide.trajectories[0].read(3).items():
        found = narrow.trajectories[0].read(3)[name]
        assert found.dtype == torch.float32
        assert torch.equal(found, value.bfloat16().float())


def test_disk_need_is_known_and_a_disk_too_small_is_refused_at_once(tiny, tmp_path, monkeypatch):
    need = needed_bytes(tiny, TRAINING, 2)
    train_experts(tiny, tmp_path / "a", 2, TRAINING)
    held = sum(len(content) for content in contents(tmp_path / "a").values())
    assert need <= held < 3 * need
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, need - 1))
    with pytest.raises(OutputError, match=r"experts still to come take .* fewer epochs or bfloat16"):
        train_experts(tiny, tmp_path / "b", 2, TRAINING)
    assert not list((tmp_path / "b").glob("[0-9]*"))


def test_a_disk_that_fills_up_leaves_what_was_complete(tiny, tmp_path, monkeypatch):
    from pydistill.storage import records

    written, whole = [], records.save_file

    def fill(tensors, path, metadata):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        if path.name.startswith("0"):
            written.append(path)
        whole(tensors, path, metadata=metadata)

    monkeypatch.setattr(records, "save_file", fill)
    with pytest.raises(OutputError, match="No space left on device"):
        train_experts(tiny, tmp_path, 2, TRAINING)
    experts = load_experts(tmp_path)
    assert [len(each) for each in experts.trajectories] == [3]
    experts.require(tiny, NET, 3)
    monkeypatch.undo()
    assert [len(each) for each in train_experts(tiny, tmp_path, 2, TRAINING).trajectories] == [4, 4]


def test_a_gap_ends_a_trajectory_and_damage_is_named(tiny, tmp_path):
    train_experts(tiny, tmp_path, 1, TRAINING)
    path = snapshot_path(tmp_path / "0000", 2)
    path.write_bytes(path.read_bytes()[:100])
    experts = load_experts(tmp_path)
    with pytest.raises(FileFormatError, match=r"0002.safetensors cannot be read as a snapshot"):
        experts.trajectories[0].read(2)
    path.unlink()
    assert len(load_experts(tmp_path).trajectories[0]) == 2
    with pytest.raises(IndexError, match="snapshot 5 of"):
        experts.trajectories[0].read(5)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FileFormatError, match="cannot be read as a manifest"):
        load_experts(tmp_path)


def test_a_folder_without_a_manifest_is_none(tmp_path):
    with pytest.raises(DataError, match=r"holds no manifest.json"):
        load_experts(tmp_path)


def test_a_loss_that_is_not_finite_names_step_and_rate_and_keeps_what_there_was(tiny, tmp_path):
    with pytest.raises(DivergenceError, match=r"expert 0: the loss is .* in step \d of epoch \d, at a"):
        train_experts(tiny, tmp_path, 1, replace(TRAINING, learning_rate=1e30))
    assert snapshot_path(tmp_path / "0000", 0).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"momentum": 1.0}, r"momentum must be within \[0, 1\)"),
        ({"rho": -1.0}, "rho must be at least 0"),
        ({"network": "convnot"}, "convnot"),
        ({"augment": "blur"}, "unknown transform 'blur'"),
    ],
)
def test_wrong_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        ExpertTraining(**options)


def test_wrong_arguments_are_refused_before_anything_is_written(tiny, tmp_path):
    for given, words in (
        ({"count": 0}, "count must be at least 1"),
        ({"count": 1, "rank": 2, "ranks": 2}, "rank must be from 0 to 1, got 2"),
        ({"count": 1, "storage": "int8"}, "storage must be one of float32, bfloat16"),
        ({"count": 1, "processes": 0}, "processes must be at least 1"),
        ({"count": 1, "training": replace(TRAINING, snapshots=50)}, "snapshots must be at most 6"),
    ):
        with pytest.raises(ValueError, match=words):
            train_experts(tiny, tmp_path / "none", **given)
    assert not (tmp_path / "none").exists()


def test_the_command_says_what_it_needs_and_made(tmp_path, capsys):
    np.savez(tmp_path / "tiny.npz", **blobs())
    command = ["experts", str(tmp_path / "tiny.npz"), "--out", str(tmp_path / "e"), "--network", NET]
    assert main([*command, "--epochs", "2", "--snapshots", "2", "--count", "2", "--batch-size", "16"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "2 experts take 0 MiB of disk" in said
    assert "holds 2 experts, of 5 to 5 snapshots" in said


def test_an_error_in_a_process_reaches_who_asked(tiny, tmp_path):
    with pytest.raises(DivergenceError, match=r"expert \d: the loss is"):
        train_experts(tiny, tmp_path, 2, replace(TRAINING, learning_rate=1e30), processes=2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"preprocess": "zca"}, "preprocess is 'standardise' there, 'zca' here"),
        ({"horizontal_flip": False}, "horizontal_flip is True there, False here"),
        ({"size": 4}, r"shape is \[1, 8, 8\] there, \[1, 4, 4\] here"),
    ],
)
def test_a_folder_of_experts_is_of_data_read_in_one_way(changes, named, tmp_path):
    training = ExpertTraining(network="mlp:width=4", epochs=1)
    made = train_experts(load_data(blobs()), tmp_path, 1, training)
    other = load_data(blobs(), **changes)
    with pytest.raises(CheckpointError, match=named):
        train_experts(other, tmp_path, 2, training)
    made.require(load_data(blobs()), "mlp:width=4", 1)
    with pytest.raises(DataError, match=r"fingerprint|horizontal_flip is True there, False here"):
        made.require(other, "mlp:width=4", 1)


def test_a_manifest_under_earlier_names_is_read_and_compared(tiny, tmp_path):
    training = ExpertTraining(network="mlp:width=4", epochs=1, rho=0.05, alpha=0.2)
    train_experts(tiny, tmp_path, 1, training)
    facts = read_json(tmp_path / MANIFEST, RECORD)
    facts["mirror"] = facts.pop("horizontal_flip")
    for earlier, name in (("flat", "rho"), ("flat_share", "alpha")):
        facts["training"][earlier] = facts["training"].pop(name)
    write_json(tmp_path / MANIFEST, RECORD, facts)
    found = load_experts(tmp_path)
    assert found.training == training
    found.require(tiny, "mlp:width=4", 1)
    with pytest.raises(DataError, match="horizontal_flip is True there, False here"):
        found.require(replace(tiny, horizontal_flip=False), "mlp:width=4", 1)


def test_experts_of_other_fitted_values_are_refused(tiny, tmp_path):
    training = ExpertTraining(network="mlp:width=4", epochs=1)
    made = train_experts(tiny, tmp_path, 1, training)
    scaled = replace(tiny.preprocess, std=2 * tiny.preprocess.std)
    other = replace(tiny, preprocess=scaled)
    with pytest.raises(DataError, match=r"read otherwise: preprocess_values\.std"):
        made.require(other, "mlp:width=4", 1)


def test_experts_that_could_not_begin_leave_no_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(OutputError, match="has room for"):
        train_experts(tiny, tmp_path / "a" / "b", 1, ExpertTraining(network="mlp:width=4", epochs=1))
    assert list(tmp_path.iterdir()) == []
