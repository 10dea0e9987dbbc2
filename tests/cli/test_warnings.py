"""The package's own warnings on the command line: one line, once."""

import warnings

import numpy as np
import pytest

from pydistill import ops
from pydistill.cli import main
from pydistill.errors import ExtensionWarning
from pydistill.ops import _library
from tests.conftest import blobs


@pytest.fixture
def without_kernels(monkeypatch):
    status = ops.Status(False, "the extension is not built: a test (plain torch is used)")
    monkeypatch.setattr(_library, "_STATUS", status)
    monkeypatch.setattr(_library, "_warned", set())
    with warnings.catch_warnings():
        warnings.simplefilter("default", ExtensionWarning)
        yield


def test_a_run_without_kernels_says_so_in_one_line(without_kernels, tmp_path, capsys):
    np.savez(tmp_path / "tiny.npz", **blobs())
    command = [
        "distill",
        str(tmp_path / "tiny.npz"),
        "--method",
        "dm",
        "--network",
        "convnet:width=4,depth=2",
    ]
    short = ["--iterations", "2", "--batch-real", "4", "--ipc", "1", "--out", str(tmp_path / "out")]
    assert main([*command, *short]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "not built" in line]
    assert said == ["pydistill: the extension is not built: a test (plain torch is used)"]


def test_warnings_of_others_are_shown_as_ever(monkeypatch, recwarn):
    def warn(options, screen):
        warnings.warn("of another package", UserWarning, stacklevel=1)
        return {}

    monkeypatch.setattr("pydistill.cli.info._info", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        assert main(["info", "--json"]) == 0
    assert [str(each.message) for each in recwarn.list] == ["of another package"]
