"""What a terminal would obey is shown, not sent."""

import pytest

from pydistill.data import load_data
from pydistill.errors import DataError
from pydistill.shown import printable, printable_lines
from tests.conftest import blobs


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ünïcode 数字 ½", "plain Ünïcode 数字 ½"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\x9b2Jb\x07\x08\r\x7f", r"a\x9b2Jb\x07\x08\r\x7f"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("one\ntwo\ttab\0", r"one\ntwo\ttab\x00"),
        ("\udc80\u2028\ufeff\U000e0001", r"\udc80\u2028\ufeff\U000e0001"),
    ],
)
def test_what_is_not_printable_stands_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode()


def test_ends_of_lines_may_stay() -> None:
    assert printable_lines("one\x1b\ntwo\n") == "one\\x1b\ntwo\n"
    assert printable(3) == "3"


def test_a_summary_shows_names_escaped() -> None:
    data = load_data(blobs(), name="a\x1b[31m\nb", class_names=("\x1b[2J", "b", "c"))
    for line in data.summary().split("\n"):
        assert line.isprintable()
    assert r"a\x1b[31m\nb" in data.summary()


def test_errors_of_the_family_show_names_escaped() -> None:
    assert str(DataError("class '\x1b[2J' has no images\nadd some")) == (
        "class '\\x1b[2J' has no images\nadd some"
    )
