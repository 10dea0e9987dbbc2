"""Scores of baselines are kept and used again; an evaluation that was ended goes on where it was."""

import dataclasses
import json

import pytest
from torch import nn

from pydistill.cli import main
from pydistill.engine.run import distill
from pydistill.evaluation import evaluate, kept
from pydistill.evaluation import run as running
from pydistill.evaluation.kept import Scores, usual_folder

SHORT = {
    "architectures": ("mlp:width=4", "convnet:width=4,depth=2"),
    "epochs": 3,
    "repeats": 2,
    "random_draws": 2,
}


@pytest.fixture(scope="module")
def small(tiny):
    return distill(tiny, "random", ipc=2, seed=7)


@pytest.fixture
def trained(monkeypatch):
    """How many networks were trained since."""
    counts = []
    real = running.train

    def counted(architecture, jobs, *rest, **options):
        counts.append(len(jobs))
        return real(architecture, jobs, *rest, **options)

    monkeypatch.setattr(running, "train", counted)
    return counts


def results(report):
    return [
        (run.architecture, run.source, run.draw, run.seed, run.value, run.loss, run.regime)
        for run in report.runs
    ]


def test_baselines_are_trained_once(small, tiny, tmp_path, trained):
    plain = evaluate(small, tiny, **SHORT)
    assert sum(trained) == 2 * (2 + 2 + 2)
    trained.clear()
    first = evaluate(small, tiny, baselines=tmp_path, **SHORT)
    assert sum(trained) == 2 * (2 + 2 + 2)
    assert results(first) == results(plain)
    trained.clear()
    second = evaluate(small, tiny, baselines=tmp_path, **SHORT)
    assert sum(trained) == 2 * 2
    assert results(second) == results(plain)
    assert {run.source for run in second.runs if run.reused} == {"random", "whole"}
    assert all(run.reused == (run.source != "distilled") for run in second.runs)
    assert not any(run.reused for run in first.runs)
    assert second.details == first.details
    (note,) = (note for note in second.notes if "earlier evaluations" in note)
    assert "4 on random real images, 4 on all training images" in note
    assert not any("earlier evaluations" in note for note in first.notes)


def test_another_set_of_the_same_budget_has_the_same_baselines(small, tiny, tmp_path, trained):
    evaluate(small, tiny, baselines=tmp_path, **SHORT)
    trained.clear()
    other = distill(tiny, "dm", preset="quick", iterations=2, network="mlp:width=4", ipc=2)
    report = evaluate(other, tiny, baselines=tmp_path, **SHORT)
    assert sum(trained) == 2 * 2
    assert results(report) == results(evaluate(other, tiny, **SHORT))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4}, {"seed": 1}, {"batch_size": 4}, {"learning_rate": 0.01}, {"augment": "flip"},
        {"split": "validation"}, {"schedule": "constant"}, {"momentum": 0.5}, {"optimiser": "adam"},
    ],
)  # fmt: skip
def test_another_protocol_has_its_own(change, small, tiny, tmp_path, trained):
    short = SHORT | {"architectures": ("mlp:width=4",)}
    evaluate(small, tiny, baselines=tmp_path, **short)
    trained.clear()
    evaluate(small, tiny, baselines=tmp_path, **short | change)
    assert sum(trained) == 2 + 2 + 2


def test_another_budget_data_or_version_has_its_own(small, tiny, tmp_path, trained, monkeypatch):
    short = SHORT | {"architectures": ("mlp:width=4",)}
    evaluate(small, tiny, baselines=tmp_path, **short)
    trained.clear()
    evaluate(distill(tiny, "random", ipc=3), tiny, baselines=tmp_path, **short)
    assert sum(trained) == 2 + 2  # as many steps, so that whole data is the same
    trained.clear()
    other = dataclasses.replace(tiny, fingerprint="0" * 64)
    evaluate(small, other, baselines=tmp_path, allow_other_data=True, **short)
    assert sum(trained) == 2 + 2 + 2
    trained.clear()
    monkeypatch.setattr(kept, "_code", lambda: "another")
    evaluate(small, tiny, baselines=tmp_path, **short)
    assert sum(trained) == 2 + 2 + 2


