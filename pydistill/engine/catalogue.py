"""What there is to list of each method, read from the source of its family without importing torch.

A method's name, family, citation and summary are literals in its class or in a base class of its family's
folder (:mod:`pydistill.engine.method`). Reading them takes hundredths of a second, importing the methods
takes seconds. Whatever is not written as a literal is had by importing the methods after all.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydistill.engine.families import FAMILIES, USUAL_TASKS


@dataclass(frozen=True)
class Summary:
    """A method as a list shows it.

    Attributes:
        name: What it is called on the command line.
        family: One of the field's families.
        summary: One line on what it does.
        citation: Authors, title, venue, arXiv number.
        tasks: Names of the tasks that it serves.
    """

    name: str
    family: str
    summary: str
    citation: str
    tasks: tuple[str, ...] = USUAL_TASKS


_FIELDS = ("name", "family", "summary", "citation")


def summaries() -> list[Summary]:
    """Every method by name."""
    found = []
    for family in FAMILIES:
        classes = _classes(Path(__file__).parents[1] / family)
        if not classes:  # installed without sources
            return _imported()
        for each in classes.values():
            if any(isinstance(mark, ast.Name) and mark.id == "register" for mark in each.decorator_list):
                found_here = _literals(each, classes)
                tasks = tuple(found_here.pop("tasks", USUAL_TASKS))
                if set(found_here) != set(_FIELDS) or not tasks:
                    return _imported()
                found.append(
                    Summary(**{name: str(value) for name, value in found_here.items()}, tasks=tasks)
                )
    return sorted(found, key=lambda each: each.name)


def _classes(folder: Path) -> dict[str, ast.ClassDef]:
    """Every class defined in a family's modules, by name."""
    trees = (ast.parse(file.read_bytes()) for file in sorted(folder.glob("*.py")))
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _literals(of: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    """Literal class attributes by name, the class's own first, then the first base's."""
    found: dict[str, Any] = {}
    for base in reversed(of.bases):
        if isinstance(base, ast.Name) and base.id in classes:
            found |= _literals(classes[base.id], classes)
    for line in of.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            name = line.target.id
            if name in (*_FIELDS, "tasks") and line.value is not None:
                try:
                    found[name] = ast.literal_eval(line.value)
                except ValueError:
                    found.pop(name, None)
                    found |= {"tasks": ()} if name == "tasks" else {}
    return found


def _imported() -> list[Summary]:
    from pydistill.engine.method import methods

    return [
        Summary(name, kind.family, kind.summary, kind.citation, kind.tasks)
        for name, kind in methods().items()
    ]
