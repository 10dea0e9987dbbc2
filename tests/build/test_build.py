"""From a source archive into a clean environment, as a user without this checkout gets it."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest
import setuptools

from pydistill import toolchain
from tests.conftest import ROOT

TRY = """
import json, torch, pydistill, warnings
from pydistill import ops
x, w, b = torch.randn(2, 3, 6, 6), torch.ones(3), torch.zeros(3)
with ops.reference_only():
    wanted = ops.norm_relu_pool(x, w, b)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    error = float((ops.norm_relu_pool(x, w, b) - wanted).abs().max())
    ops.norm_relu_pool(x, w, b)
said = [str(each.message) for each in seen]
print(json.dumps([pydistill.__file__, ops.status().loaded, ops.status().reason, error, said]))
"""


def run(command, where, **variables):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYDISTILL_") and name not in ("PYTHONPATH", "CXX")
    }
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


def test_archive_holds_whatever_the_repository_orders_from_it(archive):
    """``make demo``, ``test`` and ``check`` work in an unpacked archive: only pictures are left out."""
    done = run(["git", "ls-files", "--cached"], ROOT)
    if done.returncode:
        pytest.skip("these are the sources of an archive, not of the repository")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    tracked = {name for name in done.stdout.splitlines() if not name.endswith(".png")}
    assert not sorted(tracked - names)


def install(python, archive, **variables):
    pip = [python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", str(archive)]
    return run([*pip, "--ignore-installed"], python.parent, **variables)


@pytest.mark.parametrize(
    ("variables", "loaded", "cause"),
    [
        ({"PYDISTILL_BUILD": "cpu"}, True, None),
        ({"PYDISTILL_BUILD": "none"}, False, "left out as asked for (PYDISTILL_BUILD=none)"),
        ({"CXX": "no-such-compiler"}, False, "this was missing: a C++20 compiler (looked for no-such"),
    ],
    ids=["cpu", "none", "no compiler"],
)
def test_archive_installs_and_the_operator_runs(archive, clean, variables, loaded, cause):
    done = install(clean, archive, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    fell_back = "CXX" in variables
    assert ("without_kernels_see_pydistill_info" in done.stdout) is fell_back
    done = run([clean, "-W", "error", "-c", TRY], clean.parent)
    assert done.returncode == 0, done.stderr
    place, found, reason, error, said = json.loads(done.stdout)
    assert Path(place).is_relative_to(clean.parents[1])
    assert found is loaded
    assert loaded or (cause in reason and "pip install --no-build-isolation --force-reinstall" in reason)
    assert said == ([] if loaded else [f"pydistill: {reason}"])
    assert error < 1e-5


@pytest.fixture
def bare(archive, tmp_path):
    """Builds metadata where there is a compiler and setuptools, and nothing else."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("pydistill-*")
    only = tmp_path / "only"
    only.mkdir()
    around = Path(setuptools.__file__).parents[1]
    for part in [around / "_distutils_hack", *around.glob("setuptools*")]:
        (only / part.name).symlink_to(part)

    def build(**variables):
        command = [sys.executable, "-S", "setup.py", "dist_info", "--output-dir", str(tmp_path)]
        return run(command, source, PYTHONPATH=str(only), PATH="/usr/bin:/bin", **variables)

    return build


@pytest.mark.parametrize("variables", [{}, {"PYDISTILL_BUILD": "cpu"}])
def test_missing_packages_are_named_with_the_commands_that_mend_it(bare, variables):
    done = bare(**variables)
    assert done.returncode != 0
    assert "cannot build, missing: torch; pybind11" in done.stderr  # ninja may lie beside the interpreter
    assert f"    {toolchain.INSTALL_REQUIREMENTS}\n    pip install --no-build-isolation .  " in done.stderr
    assert "PYDISTILL_BUILD=none pip install ." in done.stderr


@pytest.mark.parametrize("variables", [{"PYDISTILL_BUILD": "none"}, {"CXX": "no-such-compiler"}])
def test_pure_python_needs_setuptools_alone(bare, variables):
    done = bare(**variables)
    assert done.returncode == 0, done.stderr


def test_an_old_setuptools_is_refused_by_name(tmp_path):
    (tmp_path / "setuptools.py").write_text("__version__ = '65.5.0'")
    done = run([sys.executable, "setup.py", "--version"], ROOT, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert 'setuptools 77 or newer builds it, found 65.5.0: pip install "setuptools>=77"' in done.stderr


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