def test_what_cannot_be_read_is_measured_again(small, tiny, tmp_path, trained):
    short = SHORT | {"architectures": ("mlp:width=4",)}
    first = evaluate(small, tiny, baselines=tmp_path, **short)
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 4
    files[0].write_text(files[0].read_text()[:40])
    files[1].write_text("{}")
    trained.clear()
    second = evaluate(small, tiny, baselines=tmp_path, **short)
    assert sum(trained) == 2 + 2
    assert results(second) == results(first)
    trained.clear()
    evaluate(small, tiny, baselines=tmp_path, **short)
    assert sum(trained) == 2


def test_networks_of_ones_own_and_kernels_of_features_are_trained_each_time(small, tiny, tmp_path, trained):
    class Own(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 3))

    short = SHORT | {"architectures": {"mine": Own}, "whole": False}
    for _ in range(2):
        trained.clear()
        report = evaluate(small, tiny, baselines=tmp_path, **short)
        assert sum(trained) == 2 + 2
        assert not any(run.reused for run in report.runs)
    short = SHORT | {"architectures": ("mlp:width=4",), "kernels": ("trained",), "whole": False}
    evaluate(small, tiny, baselines=tmp_path, **short)
    trained.clear()
    report = evaluate(small, tiny, baselines=tmp_path, **short)
    assert sum(trained) == 2 + 2


class StopError(Exception):
    """Ends an evaluation within its listener."""


@pytest.mark.parametrize("execution", ["auto", "ensemble"])
def test_an_evaluation_that_was_ended_goes_on(execution, small, tiny, tmp_path, trained):
    short = SHORT | {"architectures": ("mlp:width=4",), "execution": execution}
    whole = evaluate(small, tiny, **short)
    trained.clear()

    def stop(event):
        if getattr(event, "stage", "") == "score random" and event.done == 1:
            raise StopError

    folder = tmp_path / "evaluation"
    with pytest.raises(StopError):
        evaluate(small, tiny, unfinished=folder, on_event=stop, **short)
    assert len(list(folder.rglob("*.json"))) == 3
    trained.clear()
    report = evaluate(small, tiny, unfinished=folder, **short)
    assert sum(trained) == 3
    assert not any(run.reused for run in report.runs)
    assert not folder.exists()
    if execution == "ensemble":
        for one, other in zip(results(report), results(whole), strict=True):
            assert one[:4] == other[:4]
            assert abs(one[4] - other[4]) < 0.05
    else:
        assert results(report) == results(whole)


def test_the_command_keeps_them_in_the_users_cache(tmp_path, capsys):
    run = ["evaluate", str(tmp_path / "run"), "--network", "mlp:width=4", "--epochs", "1", "--repeats", "1"]
    out = str(tmp_path / "run")
    assert main(["distill", "digits", "--method", "random", "--ipc", "1", "--out", out]) == 0
    assert main([*run, "--baselines", "none"]) == 0
    assert not usual_folder().exists()
    assert main(run) == 0
    assert len(list(usual_folder().rglob("*.json"))) == 5 + 1
    capsys.readouterr()
    assert main([*run, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert sum(each["reused"] for each in answer["runs"]) == 5 + 1
    assert not (tmp_path / "run" / "evaluation").exists()


def test_scores_are_cleared_with_their_folder_alone(tmp_path):
    (tmp_path / "scores" / "ab").mkdir(parents=True)
    (tmp_path / "scores" / "ab" / "abc.json").write_text("{}")
    (tmp_path / "scores" / "own.txt").write_text("stays")
    Scores(tmp_path / "scores").clear()
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["own.txt"]
