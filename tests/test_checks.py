"""One wording for arguments out of type, range and choice."""

import math

import pytest

from pydistill import checks


@pytest.mark.parametrize("value", [1, 7])
def test_integers_within_range_pass(value):
    checks.integer("steps", value, 1)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0, ValueError, "steps must be at least 1, got 0"),
        (2.0, TypeError, "steps must be an integer, got 2.0"),
        (True, TypeError, "steps must be an integer, got True"),
        (None, TypeError, "steps must be an integer, got None"),
    ],
)
def test_integers_out_of_type_or_range(value, error, words):
    with pytest.raises(error) as found:
        checks.integer("steps", value, 1)
    assert str(found.value) == words


@pytest.mark.parametrize(
    ("value", "bounds", "error", "words"),
    [
        (-1, {"low": 0}, ValueError, "rate must be at least 0, got -1"),
        (0.0, {"above": 0}, ValueError, "rate must be above 0, got 0.0"),
        (1.0, {"low": 0, "below": 1}, ValueError, "rate must be within [0, 1), got 1.0"),
        (math.nan, {"above": 0}, ValueError, "rate must be above 0, got nan"),
        (math.nan, {"low": 0}, ValueError, "rate must be at least 0, got nan"),
        (math.nan, {}, ValueError, "rate must be finite, got nan"),
        (math.inf, {"low": 0}, ValueError, "rate must be finite, got inf"),
        ("1", {}, TypeError, "rate must be a number, got '1'"),
        (False, {}, TypeError, "rate must be a number, got False"),
    ],
)
def test_numbers_out_of_type_or_range(value, bounds, error, words):
    with pytest.raises(error) as found:
        checks.number("rate", value, **bounds)
    assert str(found.value) == words


def test_numbers_within_range_pass():
    checks.number("rate", 0, low=0)
    checks.number("rate", 1e-9, above=0)
    checks.number("rate", 0.999, low=0, below=1)


def test_choices():
    checks.choice("kind", "a", ("a", "b"))
    with pytest.raises(ValueError, match=r"^kind must be one of a, b; got 'c'$"):
        checks.choice("kind", "c", ("a", "b"))
