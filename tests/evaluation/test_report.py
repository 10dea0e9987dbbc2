import dataclasses
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from PIL import Image

from pydistill.errors import FileFormatError, OutputError
from pydistill.evaluation import Protocol, Report, evaluate
from pydistill.evaluation.facts import Run, SetFacts


def make(values, **changes) -> Report:
    """A report of given values: lists of draws by source."""
    runs = tuple(
        Run("convnet", source, draw, seed, value, 0.1, 1.5, "loop")
        for source, draws in values.items()
        for draw, each in enumerate(draws)
        for seed, value in enumerate(each)
    )
    sets = {
        "distilled": SetFacts(10, 2640, 0.02),
        "random": SetFacts(10, 2640, 0.01),
        "whole": SetFacts(1437, 400_000, 0.01),
    }
    made = {"method": "dm", "ipc": 1, "seed": 0, "data": "digits", "fingerprint": "ab" * 32, "steps": 30}
    made |= {"seconds": 12.5, "config": {"batch_real": 64}, "versions": {"torch": "2"}, "preset": None}
    parts = {
        "data": "digits",
        "task": "classification",
        "metric": "accuracy",
        "runs": runs,
        "sets": {"classes": {source: sets[source] for source in values}},
        "steps": 300,
        "augment": "none",
        "protocol": Protocol(architectures=("convnet",)).record(),
        "provenance": made,
        "machine": {"processor": "some", "threads": 2},
        "seconds": 61.2,
        "peak_memory": 512 * 2**20,
        "notes": ("One.", "Two."),
    }
    return Report(**{**parts, **changes})


FULL = {
    "distilled": [[0.82, 0.82, 0.82]],
    "random": [[0.7], [0.7], [0.7]],
    "whole": [[0.9, 0.92, 0.94]],
}


def test_summaries_differences_and_share_kept():
    report = make(FULL)
    whole = report.summary("convnet", "whole")
    assert (whole.mean, whole.std, whole.n) == (pytest.approx(0.92), pytest.approx(0.02), 3)
    gain = report.gain("convnet")
    assert gain.resolved
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.12, 0.12, 0.12))
    assert report.shortfall("convnet").mean == pytest.approx(-0.1)
    assert report.kept("convnet") == pytest.approx(0.82 / 0.92)


def test_words_say_what_is_resolved_and_what_is_not():
    report = make(FULL)
    assert report.headline() == (
        "10 distilled images: 82.0 % ± 0.0 (n = 3); random real images, as many: 70.0 % ± 0.0 (n = 3); "
        "all 1,437 images: 92.0 % ± 2.0 (n = 3)."
    )
    assert report.verdict("convnet").startswith("12.0 points above random (95 % interval +12.0 to +12.0)")
    assert report.verdict("convnet").endswith("89.1 % of what the whole data gives at equal steps")
    few = make({"distilled": [[0.82]], "random": [[0.7], [0.7], [0.7]]})
    assert "82.0 % (n = 1)" in few.headline()
    assert few.verdict("convnet").startswith(
        "against random +12.0 points, too few networks to tell (n = 1) (95 %"
    )
    worse = make({"distilled": [[0.6, 0.6, 0.6]], "random": [[0.7], [0.7], [0.7]]})
    assert worse.verdict("convnet").startswith("10.0 points below random")


def test_text_has_a_line_a_set():
    lines = make(FULL).text().splitlines()
    table = [line.split() for line in lines if line.startswith("convnet  ")]
    assert table == [
        ["convnet", "distilled", "10", "82.0", "%", "0.0", "3"],
        ["convnet", "random", "10", "70.0", "%", "0.0", "3"],
        ["convnet", "whole", "1,437", "92.0", "%", "2.0", "3"],
    ]
    assert lines[-1] == "300 steps a network, 9 networks, scored on test; 61 s, peak memory 512 MiB"


