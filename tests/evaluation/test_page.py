"""What a report's page shows: axes, classes, courses, commands, exact numbers."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest

import pydistill
from pydistill.evaluation import evaluate
from pydistill.evaluation.charts import axis_of
from pydistill.evaluation.facts import Detail, Run
from pydistill.evaluation.origins import commands, program, quoted
from pydistill.evaluation.page import page
from pydistill.html.charts import curve, percentages
from pydistill.storage.history import History
from pydistill.tasks import Breakdown
from tests.evaluation.test_report import FULL, make, read


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([99.0, 100.0], 98.8, 100.0),
        ([100.0], 98.8, 100.0),
        ([0.0], 0.0, 1.2),
        ([10.0, 95.0], 0.0, 100.0),
        ([97.2, 98.1], 97.0, 98.4),
        ([82.1], 81.4, 82.8),
    ],
)
def test_an_axis_of_percentages_never_leaves_0_to_100(values, low, high):
    axis = percentages(values)
    assert 0 <= axis.low <= min(values) <= max(values) <= axis.high <= 100
    assert axis.high - axis.low >= 1 - 1e-9
    assert axis.low >= low - 0.5
    assert axis.high <= high + 0.5
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 12
    assert ticks[-1] == pytest.approx(axis.high)


def two_networks(**changes):
    runs = (*make(FULL).runs, Run("mlp", "distilled", 0, 0, 0.31, 0.1, 1.5, "loop"))
    return make(FULL, runs=runs, **changes)


def test_all_networks_share_one_axis():
    report = two_networks()
    source = page(report)
    drawings = re.findall(r"<svg viewBox.*?</svg>", source, re.DOTALL)
    ticks = [
        [each.text for each in ET.fromstring(drawing).iter("text") if each.get("class") == "tick"][:-1]
        for drawing in drawings
    ]
    assert len(ticks) == 2
    assert ticks[0] == ticks[1]
    assert axis_of(report).low <= 31
    assert axis_of(report).high <= 100


def test_sizes_are_exact_and_tables_scroll(tmp_path):
    shown = read(make(FULL).save(tmp_path))
    assert "2,640 bytes" in shown.text
    assert "400,000 bytes" in shown.text
    assert f"{512 * 2**20:,} bytes" in shown.text
    assert "KiB" not in shown.text
    scrolling = sum(tag == "div" and found.get("class") == "scroll" for tag, found in shown.tags)
    assert scrolling >= sum(tag in ("table", "pre") for tag, _ in shown.tags)


def detailed(classes: int):
    values = (0.5, *[1.0] * (classes - 2), None)
    confusion = [[0] * classes for _ in range(classes)]
    confusion[0][0] = confusion[0][1] = 3
    for at in range(1, classes - 1):
        confusion[at][at] = 6
    made = Breakdown(values, (6,) * (classes - 1) + (0,), tuple(map(tuple, confusion)))
    names = tuple(f"class {at}" for at in range(classes))
    return make(FULL, class_names=names, details=(Detail("convnet", "distilled", "classes", 3, made),))


def test_classes_and_confusions_are_shown(tmp_path):
    text = read(detailed(3).save(tmp_path)).text
    assert "Class by class" in text
    assert "class 050.0 %" in text
    assert "class 1 for 50.0 % of class 0" in text
    assert "what 3 networks trained on distilled images said" in text
    many = read(detailed(30).save(tmp_path))
    assert [found["class"] for tag, found in many.tags if tag == "img"] == ["heat"]
    assert "Class by class" not in read(make(FULL).save(tmp_path)).text
    few = dataclasses.replace(detailed(3), class_names=("a",))
    assert "Class by class" not in read(few.save(tmp_path)).text


def test_the_course_of_distilling_is_drawn(tmp_path):
    history = History(3)
    for step, loss in ((1, 1e-3), (2, 10.0), (3, None)):
        history.add(step, {"loss": loss, "one value": 2.0}, 0.5 * step)
    history.save(tmp_path)
    shown = read(make(FULL).save(tmp_path))
    assert "While it was distilled" in shown.text
    assert "loss: from 0.001 to 10, logarithmic axis" in shown.text
    assert "one value: from 2 to 2" in shown.text
    assert "While it was distilled" not in page(make(FULL))
    (tmp_path / "history.json").write_text("{")
    assert "While it was distilled" not in read(make(FULL).save(tmp_path)).text


def test_a_curve_stands_where_its_values_are():
    drawing = curve("loss", [1, 2, 3], [4.0, 1.0, 3.0])
    found = ET.fromstring(drawing[drawing.index("<svg") : drawing.index("</svg>") + 6])
    (line,) = found.iter("polyline")
    (x1, y1), (x2, y2), (x3, y3) = (map(float, pair.split(",")) for pair in line.get("points").split())
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y2 > y3 > y1
    assert (y2 - y3) / (y2 - y1) == pytest.approx(2 / 3, abs=0.01)
    assert curve("loss", [1], [4.0]) == curve("loss", [1, 2], [4.0, None]) == ""
    assert "&lt;b&gt;" in curve("<b>", [1, 2], [1.0, 2.0])


def test_commands_come_from_the_log(tmp_path):
    (tmp_path / "run.log").write_text(
        "2026-01-01T00:00:00+00:00 begin: pydistill 0.1.0: pydistill distill old --ipc 1\n"
        "2026-01-01T00:00:01+00:00 end: done\n"
        "2026-01-01T00:00:02+00:00 begin: pydistill 0.1.0: pydistill distill '<b>' --ipc 2\n"
        "2026-01-01T00:00:03+00:00 begin: pydistill 0.1.0: pydistill evaluate runs/a --repeats 3\n"
    )
    found = commands(tmp_path)
    assert found == ["pydistill distill '<b>' --ipc 2", "pydistill evaluate runs/a --repeats 3"]
    source = make(FULL).save(tmp_path).read_text()
    assert "pydistill distill &#x27;&lt;b&gt;&#x27; --ipc 2" in source
    assert commands(tmp_path / "none") == commands(None) == []
    assert quoted("pydistill 'a b' c") == "pydistill 'a b' c"


def test_the_program_makes_the_set_and_the_report_again(tiny):
    made = pydistill.distill(tiny, "dm", ipc=2, seed=3, preset="quick", iterations=2, batch_real=4,
                             network="convnet:width=4,depth=2", short_classes="keep")  # fmt: skip
    report = evaluate(
        made, tiny, "dc", architectures=("convnet:width=4",), repeats=1, epochs=1, random_draws=1,
        random_repeats=1, whole=False,
    )  # fmt: skip
    lines = program(report).replace("pydistill.load_data('tiny')", "tiny")
    known = {"tiny": tiny}
    exec(lines, known)
    assert known["small"].images.equal(made.images)
    assert [run.value for run in known["report"].runs] == [run.value for run in report.runs]
    assert known["report"].protocol == report.protocol
    changed = {name: value for name, value in made.provenance.config.items() if f"{name}=" in lines}
    assert changed.keys() >= {"iterations", "batch_real", "network"}
    assert "learning_rate" not in lines  # as the preset has it


def test_what_is_short_is_said_wherever_figures_stand(tmp_path):
    record = make(FULL).provenance | {"short_classes": {"x": 3}, "ipc": 10}
    report = make(FULL, provenance=record)
    assert "class 'x' has 3 of 10 images" in report.text()
    assert read(report.save(tmp_path)).text.count("class 'x' has 3 of 10 images") == 2


def test_a_report_is_shown_in_a_line_and_in_a_notebook():
    report = make(FULL, pictures={"distilled": b"\x89PNG"})
    assert repr(report).startswith("Report(dm on digits: 10 distilled images: 82.0 %")
    assert len(repr(report)) < 300
    html = report._repr_html_()
    assert "data:image/png;base64," in html
    assert "82.0 %" in html
    nasty = dataclasses.replace(report, data="<script>\x1b[31m")
    assert "<script" not in nasty._repr_html_()
    assert "\x1b" not in nasty._repr_html_() + repr(nasty)
