"""The table of methods side by side: what stands beside a row, and what is said to differ."""

import json
from dataclasses import replace

import pytest

from benchmarks.methods.equal_scores import accuracies, outdated
from benchmarks.methods.equal_table import (
    PUBLISHED,
    WHOLE,
    baseline,
    beside,
    differing,
    factor,
    gap_text,
    kind,
    markdown,
    options,
    published,
    table,
)
from benchmarks.methods.equal_time import unsquared
from benchmarks.methods.restate import restated
from pydistill.engine.method import methods


def row(values, **more):
    each = {
        "values": values,
        "values in features": values,
        "as learned": {},
        "iterations": 40,
        "options": {},
    }
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
    assert [line.split("|")[1].strip() for line in lines[4:]] == [
        "`whole`",
        "`dsa`",
        "`dc`",
        "`random`",
    ]
    assert lines[4].split("|")[3].strip() == "-"
    assert "81.0 ± 1.4 (2)" in lines[5]
    assert "| 7 | 40 | 84.6 [github.com/VICO-UoE/DatasetCondensation, README] |" in lines[5]


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


def learned(classes, stored, beside_it, **more):
    """A record of a method that learns labels."""
    regimes = {
        "classes": {
            "targets": "classes",
            "loss": "cross-entropy",
            "values": classes,
            "values in features": [],
        },
        "stored": {"targets": "values", "loss": "squared error", "values": stored, "values in features": []}
        | {"random in that use": beside_it},
    }
    found = row(classes)
    (each,) = found["sets"]
    del each["values"], each["values in features"]
    found["sets"] = [each | {"regimes": regimes, "options": {"learn_labels": True}} | more]
    return found


def selections(classes, squared=None):
    """Random selections with class labels, and their classes as values."""
    sets = []
    for at, value in enumerate(classes):
        (each,) = row([value])["sets"]
        if squared:
            each["regimes"] = {"squared": {"values": [squared[at]], "values in features": []}}
        sets.append(each)
    return {"sets": sets}


def test_differences_compare_rows_in_one_use():
    """The squared error gives everything ten points: as stored and by classes alike, the gain is two."""
    rows = {
        "rfad": learned([0.72, 0.72, 0.72], [0.82, 0.82, 0.82], "squared"),
        "dm": row([0.73, 0.73, 0.73]),
        "random factor=1": selections([0.7, 0.7, 0.7], [0.8, 0.8, 0.8]),
    }
    facts = {each["row"]: each for each in table({"rows": rows})}
    assert facts["rfad"]["mean"] == pytest.approx(0.72)
    assert facts["rfad"]["less random"]["mean"] == pytest.approx(0.02)
    assert facts["rfad"]["less dm"]["mean"] == pytest.approx(-0.01)
    stored = facts["rfad"]["as stored"]
    assert (stored["mean"], stored["random"]["mean"]) == pytest.approx((0.82, 0.8))
    assert stored["less random"]["mean"] == pytest.approx(0.02)
    assert facts["dm"]["as stored"] is None


def test_random_selections_of_a_set_that_labels_them_are_its_own():
    rows = {"teacher_krr": learned([0.7] * 3, [0.8] * 3, [0.75, 0.77, 0.76])}
    (facts,) = table({"rows": rows})
    assert facts["as stored"]["random"] == {"mean": pytest.approx(0.76), "std": pytest.approx(0.01), "n": 3,
                                            "networks a set": 1}  # fmt: skip
    assert facts["as stored"]["less random"]["mean"] == pytest.approx(0.04)


def test_records_from_before_count_as_class_labels_where_targets_are_classes():
    old = row([0.8, 0.82])
    (each,) = old["sets"]
    assert accuracies(each | {"options": {"learn_labels": False, "labels": "class"}}) == [0.8, 0.82]
    for options_then in ({"learn_labels": True}, {"labels": "expert", "learn_labels": False}):
        then = each | {"options": options_then}
        assert accuracies(then) is None
        assert accuracies(then, "stored") == [0.8, 0.82]
        assert outdated(then)
    assert not outdated(each)
    rows = {"rfad": {"sets": [each | {"options": {"learn_labels": True}}]}, "dm": old}
    facts = {found["row"]: found for found in table({"rows": rows})}
    assert facts["rfad"]["mean"] is None
    assert facts["rfad"].get("less dm") is None
    assert facts["rfad"]["as stored"]["mean"] == pytest.approx(0.81)


def test_a_table_names_the_level_it_was_made_on(fashion):
    level = {"level": "AVX2", "bfloat16": "emulated"}
    rows = {"dm": row([0.7, 0.72], processor=level), "dc": row([0.7, 0.72], processor=level)}
    first = markdown({"rows": rows}, fashion, 10, "convnet").splitlines()[0]
    assert first == "Processor: AVX2, bfloat16 emulated (2 sets)."
    rows["dsa"] = row([0.7, 0.72])
    first = markdown({"rows": rows}, fashion, 10, "convnet").splitlines()[0]
    assert first.endswith("a level not recorded (1 sets). Rows of several levels do not compare in time.")


def test_few_networks_give_an_interval_that_says_so():
    rows = {"dc": row([0.7]), "random factor=1": selections([0.6, 0.6, 0.6])}
    facts = {each["row"]: each for each in table({"rows": rows})}
    assert gap_text(facts["dc"]["less random"]) == "+10.0 to +10.0, too few networks to tell (n = 1)"


def test_random_selections_are_completed_where_a_row_needs_them():
    rows = {"rfad": learned([0.7], [0.8], "squared"), "random factor=1": selections([0.6, 0.62])}
    content = {"rows": rows}
    asked = unsquared(content, ["rfad", "random factor=1"])
    assert [name for name, _ in asked] == ["random factor=1"] * 2
    rows["random factor=1"] = selections([0.6, 0.62], [0.7, 0.72])
    assert unsquared(content, ["rfad", "random factor=1"]) == []
    rows["rfad"] = learned([0.7], [0.8], "classes")
    rows["random factor=1"] = selections([0.6])
    assert unsquared(content, ["rfad", "random factor=1"]) == []


def test_a_row_is_restated_only_where_both_sides_agree():
    kept = row([0.7])
    kept["settings"] = {"code": "old"}
    same = {"set": "a", "networks": "b", "kernels": "c"}
    assert restated(kept, same, same | {"networks": "x"}, "new") == "stays: networks differ"
    assert kept["settings"]["code"] == "old"
    assert restated(kept, same, {"failed": "no experts"}, "new") == "stays: now: no experts"
    assert "kernels, whose figures go" in restated(kept, same, same | {"kernels": "x"}, "new")
    assert kept["settings"]["code"] == "new"
    assert kept["sets"][0]["values in features"] == []
    assert kept["sets"][0]["values"] == [0.7]
