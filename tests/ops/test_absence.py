"""Why there is no extension: the cause its build recorded, what is here now, the commands that mend it."""

import json
import sysconfig
from types import SimpleNamespace

import pytest

from pydistill import toolchain
from pydistill.ops import _absence

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An installation in a folder of its own, as from an archive, with everything to build there."""
    monkeypatch.setattr(_absence, "pydistill", SimpleNamespace(__path__=[str(tmp_path)]))
    monkeypatch.setattr(toolchain, "missing_for_cpu", list)
    monkeypatch.setattr(toolchain, "missing_packages", list)
    origin(monkeypatch, None)
    return tmp_path


def origin(monkeypatch, url):
    text = None if url is None else json.dumps({"url": url})
    found = SimpleNamespace(read_text=lambda name: text)
    monkeypatch.setattr(_absence.importlib.metadata, "distribution", lambda name: found)


def keep(folder, **record):
    (folder / "_build.json").write_text(json.dumps(record))


def lack(monkeypatch, *system, packages=()):
    monkeypatch.setattr(toolchain, "missing_for_cpu", lambda: [*system, *packages])
    monkeypatch.setattr(toolchain, "missing_packages", lambda: list(packages))


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ({"asked": "none", "built": [], "missing": []}, "left out as asked for (PYDISTILL_BUILD=none)"),
        (
            {"asked": "auto", "built": [], "missing": ["a C++20 compiler (looked for g++)"]},
            "when pydistill was installed this was missing: a C++20 compiler (looked for g++)",
        ),
        (
            {"asked": "auto", "built": ["cpu"], "missing": [], "suffix": ".cpython-39.so"},
            f"it was built for another Python (_C.cpython-39.so; this one looks for _C{SUFFIX})",
        ),
        ({"asked": "auto", "built": ["cpu"], "suffix": SUFFIX}, f"_C{SUFFIX} was built and is gone"),
    ],
)
def test_the_cause_is_what_the_build_recorded(installed, record, cause):
    keep(installed, **record)
    said = _absence.not_built()
    assert cause in said
    assert "everything needed is here now: `pip install --no-build-isolation" in said


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_without_a_record_nothing_is_made_up(installed, text):
    if text is not None:
        (installed / "_build.json").write_text(text)
    assert "these sources have not been built" in _absence.not_built()


def test_the_mend_names_what_is_missing_now_and_how_to_get_it(installed, monkeypatch):
    lack(monkeypatch, packages=("pybind11>=2.13", "ninja"))
    said = _absence.not_built()
    assert f"`{toolchain.INSTALL_REQUIREMENTS}` (missing: pybind11>=2.13, ninja), then `pip install" in said
    monkeypatch.setattr(toolchain, "compiler", lambda: None)
    lack(monkeypatch, "a C++20 compiler")
    said = _absence.not_built()
    assert "install a C++20 compiler, for example apt install g++" in said
    assert "everything needed" not in said


def test_the_mend_installs_from_where_it_was_installed_from(installed, monkeypatch):
    assert "--force-reinstall --no-deps --no-binary pydistill pydistill`" in _absence.not_built()
    source = installed / "the source"
    origin(monkeypatch, source.as_uri())
    assert "--no-binary pydistill" in _absence.not_built()
    source.mkdir()
    assert f"--force-reinstall --no-deps '{source}'`" in _absence.not_built()
    wheel = installed / "pydistill-0.1.0-py3-none-any.whl"
    wheel.touch()
    origin(monkeypatch, wheel.as_uri())
    assert "--no-binary pydistill" in _absence.not_built()  # that wheel holds no kernels


def test_in_a_checkout_the_mend_is_an_editable_install(tmp_path, monkeypatch):
    (tmp_path / "setup.py").touch()
    monkeypatch.setattr(_absence, "pydistill", SimpleNamespace(__path__=[str(tmp_path / "pydistill")]))
    assert f"`pip install --no-build-isolation --editable {tmp_path}`" in _absence.not_built()


def test_an_extension_for_another_torch_names_both(installed):
    keep(installed, asked="auto", built=["cpu"], torch="2.11.0")
    said = _absence.not_loading("2.14.0", ImportError("undefined symbol"))
    assert "does not load under torch 2.14.0 (it was built against torch 2.11.0): undefined symbol" in said
    assert "built against" not in _absence.not_loading("2.11.0", ImportError("undefined symbol"))


def test_a_device_without_kernels_names_what_its_build_lacks(installed, monkeypatch):
    monkeypatch.setattr(toolchain, "missing_for_cuda", lambda: ["the CUDA toolkit"])
    assert "kernels for cpu, none for cuda; to build them this is missing: the CUDA toolkit" in (
        _absence.not_for("cuda", ("cpu",))
    )
    monkeypatch.setattr(toolchain, "missing_for_cuda", list)
    assert "`PYDISTILL_BUILD=cuda pip install --no-build-isolation" in _absence.not_for("cuda", ("cpu",))
