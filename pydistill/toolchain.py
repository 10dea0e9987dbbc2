"""What building the extension needs, and what of it is here.

``setup.py`` loads this file by its path before anything is installed: it imports the standard library, and
torch only where CUDA is asked about.
"""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = ("torch>=2.11,<2.15", "setuptools>=77", "pybind11>=2.13", "ninja")
"""Packages that a build with ``--no-build-isolation`` needs in its environment."""

INSTALL_REQUIREMENTS = "pip install " + " ".join(
    f'"{each}"' if ">" in each else each for each in REQUIREMENTS
)
INSTALL_COMPILER = "apt install g++ (Debian, Ubuntu), dnf install gcc-c++ (Fedora), or conda install gxx"


def compiler() -> str | None:
    """Path of a C++ compiler."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((found for name in names if (found := shutil.which(name))), None)


def cuda_home() -> Path | None:
    """Folder of the CUDA toolkit."""
    nvcc = shutil.which("nvcc")
    candidates = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    if nvcc:
        candidates.append(str(Path(nvcc).resolve().parent.parent))
    return next((Path(c) for c in candidates if c and (Path(c) / "bin" / "nvcc").is_file()), None)


def ninja() -> str | None:
    """Path of ninja; also where its package is installed but no folder of scripts is on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "ninja"
    found = shutil.which("ninja") or (str(beside) if beside.is_file() else None)
    if found is None and importlib.util.find_spec("ninja") is not None:
        import ninja as package

        candidate = Path(package.BIN_DIR) / "ninja"
        found = str(candidate) if candidate.is_file() else None
    return found


def missing_for_cpu() -> list[str]:
    """What the CPU kernels need and this environment lacks, by name."""
    missing = []
    if compiler() is None:
        looked_for = os.environ.get("CXX") or "g++, clang++, c++"
        missing.append(f"a C++20 compiler (looked for {looked_for}; set CXX)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        missing.append(f"Python's headers ({header}; apt install python3-dev, dnf install python3-devel)")
    return missing + missing_packages()


def missing_packages() -> list[str]:
    """Those of :data:`REQUIREMENTS` that are not here, or not in a version that will do."""
    missing = []
    for each in REQUIREMENTS:
        name = _name(each)
        if name == "ninja":
            if ninja() is None:
                missing.append(name)
        elif importlib.util.find_spec(name) is None:
            missing.append(name)
        elif (found := _version(name)) is not None and not _satisfies(found, each):
            missing.append(f"{each} (found {name} {found})")
    return missing


def missing_for_cuda() -> list[str]:
    """What the CUDA kernels need on top; imports torch where it is there."""
    missing = []
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.version.cuda is None:
            missing.append(f"a CUDA build of torch (torch {torch.__version__} has no CUDA)")
    if cuda_home() is None:
        missing.append("the CUDA toolkit (no nvcc found; set CUDA_HOME to its folder)")
    return missing


def record(asked: str, built: tuple[str, ...], missing: list[str]) -> dict[str, object]:
    """What an installation keeps of its build, in ``pydistill/_build.json``, to tell later."""
    return {
        "asked": asked,
        "built": list(built),
        "missing": missing,
        "torch": _version("torch"),
        "suffix": sysconfig.get_config_var("EXT_SUFFIX"),
        "python": sys.version.split()[0],
    }


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement)[0]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _satisfies(version: str, requirement: str) -> bool:
    """Whether ``version`` is within ``name>=LOW,<HIGH``; a pre-release counts as its release."""
    bounds: list[tuple[str, str]] = re.findall(r"(>=|<)([\d.]+)", requirement)
    found = _numbers(version)
    return all(found >= _numbers(to) if sign == ">=" else found < _numbers(to) for sign, to in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))
