"""A report of a selector's set says how it stands under all criteria, and no other report does."""

import dataclasses
import json

import pytest
import torch

from pydistill import distill
from pydistill.budget import Budget
from pydistill.engine.problem import make_problem
from pydistill.evaluation import Report, evaluate
from pydistill.evaluation.chosen import chosen
from pydistill.selection import compare
from tests.evaluation.test_dense import real
from tests.evaluation.test_report import FULL, make, read

TITLE = "The selection under all criteria, beside random's"


def test_the_page_the_text_and_the_json_have_it(tiny, short, tmp_path):
    made = distill(tiny, "greedy", ipc=3, criteria="representativeness", embedding="thumbnails")
    report = evaluate(made, tiny, short, whole=False, repeats=1, random_draws=1)
    standing = report.selection["criteria"]["representativeness"]
    assert standing["value"] > standing["high"] >= standing["random"] >= standing["low"]
    assert list(report.selection["criteria"]) == ["representativeness", "diversity", "balance"]
    problem = make_problem(tiny, ipc=1, device="cpu")
    again = compare(problem, {"it": made.indices}, embedding="thumbnails").standings["it"]
    assert dataclasses.asdict(again["representativeness"]) == pytest.approx(standing)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert f"representativeness {standing['value']:.3f} (" in report.text()
    shown = read(report.save(tmp_path)).text
    assert TITLE in shown
    assert f"{standing['value']:.3f}" in shown
    assert "above all of them" in shown
    assert "9 selected images" in report.headline()
    assert "Selected images, evaluated" in shown
    assert "selected less random" in shown
    assert "distilled images" not in shown
    assert "distilled less" not in shown


def test_notes_speak_of_selected_images(tiny, short, tmp_path):
    made = distill(tiny, "k_means", ipc=3, embedding="thumbnails")
    made = dataclasses.replace(made, weights=torch.linspace(0.5, 1.5, len(made)))
    asked = {"whole": False, "repeats": 1, "random_draws": 1, "baselines": tmp_path}
    evaluate(made, tiny, short, **asked)
    report = evaluate(made, tiny, short, **asked)
    assert any("Each selected image has a weight" in note for note in report.notes)
    assert any("on random real images" in note for note in report.notes)
    assert not any("distilled" in note for note in report.notes)


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_dense_tasks_have_it_too(task):
    data = real(task)
    made = distill(data, "greedy", images=3, embedding="thumbnails")
    found = chosen(made, data)
    assert set(found["criteria"]) == {"representativeness", "diversity", "balance"}
    assert all(0 <= each["value"] <= 1 for each in found["criteria"].values())


def test_packed_images_and_fillers_count_once(tiny):
    groups = tiny.task.groups(tiny.train.targets).members
    kept = torch.cat([member[:count] for member, count in zip(groups, (9, 3, 8), strict=True)])
    uneven = dataclasses.replace(tiny, train=tiny.train.take(kept))
    made = distill(uneven, "greedy", ipc=2, factor=2, short_classes="keep", embedding="thumbnails")
    assert len(made.indices) == 20
    assert len(made.indices.unique()) == 19
    problem = make_problem(uneven, budget=Budget.of(ipc=1), device="cpu")
    found = compare(problem, {"it": made.indices.unique()}, embedding="thumbnails").standings["it"]
    value = chosen(made, uneven)["criteria"]["diversity"]["value"]
    assert value == pytest.approx(found["diversity"].value)


def test_other_sets_and_other_data_have_none(tiny, distilled, tmp_path):
    assert chosen(distilled, tiny) == {}
    made = distill(tiny, "greedy", ipc=2)
    assert chosen(made, dataclasses.replace(tiny, fingerprint="other")) == {}
    plain = make(FULL)
    assert "selection" not in plain.to_json()
    assert TITLE not in read(plain.save(tmp_path)).text
