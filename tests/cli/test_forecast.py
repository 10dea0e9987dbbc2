"""What a command will take is told before it starts, and telling it leaves nothing behind."""

import json
import re

import numpy as np
import pytest

from pydistill import distill, evaluate, make_method, methods, train_experts
from pydistill.cli import main
from pydistill.cli.common import Listener, console
from pydistill.cli.forecast import of_distillation, of_evaluation, of_experts
from pydistill.evaluation.protocol import named
from pydistill.events import Started, Step
from pydistill.experts import ExpertTraining, needed_bytes
from pydistill.shown import duration, size
from tests.conftest import blobs

DM = ["--method", "dm", "--network", "convnet:width=4,depth=2", "--batch-real", "8", "--ipc", "1"]
SHORT = ["--network", "mlp:width=4", "--repeats", "2", "--epochs", "4"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tiny.npz"
    np.savez(path, **blobs())
    return str(path)


def entries(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_distill_tells_and_writes_nothing(source, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    assert main(["distill", source, *DM, "--out", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert re.search(r"^20,000 iterations$", said, re.MULTILINE)
    assert re.search(r"^time    about .*s each, 5 timed", said, re.MULTILINE)
    assert re.search(r"^memory  .*iB at the peak", said, re.MULTILINE)
    assert re.search(r"^disk    .*are free in", said, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []
    assert (
        main(["distill", source, *DM, "--iterations", "7", "--out", str(out), "--dry-run", "--json"]) == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert (answer["steps"], answer["timed"], answer["dry run"]) == (7, 5, True)
    assert answer["seconds"] > 0
    assert answer["memory"] > 2**20
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_in_the_way_is_refused_by_a_dry_run_too(source, tmp_path, capsys):
    assert main(["distill", source, "--method", "random", "--ipc", "1", "--out", str(tmp_path)]) == 0
    before = entries(tmp_path)
    assert main(["distill", source, *DM, "--out", str(tmp_path), "--dry-run"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["distill", source, *DM, "--out", str(tmp_path), "--dry-run", "--overwrite"]) == 0
    assert main(["evaluate", str(tmp_path), *SHORT, "--dry-run"]) == 0
    assert entries(tmp_path) == before


def test_evaluation_counts_its_networks(tiny, source, tmp_path, capsys):
    assert main(["distill", source, "--method", "random", "--ipc", "1", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path), *SHORT, "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(tmp_path), *SHORT, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert answer["steps"] == len(report["runs"]) * 4
    assert answer["work"] == f"steps: {len(report['runs'])} networks of 4"


def test_experts_tell_their_disk_and_leave_no_folder(tiny, source, tmp_path, capsys):
    out = tmp_path / "experts"
    arguments = ["experts", source, "--out", str(out), "--count", "3", "--network", "mlp:width=4"]
    assert main([*arguments, "--epochs", "2", "--batch-size", "27", "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    training = ExpertTraining(network="mlp:width=4", epochs=2, batch_size=27)
    assert answer["disk"] == needed_bytes(tiny, training, 3)
    assert answer["steps"] == 3 * 2 * 3
    assert not out.exists()
    train_experts(tiny, out, 1, training)
    assert of_experts(tiny, training, 3, folder=out).disk == needed_bytes(tiny, training, 2)


@pytest.mark.parametrize("name", ["kip", "rfad", "dc", "dd", "random"])
def test_every_family_can_be_foretold(name, tiny, tmp_path):
    options = {"network": "convnet:width=4,depth=2"} if name in ("dc", "dd") else {}
    found = of_distillation(tiny, make_method(name, "quick", **options), folder=tmp_path, ipc=1)
    assert found.steps == methods()[name](**dict(methods()[name].presets["quick"])).steps
    assert found.memory > 0


def test_a_forecast_scores_no_test_image(tiny, monkeypatch):
    made = distill(tiny, "random", ipc=1)
    asked = []
    monkeypatch.setattr(
        "pydistill.cli.forecast.score", lambda network, data, split, device: asked.append(split)
    )
    settings = {"architectures": ("mlp:width=4",), "repeats": 1, "epochs": 1}
    report = evaluate(made, tiny, random_draws=0, whole=False, **settings)
    of_evaluation(made, tiny, named("quick", **settings))
    assert [split is tiny.validation for split in asked] == [True]
    assert report


def test_a_long_run_without_a_preset_says_so_as_it_starts(source, tmp_path, capsys):
    assert main(["distill", source, *DM, "--out", str(tmp_path / "a"), "--iterations", "2"]) == 0
    assert "to come" not in capsys.readouterr().err
    stop = ["--learning-rate", "1e30", "--checkpoint-every", "1000"]  # ends soon: its loss is not finite
    assert main(["distill", source, *DM, "--out", str(tmp_path / "b"), *stop]) == 5
    assert "20,000 iterations to come (no preset was named; --preset quick: 300)" in capsys.readouterr().err


def test_the_length_of_a_long_run_is_said_once_after_the_first_iterations(capsys):
    listener = Listener(console(stderr=True))
    listener(Started(0, 5000))
    for index in range(1, 20):
        listener(Step(index, 5000, {"loss": 1.0}, 2.0))
    said = capsys.readouterr().err
    assert "5,000 iterations to come" in said
    assert said.count("about 2 h 46 min to come, by the first 5 iterations") == 1


def test_durations_and_sizes_in_words():
    assert [duration(each) for each in (3, 119, 600, 7800, 200_000)] == [
        *("about 3 s", "about 119 s", "about 10 min", "about 2 h 10 min", "about 2.3 days")
    ]
    assert [size(each) for each in (0, 1000, 1024, 3_500_000, 2**40, 2**55)] == [
        *("0 bytes", "1000 bytes", "1.0 KiB", "3.3 MiB", "1.0 TiB", "32768 TiB")
    ]
