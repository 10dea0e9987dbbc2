"""Whatever a report's texts hold, neither the page nor the terminal obeys it."""

import dataclasses
import json
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest

from pydistill.errors import FileFormatError
from pydistill.evaluation import Report
from pydistill.evaluation.page import page
from tests.evaluation.test_report import FULL, make

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\x1b[31m\u202e"
KEPT = {"source", "regime", "optimiser", "schedule", "precision", "split", "architectures"}
"""Names of fields whose text decides what a page shows; they are words of a fixed list."""


def hostile(tree: Any, name: str = "") -> Any:
    """``tree`` with every free text, keys of free mappings included, replaced by a hostile one."""
    if isinstance(tree, str):
        return tree if name in KEPT else HOSTILE
    if isinstance(tree, Mapping):
        more = {HOSTILE: HOSTILE} if name in ("machine", "config", "versions") else {}
        return {key: hostile(value, key) for key, value in tree.items()} | more
    if isinstance(tree, list):
        return tree if name in KEPT else [hostile(value, name) for value in tree]
    return tree


def hostile_report() -> Report:
    record = json.loads(json.dumps(make(FULL).to_json()))
    return Report.from_json(hostile(record))


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    parser.close()
    return parser.found


def test_no_text_of_a_report_becomes_markup_in_its_page() -> None:
    found = tags(page(hostile_report()))
    assert not {tag for tag, _ in found} & {"script", "iframe", "object", "embed", "link", "base", "form"}
    names = {name for _, attributes in found for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    values = [str(value) for _, each in found for name, value in each.items() if name in ("src", "href")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in values)


def test_the_tags_of_a_page_do_not_depend_on_its_texts() -> None:
    plain, nasty = ({tag for tag, _ in tags(page(each))} for each in (make(FULL), hostile_report()))
    assert nasty == plain


def test_text_for_the_terminal_holds_no_control_character() -> None:
    for line in hostile_report().text().split("\n"):
        assert line.isprintable() or not line


@pytest.mark.parametrize("name", ["source", "draw", "seed", "value", "loss", "seconds", "architecture"])
def test_a_run_of_another_type_never_becomes_a_report(name: str) -> None:
    record = json.loads(json.dumps(make(FULL).to_json()))
    record["runs"][3][name] = [HOSTILE] if name == "architecture" else HOSTILE
    with pytest.raises(FileFormatError, match=name):
        Report.from_json(record)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Report) if f.name != "pictures"])
def test_a_field_of_another_type_never_becomes_a_report(name: str) -> None:
    record = json.loads(json.dumps(make(FULL).to_json()))
    record[name] = 3 if isinstance(record.get(name), str) else HOSTILE
    with pytest.raises(FileFormatError, match=name):
        Report.from_json(record)
