"""From a source archive into a clean environment, as a user without this checkout gets it."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

TRY = """
import json, torch, pydistill
from pydistill import ops
x, w, b = torch.randn(2, 3, 6, 6), torch.ones(3), torch.zeros(3)
with ops.reference_only():
    wanted = ops.norm_relu_pool(x, w, b)
error = float((ops.norm_relu_pool(x, w, b) - wanted).abs().max())
print(json.dumps([pydistill.__file__, ops.status().loaded, ops.status().reason, error]))
"""


def run(command, where, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYDISTILL_")}
    environment = {**kept, "PYTHONNOUSERSITE": "1", **variables}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The source archive, made without a network."""
    out = tmp_path_factory.mktemp("dist")
    done = run([sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(out)], ROOT)
    assert done.returncode == 0, done.stderr
    (made,) = out.glob("*.tar.gz")
    return made


@pytest.fixture
def clean(tmp_path):
    """A new environment that sees this one's packages (torch among them) but not its pydistill.

    A path listed in a ``.pth`` file is searched without the ``.pth`` files that lie there, so that an
    editable install stays unseen.
    """
    venv.create(tmp_path / "venv", with_pip=False)
    home = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (home / "site-packages" / "around.pth").write_text(sysconfig.get_path("purelib"))
    return tmp_path / "venv" / "bin" / "python"


def install(python, archive, **variables):
    pip = [python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", str(archive)]
    return run([*pip, "--ignore-installed"], python.parent, **variables)


@pytest.mark.parametrize(("build", "loaded"), [("cpu", True), ("none", False)])
def test_archive_installs_and_the_operator_runs(archive, clean, build, loaded):
    done = install(clean, archive, PYDISTILL_BUILD=build)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run([clean, "-W", "error", "-c", TRY], clean.parent)
    assert done.returncode == 0, done.stderr
    place, found, reason, error = json.loads(done.stdout)
    assert Path(place).is_relative_to(clean.parents[1])
    assert found is loaded
    assert loaded or "pip install --no-build-isolation" in reason
    assert error < 1e-5


def test_cuda_asked_for_where_it_cannot_be_built_names_what_is_missing(archive, clean):
    hidden = {"CUDA_HOME": "/nowhere", "PATH": "/nowhere"}
    done = install(clean, archive, PYDISTILL_BUILD="cuda", CXX="no-such-compiler", **hidden)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "PYDISTILL_BUILD=cuda: cannot build, missing:" in said
    assert "a C++20 compiler (looked for no-such-compiler; set CXX)" in said


def test_unknown_build_mode_is_named(archive, clean):
    done = install(clean, archive, PYDISTILL_BUILD="gpu")
    assert done.returncode != 0
    assert "PYDISTILL_BUILD must be one of auto, none, cpu, cuda; found 'gpu'" in done.stdout + done.stderr


def test_pure_python_needs_no_torch_to_build(tmp_path):
    """``none`` does not import torch: the version can be asked of setup.py where torch cannot be found."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    done = run(
        [sys.executable, "setup.py", "--version"], ROOT, PYDISTILL_BUILD="none", PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
