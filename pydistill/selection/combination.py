"""Criteria combined, as a text: ``representativeness+0.5*diversity-0.2*difficulty(score=aum)``.

Terms with signs and weights, options in parentheses.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydistill.selection.criteria  # noqa: F401 (registers them)
from pydistill import checks
from pydistill.errors import did_you_mean
from pydistill.options import parse_options
from pydistill.selection.criterion import Criterion, criteria

USUAL: Mapping[bool, str] = {
    False: "representativeness+diversity+balance",
    True: "representativeness+diversity+balance+difficulty",
}
"""What selections are compared under, without and with scores."""


@dataclass(frozen=True)
class Criteria:
    """A weighted sum of criteria.

    Attributes:
        terms: Weights, of either sign, and criteria.

    Raises:
        ValueError: There is none, one stands twice, or a weight is 0 or not finite.
    """

    terms: tuple[tuple[float, Criterion], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError(f"expected at least one criterion; known: {', '.join(criteria())}")
        seen = set()
        for weight, each in self.terms:
            checks.number(f"the weight of {each}", weight)
            if not weight:
                raise ValueError(f"the weight of {each} is 0: leave it out")
            if each in seen:
                raise ValueError(f"{each} stands twice: add up its weights")
            seen.add(each)

    @property
    def scored(self) -> bool:
        """Whether one looks at scores."""
        return any(each.scored for _, each in self.terms)

    def __str__(self) -> str:
        """The text that :func:`parse_criteria` turns into this."""
        parts = []
        for weight, each in self.terms:
            size = "" if abs(weight) == 1 else f"{_number(abs(weight))}*"
            parts.append(f"{'-' if weight < 0 else '+'}{size}{each}")
        return "".join(parts).removeprefix("+")


_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*])"
    r"|\((?P<options>[^()]*)\))"
)


def parse_criteria(text: str) -> Criteria:
    """From terms such as ``representativeness+0.5*diversity-0.2*difficulty(score=aum)``.

    A term is a criterion's name, a weight and ``*`` before it where it is not 1, options in parentheses
    behind it; values may hold anything but commas and parentheses.

    Raises:
        ValueError: It is not that, and where it stops being it is said; a name or an option is unknown, or
            a value no such value.
    """
    found: list[tuple[float, Criterion]] = []
    reader = _Reader(text)
    sign = reader.take("sign", "+-") or "+"
    while True:
        weight = 1.0
        number = reader.take("number")
        if number is not None:
            weight = float(number)
            if reader.take("sign", "*") is None:
                raise reader.expected("* behind a weight")
        begun = reader.at
        name = reader.take("name")
        if name is None:
            raise reader.expected("a criterion" if number is not None else "a weight or a criterion")
        if name not in criteria():
            near = did_you_mean(name, criteria(), 0.5)
            where = begun + text[begun:].index(name) + 1
            raise ValueError(
                f"criteria {text!r}: unknown criterion {name!r}{near} at character {where}; "
                f"known: {', '.join(criteria())}"
            )
        made = _made(name, reader.take("options") or "")
        found.append((-weight if sign == "-" else weight, made))
        if reader.ended:
            return Criteria(tuple(found))
        sign = reader.take("sign", "+-") or ""
        if not sign:
            raise reader.expected("+ or - before the next criterion")


class _Reader:
    """A text, token by token."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @property
    def ended(self) -> bool:
        return not self.text[self.at :].strip()

    def take(self, kind: str, among: str | None = None) -> str | None:
        """The next token if it is of a kind, and one of some characters; it is read then."""
        match = _TOKEN.match(self.text, self.at)
        if match is None or match.lastgroup != kind or (among is not None and match[kind] not in among):
            return None
        self.at = match.end()
        return match[kind]

    def expected(self, what: str) -> ValueError:
        """That something else stands here."""
        rest = self.text[self.at :].lstrip()
        where = len(self.text) - len(rest) + 1
        found = f"{rest[:12]!r}" if rest else "the end"
        return ValueError(f"criteria {self.text!r}: expected {what} at character {where}, found {found}")


def _made(name: str, options: str) -> Criterion:
    kind = criteria()[name]
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    given: dict[str, Any] = {}
    for option, value in parse_options(name, options, defaults).items():
        of: Any = type(defaults[option])
        try:
            given[option] = of(value)
        except ValueError:
            raise ValueError(f"{name}: {option} must be {of.__name__}, got {value!r}") from None
    return kind(**given)


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
