"""Only a task knows what a target is."""

import ast
import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import pytest

from pydistill.engine.method import make_method, methods
from pydistill.engine.run import distill
from pydistill.tasks import Classification
from tests.conftest import ROOT

WORDS = {"one_hot", "argmax", "softmax", "log_softmax", "cross_entropy", "nll_loss"}
"""What turns outputs into classes, classes into rows, or either into a loss."""

ELSEWHERE = {
    "data/sources": "readers turn what files say into class indices",
    "data/use.py": "losses that values refuse are named",
    "distribution/discrepancies/discrimination.py": "groups of features are told apart, not targets",
    "tasks": "here it belongs",
}

GREATEST = {
    "analysis/neighbours.py": "the farthest image",
    "selection": "the image of the greatest gain",
}
"""Where ``argmax`` is over images, not over classes."""


def test_no_module_but_a_task_turns_targets_into_classes():
    found = []
    for path in (ROOT / "pydistill").rglob("*.py"):
        name = str(path.relative_to(ROOT / "pydistill"))
        if any(name.startswith(each) for each in ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            word = getattr(called, "attr", getattr(called, "id", None))
            if word == "argmax" and any(name.startswith(each) for each in GREATEST):
                continue
            if word in WORDS and not _of_distances(node):
                found.append(f"{name}:{node.lineno} {word}")
    assert not found


def _of_distances(node):
    """Whether what is called belongs to an array of distances, not to targets or outputs."""
    return ast.unparse(node.func).startswith("distances[")


@dataclass(frozen=True)
class Another(Classification):
    name: ClassVar[str] = "another task"


@pytest.mark.parametrize("name", methods())
def test_a_task_that_a_method_does_not_serve_is_refused_before_it_starts(name, tiny):
    served = ", ".join(methods()[name].tasks)
    other = dataclasses.replace(tiny, task=Another(tiny.task.class_names))
    with pytest.raises(ValueError, match=f"{name} is for {served}.*'tiny' for another task"):
        distill(other, make_method(name, "quick" if make_method(name).steps else None), ipc=1)
