"""The list of methods read from their sources is the list of the methods themselves."""

import dataclasses

import pytest

from pydistill.engine import catalogue
from pydistill.engine.method import methods

LITERAL = """
class Base(Method):
    family: ClassVar[Family] = "selection"
    summary: ClassVar[str] = "of the base"

class Other:
    summary: ClassVar[str] = "of the other"

@register
@dataclass(frozen=True)
class Mine(Base, Other):
    name: ClassVar[str] = "mine"
    citation: ClassVar[str] = "a " "b"

class NotRegistered(Base):
    name: ClassVar[str] = "base"
"""


@pytest.fixture
def family(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "engine" / "catalogue.py"))
    monkeypatch.setattr(catalogue, "FAMILIES", ("mine",))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def registered():
    return [
        catalogue.Summary(name, m.family, m.summary, m.citation, m.tasks) for name, m in methods().items()
    ]


def test_sources_say_what_the_methods_say(monkeypatch):
    monkeypatch.setattr(catalogue, "_imported", lambda: pytest.fail("a method's texts are no literals"))
    assert catalogue.summaries() == registered()


def test_texts_are_inherited_as_python_does(family):
    (family / "one.py").write_text(LITERAL)
    mine = catalogue.Summary("mine", "selection", "of the base", "a b")
    assert catalogue.summaries() == [mine]
    more = LITERAL.replace('"a " "b"', '"a b"\n    tasks: ClassVar[tuple[str, ...]] = ("x", "y")')
    (family / "one.py").write_text(more)
    assert catalogue.summaries() == [dataclasses.replace(mine, tasks=("x", "y"))]


@pytest.mark.parametrize(
    "spoilt",
    [
        LITERAL.replace('"mine"', "make_name()"),
        LITERAL.replace('"a " "b"', '"a b"\n    tasks: ClassVar[tuple[str, ...]] = DENSE'),
        LITERAL.replace('"a " "b"', 'f"{a}"'),
        LITERAL.replace("class Base(Method)", "class Elsewhere(Method)"),
        LITERAL.replace('"of the base"', "text()").replace('"of the other"', "text()"),
    ],
)
def test_what_is_no_literal_is_imported(family, spoilt):
    (family / "one.py").write_text(spoilt)
    assert catalogue.summaries() == registered()


def test_a_missing_family_or_source_is_imported(family):
    family.rmdir()
    assert catalogue.summaries() == registered()
