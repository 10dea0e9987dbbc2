"""No module imports one of a layer above its own, and no modules import each other in a circle."""

import ast
from graphlib import TopologicalSorter

from tests.conftest import ROOT

LAYERS = (
    ("errors", "shown"),
    ("_version", "checks", "distributed", "events", "extras", "limits", "modes", "options"),
    ("budget", "seeds", "threads"),
    ("toolchain",),
    ("machine", "ops", "optim", "storage"),
    ("augment", "nets", "tasks"),
    ("data",),
    ("kernels", "training", "about"),
    ("scores",),
    ("engine", "experts"),
    ("selection",),
    ("distribution", "parameter", "performance"),
    ("html",),
    ("evaluation",),
    ("analysis",),
    ("cli",),
    ("__init__", "__main__"),
)
"""What may import what: its own layer, and those listed before it. ``pydistill`` itself gathers all."""

PACKAGE = ROOT / "pydistill"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(name):
    """Modules of the library that a module imports anywhere but for types, and from the whole package."""
    tree = ast.parse(FILES[name].read_text())
    typed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pydistill":
            inner = (f"{node.module}.{each.name}" for each in node.names)
            found |= {each if each in FILES else node.module for each in inner}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names if each.name.partition(".")[0] == "pydistill"}
    return found - {name, "pydistill"}


def part(name):
    """The folder, or the file beside them, that a module belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


def test_every_module_has_a_layer():
    assert {part(name) for name in FILES} == set(LEVEL)


def test_nothing_imports_upwards():
    upwards = [
        f"{name} imports {other}"
        for name in FILES
        for other in sorted(imports(name))
        if LEVEL[part(other)] > LEVEL[part(name)]
    ]
    assert not upwards


def test_no_circle():
    list(TopologicalSorter({name: imports(name) for name in FILES}).static_order())