def packed_report(**changes) -> Report:
    sets = {
        "distilled": SetFacts(80, 5280, 0.01, factor=2),
        "random": SetFacts(80, 5280, 0.01, factor=2),
        "whole": SetFacts(1437, 400_000, 0.01),
    }
    made = make(FULL).provenance | {"ipc": 2, "config": {"factor": 2}}
    return make(FULL, sets={"classes": sets}, provenance=made, **changes)


def test_packed_sets_say_stored_images_and_views():
    report = packed_report()
    assert report.headline().startswith(
        "20 distilled images of 4 views each: 82.0 % ± 0.0 (n = 3); "
        "random real images, as many and packed alike: 70.0 %"
    )
    lines = report.text().splitlines()
    table = [line.split() for line in lines if line.startswith("convnet  ")]
    assert table == [
        ["convnet", "distilled", "20", "80", "82.0", "%", "0.0", "3"],
        ["convnet", "random", "20", "80", "70.0", "%", "0.0", "3"],
        ["convnet", "whole", "1,437", "1,437", "92.0", "%", "2.0", "3"],
    ]
    assert lines[-2] == (
        "factor 2: 2 stored images a class, trained on as 8 views; random selection is packed the same way"
    )
    alone = make({"distilled": [[0.5]]}, sets={"classes": {"distilled": SetFacts(40, 1, 0.1, factor=2)}})
    assert alone.text().splitlines()[-2] == "factor 2: 1 stored images a class, trained on as 4 views"


def test_json_of_packed_sets_says_the_factor_and_comes_back_equal():
    record = json.loads(json.dumps(packed_report().to_json()))
    assert record["formation"] == {"factor": 2, "stored_images_a_class": 2, "views_a_class": 8}
    assert [record["sets"]["classes"][source]["factor"] for source in ("distilled", "random", "whole")] == [
        2,
        2,
        1,
    ]
    assert Report.from_json(record) == packed_report()
    del (
        record["formation"],
        record["sets"]["classes"]["whole"]["factor"],
    )  # as written before there were factors
    assert Report.from_json(record) == packed_report()
    plain = make(FULL).to_json()["formation"]
    assert plain == {"factor": 1, "stored_images_a_class": 1, "views_a_class": 1}


def test_page_of_packed_sets_says_the_factor(tmp_path):
    picture = {"distilled": b"", "random": b""}
    page = read(packed_report(pictures=picture).save(tmp_path))
    assert page.text.count("as 80 views") == 2
    assert "The distilled set; a row a class, 2 x 2 views in each image" in page.text
    for name, value in (("factor", 2), ("stored images a class", 2), ("views a class", 8)):
        assert page.text.count(f"{name}{value}") == 1
    plain = read(make(FULL, pictures=picture).save(tmp_path)).text
    assert "views in each image" not in plain
    assert not re.search(r"as [\d,]+ views", plain)


@pytest.mark.parametrize(("own", "least"), [(750, 540), (150, 150)])
def test_pictures_come_first_and_large_and_scroll_where_the_screen_is_narrow(own, least, tmp_path):
    file = io.BytesIO()
    Image.new("L", (own, 60)).save(file, format="PNG")
    page = read(make(FULL, pictures={"distilled": file.getvalue()}).save(tmp_path))
    (picture,) = (found for tag, found in page.tags if tag == "img")
    assert picture["style"] == f"width: min(100%, {own * 4 // 3}px); min-width: {least}px"
    tags = [tag for tag, _ in page.tags]
    assert tags.index("img") < tags.index("table")


