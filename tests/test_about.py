"""What ``pydistill info`` tells of an installation, with and without the extension."""

import pytest

from pydistill import about, ops
from pydistill.cli import main
from pydistill.ops import _library


def test_an_absent_extension_is_told_with_what_building_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(_library, "_STATUS", ops.Status(False, "the extension is not built: a test"))
    monkeypatch.setattr("pydistill.toolchain.missing_for_cpu", lambda: ["pybind11"])
    told = about.installation()
    assert told["extension"]["reason"] == "the extension is not built: a test"
    assert told["to build it"]["missing"] == ["pybind11"]
    assert main(["info"]) == 0
    said = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    assert said["to build it missing"].strip() == "pybind11"


@pytest.mark.compiled
def test_a_loaded_extension_is_told_with_its_build():
    told = about.installation()
    assert told["extension"]["build"]["cpu_level"]
    assert "to build it" not in told
