"""Which code a figure rests on: a digest of the sources that a module reaches by its imports.

A figure that took hours is kept as long as this digest is the same. It does not change with comments,
docstrings, layout or the words of errors, nor with methods, operators and outputs that the figure has no
part in.
"""

import ast
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from benchmarks.measure import ROOT

LIBRARY, KERNELS = ROOT / "pydistill", ROOT / "csrc"
UNRELATED = {
    "pydistill._version",
    "pydistill.about",
    "pydistill.storage.checkpoint",
    "pydistill.data.equality",
    "pydistill.data.export",
    "pydistill.data.folder_export",
    "pydistill.data.parts",
    "pydistill.data.short",
    "pydistill.data.told",
    "pydistill.errors",
    "pydistill.evaluation.machine",
    "pydistill.evaluation.page",
    "pydistill.evaluation.report",
    "pydistill.events",
    "pydistill.storage.files",
    "pydistill.engine.method",  # the registry: it grows with every family
    "pydistill.data.pictures",
}
"""Modules that bear on no figure, and are not looked into."""
READERS = "pydistill.data.sources"
"""The package whose work is in the data's fingerprint, which stands beside a digest."""
COLLECTIONS = {"pydistill", "pydistill.ops"}
"""Packages that only gather what their modules hold: a name imported from one is looked up there."""


def digest(modules: Iterable[str]) -> str:
    """16 hex digits for what the modules, and all that they import of the library, do."""
    found, left = {}, list(modules)
    while left:
        name = left.pop()
        if name not in found and name not in UNRELATED and not name.startswith(READERS):
            tree = ast.parse(source(name).read_text())
            found[name] = tree
            left.extend(imported(tree))
    made = hashlib.sha256()
    for name in sorted(found):
        made.update(name.encode() + ast.dump(without_words(found[name])).encode())
    operators = {path.stem for path in (LIBRARY / "ops").glob("*.py")}
    used = {name.rpartition(".")[2] for name in found if name.startswith("pydistill.ops.")}
    for path in (
        path for kind in ("common/*.h", "cpu/*.h", "cpu/*.cpp") for path in sorted(KERNELS.glob(kind))
    ):
        owner = max((name for name in operators if path.stem.startswith(name)), key=len, default=None)
        if owner is None or owner in used:
            code = re.sub(r"//.*", "", path.read_text())
            made.update(path.name.encode() + "".join(code.split()).encode())
    return made.hexdigest()[:16]


def source(name: str) -> Path:
    """The file of a module or package of the library."""
    path = ROOT / Path(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(tree: ast.Module) -> Iterable[str]:
    """Modules of the library that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("pydistill"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pydistill"):
            package = str(node.module)
            inner = [f"{package}.{each.name}" for each in node.names]
            modules = [name for name in inner if source(name).exists()]
            yield from modules
            if len(modules) < len(inner) and package not in COLLECTIONS:
                yield package


def without_words(tree: ast.Module) -> ast.Module:
    """The tree less docstrings, other bare texts, and what errors say: no figure comes of an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            node.exc = node.cause = None
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            bare = [
                line
                for line in node.body
                if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
            ]
            node.body = [line for line in node.body if line not in bare]
    return tree
