"""The table of methods side by side: what stands beside a row, and what is said to differ."""

import json
from dataclasses import replace

import pytest

from benchmarks.methods.equal_table import (
    PUBLISHED,
    WHOLE,
    baseline,
    beside,
    differing,
    factor,
    kind,
    markdown,
    options,
    published,
)
from pydistill.method import methods


def row(values, **more):
    each = {"values": values, "values in features": values, "as learned": {}, "iterations": 40}
    return {"sets": [{**each, "distilling seconds": 60.0, "preparing seconds": 7.0, **more}]}


@pytest.fixture
def fashion(tiny):
    return replace(tiny, name="../data/fashion_mnist")


def test_every_published_figure_names_a_method_its_source_and_a_share():
    for figure in json.loads(PUBLISHED.read_text())["figures"]:
        assert figure["method"] in methods()
        assert 10 < figure["value"] < 100
        assert figure["source"]


def test_a_figure_is_that_of_the_data_the_budget_and_the_factor(fashion, tiny):
    assert published(fashion, 10, "dsa")["value"] == 84.6
    assert published(fashion, 10, "idc")["value"] == 86.0
    assert published(fashion, 10, "idc factor=1")["value"] == 85.3
    assert published(fashion, 1, "dsa") is None
    assert published(fashion, 10, "dsa factor=2") is None
    assert published(tiny, 10, "dsa") is None


def test_what_differs_is_found_and_not_only_told(fashion):
    known = published(fashion, 10, "dsa")
    ours = {"iterations": 40}
    found = differing(known, ours, fashion, "convnet:width=64")
    assert found == "network convnet; steps 10,000; 1,000 epochs of evaluation"
    assert differing(known, {"iterations": 10_000}, fashion, "convnet") == "1,000 epochs of evaluation"


def test_rows_stand_from_the_best_down_and_random_last(fashion):
    rows = {
        "whole": row([0.9, 0.92]),
        "dc": row([0.7, 0.72]),
        "dsa": row([0.8, 0.82]),
        "random factor=1": {"sets": [*row([0.75])["sets"], *row([0.74])["sets"]]},
    }
    lines = markdown({"rows": rows}, fashion, 10, "convnet:width=64").splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "`whole`",
        "`dsa`",
        "`dc`",
        "`random`",
    ]
    assert lines[2].split("|")[3].strip() == "-"
    assert "81.0 ± 1.4 (2)" in lines[3]
    assert "| 7 | 40 | 84.6 [github.com/VICO-UoE/DatasetCondensation, README] |" in lines[3]


def test_options_of_a_row_are_read_as_json_where_they_are():
    assert options("mtt experts=runs/e factor=2 learn_labels=true") == {
        "experts": "runs/e",
        "factor": 2,
        "learn_labels": True,
    }


def test_a_row_knows_its_method_and_whether_anything_is_distilled():
    assert [kind(row).name for row in ("idc factor=1", "random factor=2", WHOLE)] == [
        "idc",
        "random",
        "random",
    ]
    assert [factor(row) for row in ("idc", "idc factor=1", "random factor=2", WHOLE)] == [2, 1, 2, 1]
    assert [baseline(row) for row in ("dm factor=2", "random factor=1", WHOLE)] == [False, True, True]


def test_several_results_stand_in_one_table():
    drawn = {"sets": [*row([0.6])["sets"], *row([0.62])["sets"]]}
    one = {"rows": {"dc": row([0.7, 0.72]), "dsa": row([0.8, 0.82]), "random factor=1": drawn}}
    two = {"rows": {"dsa": row([0.9, 0.9]), "dm": row([0.91, 0.93])}}
    lines = beside({"ipc1": one, "ipc10": two}).splitlines()
    assert lines[0] == "| method | ipc1 | less random | ipc10 | less random |"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [each[0] for each in cells] == ["`dsa`", "`dc`", "`dm`", "`random`"]
    assert cells[0][1] == "81.0 ± 1.4 (2)"
    assert cells[0][2].startswith("+")
    assert cells[0][3:] == ["90.0 ± 0.0 (2)", "-"]
    assert cells[1][3:] == ["-", "-"]
