import ast

import pytest

from benchmarks import code

DM = "pydistill.distribution.single_layer"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """``edited(module, old, new)``: the digest with a change in one module of the library."""

    def change(module: str, old: str, new: str, of: str = DM) -> str:
        real, path = code.source(module), tmp_path / "changed.py"
        text = real.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        known = code.source
        monkeypatch.setattr(code, "source", lambda name: path if name == module else known(name))
        try:
            return code.digest([of])
        finally:
            monkeypatch.setattr(code, "source", known)

    return change


def test_digest_follows_what_a_module_imports(edited):
    now = code.digest([DM])
    assert now == code.digest([DM])
    assert len(now) == 16
    assert edited("pydistill.optim.optimisers", "def ", "def _") != now
    assert edited("pydistill.ops.gram", "def ", "def _") != now
    assert edited("pydistill.selection.random", "def ", "def _") == now, "dm does not use it"


def test_comments_docstrings_and_layout_are_not_code(edited):
    now = code.digest([DM])
    assert edited("pydistill.optim.optimisers", '"""Optimisers', '"""More on optimisers') == now
    assert edited("pydistill.optim.optimisers", "\ndef ", "\n# why\n\n\ndef ") == now


def test_what_an_error_says_is_not_code_but_when_it_is_raised_is(edited):
    now = code.digest([DM])
    assert edited("pydistill.selection.prototypes", "import warnings", "import warnings, math") != now
    told = "pydistill.data.formation"
    assert edited(told, "raise ValueError(", "raise ValueError('so', ") == now
    assert (
        edited(told, "        raise ValueError(", "        pass\n    if True:\n        raise ValueError(")
        != now
    )


@pytest.mark.parametrize(
    ("name", "of"),
    [("pydistill.storage.files", DM), ("pydistill.data.sources.base", "pydistill.data.load")],
)
def test_modules_that_bear_on_no_figure_are_not_looked_into(name, of, edited):
    assert edited(name, "def ", "def _", of) == code.digest([of])


def test_a_name_gathered_by_the_operators_is_looked_up_in_its_own_module():
    found = set(code.imported(ast.parse("from pydistill.ops import gram, status\nimport numpy")))
    assert found == {"pydistill.ops.gram"}
    found = set(code.imported(ast.parse("from pydistill import nets\nfrom pydistill.nets import build")))
    assert found == {"pydistill.nets", "pydistill.nets.build"}
