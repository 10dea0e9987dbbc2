"""An analysis as a whole: kept, read back, shown, followed."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from pydistill import DataError, distill, evaluate, load_data
from pydistill.analysis import Analysis, Chart, Finding, Flag, analyse
from pydistill.analysis.drawings import drawing
from pydistill.data import DistilledData
from pydistill.data.drop import Drop, Droppable
from pydistill.errors import FileFormatError
from tests.analysis.conftest import textures

VOID = {"meta", "img", "line", "rect", "circle", "polyline", "br"}


class Checked(HTMLParser):
    """Every tag is closed in order; ids and links are kept."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.pictures = [], [], [], 0
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        assert tag != "script"
        assert not str(facts.get("src", "data:")).startswith("http")
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts["href"]] if "href" in facts else []
        self.pictures += tag == "img"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def arrays():
    """Two of the training images are there twice, whatever is held out of them."""
    images = textures(90)
    images[31], images[52] = images[30], images[30]
    labels = (torch.arange(90) // 5) % 3
    return {
        "x_train": images[:60].numpy(),
        "y_train": labels[:60].numpy(),
        "x_val": images[60:70].numpy(),
        "y_val": labels[60:70].numpy(),
        "x_test": images[70:].numpy(),
        "y_test": labels[70:].numpy(),
    }


@pytest.fixture(scope="module")
def copied(arrays):
    return load_data(arrays, name="copied")


@pytest.fixture(scope="module")
def made(copied):
    return analyse(copied)


@pytest.mark.parametrize("task", ["classification", "segmentation", "detection"])
def test_an_analysis_of_every_task_is_kept_and_read_back(task, every, tmp_path):
    data, scores = every[task]
    found = analyse(data, scores)
    path = found.save(tmp_path)
    back = Analysis.load(tmp_path)
    assert back == found
    assert back.text() == found.text()
    assert back.image_scores.keys() == found.image_scores.keys()
    for name, values in found.image_scores.items():
        assert torch.equal(back.image_scores[name], values)
    page = Checked(path.read_text())
    assert set(found.findings) <= set(page.ids)
    assert {f"#{name}" for name in found.findings} <= set(page.links)
    pictured = [each for each in found.findings.values() if each.pictures]
    glanced = len(pictured)  # one of each finding stands before any words
    assert page.pictures == glanced + sum(len(each.pictures) for each in pictured)
    assert path.read_text().index("<img") < path.read_text().index("What to do")
    assert Checked(back.page()).pictures == 0  # the images are not at hand
    assert json.loads((tmp_path / "analysis.json").read_text())["recommendation"]


def test_a_damaged_or_missing_analysis_is_refused(made, tmp_path):
    with pytest.raises(FileFormatError, match="holds no analysis: make one with pydistill analyse"):
        Analysis.load(tmp_path)
    made.save(tmp_path)
    path = tmp_path / "analysis.json"
    path.write_text(path.read_text().replace("copied", "copies", 1))
    with pytest.raises(FileFormatError, match="checksum"):
        Analysis.load(tmp_path)


def test_names_from_outside_are_shown_and_not_obeyed(arrays, tmp_path):
    names = ("<script>alert(1)</script>", "a\x1b[31mb", "c&d")
    data = load_data(arrays, name="<img src=http://x>", class_names=names)
    page = analyse(data).save(tmp_path).read_text()
    Checked(page)
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "<img src=http" not in page


def test_the_recommendation_names_method_budget_and_what_to_leave_out(made):
    told = " ".join(made.recommendation())
    assert "--drop duplicates" in told
    assert re.search(r"--method \w+ .*--ipc \d+", told)


def test_what_the_curve_says_of_budgets_comes_before_methods(made):
    curve = Finding("distillability", "Distillability", "So much.", recommendation="Take 7 a class.")
    told = replace(made, findings={"distillability": curve, **made.findings}).recommendation()
    first = told.index("Take 7 a class.")
    assert any("--method kernel_herding" in each for each in told[first:])


# ---- leaving images out ----------------------------------------------------------------------------------


def test_what_is_flagged_is_left_out_of_the_training_images_alone(arrays, copied, made):
    drop = made.drop("duplicates")
    assert drop.positions == (31, 52)
    assert isinstance(made, Droppable)
    assert isinstance(drop, Droppable)
    cleaned = load_data(arrays, name="copied", drop=made)
    kept = [at for at in range(60) if at not in (31, 52)]
    assert torch.equal(cleaned.train.images, copied.train.images[kept])
    assert torch.equal(cleaned.train.targets, copied.train.targets[kept])
    assert torch.equal(cleaned.validation.images, copied.validation.images)
    assert torch.equal(cleaned.test.images, copied.test.images)
    assert cleaned.fingerprint != copied.fingerprint
    assert cleaned.dropped == {
        "fingerprint": copied.fingerprint,
        "images": 2,
        "reasons": {"duplicates": 2},
    }
    assert "2 training images are left out as asked for (duplicates 2)" in cleaned.notes
    assert copied.dropped == {}
    expected = type(copied.preprocess).fit(cleaned.train.images)
    assert cleaned.preprocess == expected


def test_the_provenance_of_a_set_says_what_was_left_out(arrays, made, tmp_path):
    cleaned = load_data(arrays, name="copied", drop=made.drop("duplicates"))
    small = distill(cleaned, "random", ipc=2)
    assert small.provenance.dropped == cleaned.dropped
    small.save(tmp_path)
    assert DistilledData.load(tmp_path).provenance == small.provenance
    report = evaluate(
        small, cleaned, architectures=("mlp:width=4",), epochs=1, repeats=1, random_draws=1, whole=False
    )
    page = report.save(tmp_path).read_text()
    assert "training images left out before" in page
    assert "2 (duplicates 2)" in page


def test_drops_of_other_data_or_of_all_of_a_class_are_refused(arrays, copied, made):
    other = Drop("0" * 64, {"mine": (1,)})
    with pytest.raises(
        ValueError, match="drop is of data with fingerprint 0000000000000000, this data has"
    ):
        load_data(arrays, drop=other)
    with pytest.raises(ValueError, match="drop names training image 60, but there are 60"):
        load_data(arrays, name="copied", drop=Drop(copied.fingerprint, {"mine": (60,)}))
    members = copied.task.groups(copied.train.targets).members[1]
    emptied = Drop(copied.fingerprint, {"mine": tuple(members.tolist())})
    with pytest.raises(ValueError, match="drop leaves no training image of class '1'"):
        load_data(arrays, name="copied", drop=emptied)
    with pytest.raises(ValueError, match="no finding 'label_errors': it needs scores"):
        made.drop("label_errors")
    with pytest.raises(ValueError, match="duplicates flags nothing as 'leak'; it flags: exact copy"):
        made.drop("duplicates:leak")


def test_leaks_are_left_out_by_name_alone(made):
    flags = (
        Flag(3, 1.0, "exact copy"),
        Flag(5, 1.0, "leak", on_request=True),
        Flag(7, 1.0, "near", "validation"),
    )
    found = replace(made.findings["duplicates"], flagged=flags)
    changed = replace(made, findings={"duplicates": found})
    assert changed.drop().positions == (3,)
    assert changed.drop("duplicates").positions == (3,)
    assert changed.drop("duplicates", "duplicates:leak").reasons == {
        "duplicates": (3,),
        "duplicates:leak": (5,),
    }
    drop = changed.drop("duplicates:leak")
    assert Drop.from_json(json.loads(json.dumps(drop.to_json()))) == drop


def test_a_test_split_without_labels_is_left_out_and_told(arrays):
    """As hub sets have it: -1 throughout."""
    found = analyse(load_data({**arrays, "y_test": torch.full((20,), -1).numpy()}))
    assert "the test split of the source has no labels: it is left out" in found.findings["broken"].summary
    assert found.findings["duplicates"].values["test images that are in train"] == 0


def test_labels_that_are_missing_in_some_test_images_are_refused(arrays):
    labels = arrays["y_test"].copy()
    labels[:4] = -1
    with pytest.raises(DataError, match="-1"):
        load_data({**arrays, "y_test": labels})


# ---- charts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chart",
    [
        Chart("bars", "a", names=("x<y", "b"), values=(3.0, 0.0)),
        Chart("bars", "a", x=(0.1, 0.2, 0.3), values=(0.0, 2.0, 1.0)),
        Chart("line", "a", names=("p", "q"), x=(1.0, 10.0), rows=((1.0, 2.0), (0.0, -1.0)), log=True),
        Chart("points", "a", x=(1.0, 1.0), values=(0.0, 0.0)),
        Chart("heat", "a", names=("one", "two"), rows=((0.0, 1.0), (2.0, 0.5))),
    ],
)
def test_charts_are_drawn_as_svg(chart):
    shown = drawing(chart)
    Checked(shown)
    assert shown.count("<svg") == 1
    assert "nan" not in shown
    assert "x<y" not in shown


@pytest.mark.parametrize(
    "chart", [Chart("bars", "a"), Chart("line", "a"), Chart("points", "a"), Chart("heat", "a")]
)
def test_nothing_is_drawn_of_nothing(chart):
    assert drawing(chart) == ""