def test_json_keeps_every_run_and_comes_back_equal():
    report = make(FULL)
    text = json.dumps(report.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == report
    record = json.loads(text)
    assert len(record["runs"]) == 9
    (summary,) = record["summaries"]
    assert summary["sources"]["whole"]["n"] == 3
    assert summary["distilled_less_random"]["resolved"] is True


def test_json_has_no_nan():
    record = make({"distilled": [[0.5]]}).to_json()
    assert record["summaries"][0]["sources"]["distilled"]["std"] is None
    assert math.isnan(make({"distilled": [[0.5]]}).summary("convnet", "distilled").std)
    json.dumps(record, allow_nan=False)


def test_unknown_runs_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no runs of mlp on random; there are: convnet on distilled"):
        make(FULL).values("mlp", "random")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.update(format=99), "format 99, this version reads 1 and 2"),
        (lambda record: record.pop("runs"), "not a report of format 2: KeyError"),
        (lambda record: record["runs"][0].pop("value"), "not a report of format 2: TypeError"),
        (lambda record: record.update(sets=[]), "not a report of format 2: TypeError"),
    ],
)
def test_altered_records_are_refused(change, words):
    record = make(FULL).to_json()
    change(record)
    with pytest.raises(FileFormatError, match=words):
        Report.from_json(record)


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match="cannot be read as a report"):
        Report.load(tmp_path)
    (tmp_path / "report.json").write_text('{"format": 1, "ru')
    with pytest.raises(FileFormatError, match="cannot be read as a report"):
        Report.load(tmp_path)
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(FileFormatError, match="expected an object, found list"):
        Report.load(tmp_path)


def test_saved_report_comes_back_equal_and_replaces_the_old(tmp_path):
    make({"distilled": [[0.5]]}).save(tmp_path / "run")
    page = make(FULL).save(tmp_path / "run")
    assert page == tmp_path / "run" / "report.html"
    assert Report.load(tmp_path / "run") == make(FULL)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.json"]


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        make(FULL).save(tmp_path / "file" / "run")


class Page(HTMLParser):
    """Collects what a browser would make of the page; complains of tags that do not match."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(path) -> Page:
    found = Page()
    found.feed(path.read_text())
    found.close()
    assert found.open == []
    return found


def test_page_is_one_file_with_everything_in_it(distilled, tiny, short, tmp_path):
    report = evaluate(
        distilled, tiny, dataclasses.replace(short, architectures=("mlp:width=8", "mlp:width=4"))
    )
    page = read(report.save(tmp_path))
    assert report.headline() in page.text
    assert all(note in page.text for note in report.notes)
    assert report.provenance["fingerprint"][:16] in page.text
    links = [value for _, found in page.tags for name, value in found.items() if name in ("src", "href")]
    assert len(links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not any(tag in ("script", "link", "iframe") for tag, _ in page.tags)
    assert "url(" not in page.text
    assert "@import" not in page.text
    assert sum(tag == "circle" for tag, _ in page.tags) == len(report.runs)


def test_dots_stand_where_their_values_are(tmp_path):
    source = make(FULL).save(tmp_path).read_text()
    drawing = ET.fromstring(source[source.index("<svg") : source.index("</svg>") + 6])
    dots = [
        (float(each.find("title").text.rstrip(" %")), float(each.get("cx")))
        for each in drawing.iter("circle")
    ]
    ticks = [
        (float(each.text), float(each.get("x")))
        for each in drawing.iter("text")
        if each.get("class") == "tick" and each.text.replace(".", "").isdigit()
    ]
    (low, left), (high, right) = ticks[0], ticks[-1]
    assert low <= min(value for value, _ in dots) < max(value for value, _ in dots) <= high
    for value, x in dots:
        assert x == pytest.approx(left + (right - left) * (value - low) / (high - low), abs=0.2)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_equal_values_still_have_an_axis(tmp_path, value):
    page = read(make({"distilled": [[value, value]]}).save(tmp_path))
    assert sum(tag == "circle" for tag, _ in page.tags) == 2


def test_names_cannot_become_markup(tmp_path):
    nasty = '<script>alert("1")</script>'
    report = make(FULL, data=nasty, notes=(nasty,), machine={nasty: nasty})
    page = read(report.save(tmp_path))
    assert not any(tag == "script" for tag, _ in page.tags)
    assert page.text.count(nasty) >= 4


def test_pictures_are_png_and_stay_out_of_json(distilled, tiny, short):
    report = evaluate(distilled, tiny, dataclasses.replace(short, whole=False))
    assert set(report.pictures) == {"distilled", "random"}
    assert all(content.startswith(b"\x89PNG") for content in report.pictures.values())
    assert "pictures" not in report.to_json()
