"""``pydistill analyse``, and leaving out what it flags."""

import json

import numpy as np
import pytest
import torch

from pydistill.cli import main
from pydistill.data import DistilledData
from tests.analysis.conftest import textures

SHORT = ["--network", "mlp:width=4", "--epochs", "1", "--repeats", "1", "--random-draws", "1", "--no-whole"]


def written(path, **changes):
    images = textures(90)
    images[31] = images[30]
    labels = (torch.arange(90) // 5 % 3).numpy()
    arrays = {"x_train": images[:60].numpy(), "y_train": labels[:60]}
    arrays |= {"x_val": images[60:70].numpy(), "y_val": labels[60:70]}
    arrays |= {"x_test": images[70:].numpy(), "y_test": labels[70:]}
    np.savez(path, **{**arrays, **changes})
    return str(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return written(tmp_path_factory.mktemp("source") / "copied.npz")


@pytest.fixture(scope="module")
def analysed(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysed")
    assert main(["analyse", source, "--out", str(folder), "--no-training"]) == 0
    return str(folder)


def test_page_and_json_are_written_and_told(source, tmp_path, capsys):
    out = tmp_path / "found"
    arguments = ["analyse", source, "--out", str(out), "--findings", "duplicates, classes", "--json"]
    assert main(arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer["findings"]) == ["duplicates", "classes"]
    assert answer["findings"]["duplicates"]["flagged"][0]["position"] == 31
    assert (out / "analysis.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in out.iterdir()) == ["analysis.html", "analysis.json"]


def test_networks_are_trained_where_needed_and_kept(source, tmp_path, capsys):
    out = tmp_path / "found"
    assert main(["analyse", source, "--out", str(out), "--findings", "difficulty"]) == 0
    told = capsys.readouterr()
    assert "difficulty need networks: 2 x convnet" in told.err
    assert "Difficulty:" in told.out
    kept = str(out / "scores")
    again = [
        "analyse",
        source,
        "--out",
        str(tmp_path / "b"),
        "--findings",
        "label_errors",
        "--scores",
        kept,
    ]
    assert main(again) == 0
    assert "Label errors:" in capsys.readouterr().out


def test_what_is_flagged_is_left_out_of_a_distilled_set_and_of_its_evaluation(
    source, analysed, tmp_path, capsys
):
    run = str(tmp_path / "run")
    cleaned = ["--drop", "duplicates", "--analysis", analysed]
    assert main(["distill", source, "--method", "random", "--ipc", "2", "--out", run, *cleaned]) == 0
    assert "1 training images are left out as asked for (duplicates 1)" in capsys.readouterr().err
    made = DistilledData.load(run)
    assert made.provenance.dropped["reasons"] == {"duplicates": 1}
    assert main(["evaluate", run, *SHORT]) == 0  # as the record beside the set says
    assert "1 training images are left out as asked for" in capsys.readouterr().err
    assert main(["evaluate", run, "--data", source, *SHORT]) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--drop", "duplicates"], "--drop needs an analysis of the data: make one with pydistill analyse"),
        (["--drop", "label_errors", "--analysis", "{}"], "no finding 'label_errors': it needs scores"),
        (["--drop", "duplicates:dust", "--analysis", "{}"], "flags nothing as 'dust'"),
        (["--drop", ",", "--analysis", "{}"], "--drop expects names of findings"),
        (["--analysis", "{}"], "--analysis says nothing without --drop"),
        (["--drop", "duplicates", "--analysis", "{}", "--size", "10"], "drop is of data with fingerprint"),
    ],
)
def test_wrong_arguments_of_cleaning_exit_with_2(more, message, source, analysed, tmp_path, capsys):
    given = [each.format(analysed) for each in more]
    out = str(tmp_path / "run")
    assert main(["distill", source, "--method", "random", "--ipc", "1", "--out", out, *given]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_wrong_arguments_of_an_analysis_exit_with_2(source, tmp_path, capsys):
    base = ["analyse", source, "--out", str(tmp_path / "found")]
    for more, message in (
        (["--findings", "clases"], "unknown finding 'clases'"),
        (["--findings", ","], "--findings expects names"),
        (["--findings", "label_errors", "--no-training"], "it needs scores of networks"),
        (["--no-training", "--scores", "x"], "exclude each other"),
    ):
        assert main([*base, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "found").exists()


def test_scores_of_other_data_and_no_scores_are_refused(source, tmp_path, capsys):
    other = written(tmp_path / "other.npz", y_train=np.arange(60) % 3)
    kept = str(tmp_path / "scores")
    tiny = ["--network", "convnet:width=4,depth=2", "--epochs", "1", "--folds", "2"]
    assert main(["scores", other, "--out", kept, *tiny]) == 0
    base = ["analyse", source, "--out", str(tmp_path / "found")]
    assert main([*base, "--scores", kept]) == 2
    assert "the scores are of other with fingerprint" in " ".join(capsys.readouterr().err.split())
    assert main([*base, "--scores", str(tmp_path)]) == 4
    assert "holds no scores" in capsys.readouterr().err


def test_one_class_is_analysed_but_not_for_wrong_labels(tmp_path, capsys):
    one = {"y_train": np.zeros(60, int), "y_val": np.zeros(10, int), "y_test": np.zeros(20, int)}
    source = written(tmp_path / "one.npz", **one)
    base = ["analyse", source, "--out", str(tmp_path / "found")]
    assert main([*base, "--findings", "label_errors"]) == 2
    assert "it needs 2 classes or more, found 1" in capsys.readouterr().err
    assert main([*base, "--no-training"]) == 0
    assert "There is one class" in capsys.readouterr().out


def test_missing_test_labels(tmp_path, capsys):
    """All -1 is an unlabelled split, which is left out; some are refused as data."""
    some = np.arange(20) % 3
    some[3] = -1
    source = written(tmp_path / "some.npz", y_test=some)
    assert main(["analyse", source, "--out", str(tmp_path / "found")]) == 3
    assert "-1" in capsys.readouterr().err
    source = written(tmp_path / "none.npz", y_test=np.full(20, -1))
    assert main(["analyse", source, "--out", str(tmp_path / "found"), "--no-training"]) == 0
    assert "the test split of the source has no labels" in capsys.readouterr().err
