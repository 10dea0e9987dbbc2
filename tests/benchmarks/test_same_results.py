"""The proof that nothing changed asks every method, and says what differs."""

import dataclasses

import pytest

from benchmarks.methods.equal_table import kind, options
from benchmarks.probe import understood
from benchmarks.same_results import PARTS, job, rows, verdicts
from benchmarks.sides import checkout
from pydistill.engine.method import make_method, methods

SAME = {"set": "a", "resumed": "a", "networks": "b", "kernels": "c"}


def test_every_method_is_asked_and_each_factor_it_has():
    found = rows()
    assert len(found) == len(set(found))
    asked = {name: method for name, method in methods().items() if "classification" in method.tasks}
    assert {row.split()[0] for row in found} == set(asked)
    for name, method in asked.items():
        fields = {f.name for f in dataclasses.fields(method)}
        usual = make_method(name, "quick")
        if "factor" in fields:
            factors = {options(row).get("factor", usual.factor) for row in found if row.split()[0] == name}
            assert factors == {1, 2}
        if "learn_labels" in fields:
            assert any("learn_labels" in row for row in found if row.split()[0] == name)


def test_what_is_asked_fits_the_method():
    for row in rows():
        asked = job(row)
        small = understood(kind(row), asked["small"])
        method = make_method(asked["method"], asked["preset"], **small | asked["options"])
        assert small or row.split()[0] == "random"
        assert asked["resume"] == (method.steps > 0)
        assert method.steps <= 4


def test_verdicts():
    assert verdicts(SAME, SAME) == ["equal"] * len(PARTS)
    assert verdicts(SAME, SAME | {"networks": "x"}) == ["equal", "equal", "DIFFERS", "equal"]
    assert verdicts(SAME, SAME | {"resumed": "x"})[1] == "DIFFERS, NOT the set now"
    once = {key: value for key, value in SAME.items() if key != "resumed"}
    assert verdicts(once, once) == ["equal", "-", "equal", "equal"]
    assert verdicts(once, SAME)[1] == "only now"
    assert verdicts(SAME, {"failed": "no such option"}) == ["FAILS now: no such option", "-", "-", "-"]


def test_a_commit_that_is_not_there_is_refused():
    with (
        pytest.raises(ValueError, match="no worktree of 'no-such-commit'"),
        checkout("no-such-commit"),
    ):
        pass
