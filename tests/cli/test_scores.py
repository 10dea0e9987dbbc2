"""``pydistill scores``, and a selection by them."""

import json

import pytest

from pydistill.cli import main

TINY = ["--network", "convnet:width=4,depth=2", "--epochs", "1"]


def test_scores_are_written_and_taken_by_a_selector(tmp_path, capsys):
    folder, made = tmp_path / "scores", tmp_path / "set"
    assert main(["scores", "digits", "--out", str(folder), *TINY, "--folds", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["images"] == 1295
    assert {"el2n", "aum", "forgetting"} <= answer["scores"].keys()
    given = ["distill", "digits", "--method", "el2n", "--ipc", "2", "--out", str(made)]
    assert main([*given, "--scores", str(folder)]) == 0
    assert "20 images" in capsys.readouterr().err
    assert main([*given, "--overwrite", "--split-seed", "1", "--scores", str(folder)]) == 2
    assert "the scores are of digits with fingerprint" in capsys.readouterr().err
    assert main([*given, "--overwrite", "--scores", str(tmp_path / "nowhere")]) == 4
    assert "holds no scores: make them with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--folds", "1"], 2, "folds must be 0, or at least 2, got 1"),
        (["--epochs", "2", "--early", "3"], 2, "early must be at most 2"),
        (["--network", "convent"], 2, "unknown network"),
    ],
)
def test_bad_settings_leave_nothing_behind(tmp_path, capsys, words, code, told):
    folder = tmp_path / "scores"
    assert main(["scores", "digits", "--out", str(folder), *words]) == code
    assert told in capsys.readouterr().err
    assert not folder.exists()


def test_other_scores_in_the_folder_are_told_apart(tmp_path, capsys):
    folder = tmp_path / "scores"
    assert main(["scores", "digits", "--out", str(folder), *TINY]) == 0
    assert main(["scores", "digits", "--out", str(folder), *TINY]) == 0
    capsys.readouterr()
    assert main(["scores", "digits", "--out", str(folder), *TINY, "--seed", "1"]) == 4
    assert "holds other scores: seed is 0 there, 1 here" in capsys.readouterr().err
