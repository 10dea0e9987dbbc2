"""What is imported when: torch only once it is needed, and public names whatever was imported before."""

import ast
import os
import subprocess
import sys
import types

import pytest

import pydistill
from tests.conftest import ROOT

HEAVY = {"torch", "numpy", "PIL", "sklearn", "scipy", "pandas", "pyarrow", "datasets", "safetensors"}
FUNCTIONS = ("distill", "evaluate", "relabel")


def run(code):
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=here)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import pydistill",
        "import pydistill; dir(pydistill); pydistill.__version__; pydistill.DataError",
        "from pydistill.cli import main; main(['--help'])",
        "from pydistill.cli import main; main([])",
        "from pydistill.cli import main; main(['--version'])",
        "from pydistill.cli import main; assert main(['methods']) == 0",
    ],
)
def test_quick_things_import_nothing_heavy(code):
    said = run(
        f"import contextlib, sys\nwith contextlib.suppress(SystemExit):\n    {code}\n"
        f"print('HEAVY', *sorted({HEAVY} & set(sys.modules)))"
    )
    assert said.splitlines()[-1] == "HEAVY"


def test_every_public_name_is_what_its_module_calls_it():
    listed = {name for names in pydistill._HOMES.values() for name in names}
    tree = ast.parse((ROOT / "pydistill" / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    for_types = {
        line.module.removeprefix("pydistill."): {each.name for each in line.names} for line in typed.body
    }
    assert for_types == {home: set(names) for home, names in pydistill._HOMES.items()}
    assert listed < set(pydistill.__all__) <= set(dir(pydistill))
    for name in pydistill.__all__:
        assert getattr(pydistill, name) is not None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_module_has_a_functions_name(name):
    """Importing a module sets it as an attribute of its package: it would stand in the function's place."""
    assert isinstance(getattr(pydistill, name), types.FunctionType)
    assert not list((ROOT / "pydistill").glob(f"{name}/*.py"))
    assert not (ROOT / "pydistill" / f"{name}.py").exists()


def test_modules_are_imported_by_their_path():
    run("import pydistill.evaluation.run; assert callable(pydistill.evaluation.run.evaluate)")


def test_submodules_are_there_without_an_import_of_their_own():
    run("import pydistill; pydistill.nets.save_network, pydistill.ops.status, pydistill.tasks")


@pytest.mark.compiled
def test_the_extension_is_there_without_an_import_of_its_own():
    run("import pydistill; pydistill._C.build_info()")


def test_an_unknown_name_is_an_attribute_error_with_the_near_one():
    with pytest.raises(AttributeError, match=r"no attribute 'load_date' \(did you mean 'load_data'\?\)"):
        pydistill.load_date  # noqa: B018
    assert not hasattr(pydistill, "nothing_like_it")
    assert not hasattr(pydistill, "__nothing_like_it__")


def test_an_import_that_fails_inside_a_submodule_is_not_hidden(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("import no_such_package_anywhere")
    monkeypatch.setattr(pydistill, "__path__", [str(tmp_path), *pydistill.__path__])
    with pytest.raises(ModuleNotFoundError, match="no_such_package_anywhere"):
        pydistill.broken  # noqa: B018
