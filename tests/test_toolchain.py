"""What the build needs: found where it is, named where it is not, and written once."""

import re
import tomllib

import pytest

from pydistill import toolchain
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_requirements_are_those_of_the_project_file(project):
    named = project["build-system"]["requires"] + [
        each for each in project["project"]["dependencies"] if each.startswith("torch")
    ]
    assert sorted(named) == sorted(toolchain.REQUIREMENTS)


def test_readme_and_makefile_install_the_requirements():
    for place in ("README.md", "Makefile"):
        text = (ROOT / place).read_text()
        for each in toolchain.REQUIREMENTS:
            name = re.split("[<>]", each)[0]
            assert each in text or f"{name}==" in text, f"{place} does not install {each}"


@pytest.mark.parametrize(
    ("version", "enough"),
    [
        ("2.11.0", True),
        ("2.13.0+cpu", True),
        ("2.14.1", True),
        ("2.15.0a0+git123", False),
        ("2.15.0", False),
        ("2.9.1", False),
        ("3.0", False),
    ],
)
def test_versions_are_held_to_their_bounds(version, enough, monkeypatch):
    monkeypatch.setattr(toolchain, "_version", lambda name: version if name == "torch" else None)
    assert (f"torch>=2.11,<2.15 (found torch {version})" in toolchain.missing_packages()) is not enough


def test_every_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(toolchain, "ninja", lambda: None)
    assert toolchain.missing_packages() == ["torch", "setuptools", "pybind11", "ninja"]


def test_a_missing_compiler_and_missing_headers_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(toolchain, "missing_packages", list)
    monkeypatch.setattr(toolchain.sysconfig, "get_path", lambda name: str(tmp_path))
    compiler, headers = toolchain.missing_for_cpu()
    assert compiler == "a C++20 compiler (looked for no-such-compiler; set CXX)"
    assert str(tmp_path / "Python.h") in headers


def test_nothing_but_the_standard_library_is_imported():
    text = (ROOT / "pydistill" / "toolchain.py").read_text()
    assert "pydistill" not in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
