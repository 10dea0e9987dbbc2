"""Compiling .cu files as C++ against the emulation header, with or without a sanitizer."""

import hashlib
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SANITIZERS = {
    "none": ["-O1"],
    "undefined": ["-O1", "-g1", "-fsanitize=undefined", "-fno-sanitize-recover=all"],
    "address": ["-O1", "-g1", "-fsanitize=address"],
}


def build(sources: list[Path], sanitizer: str = "none") -> Path:
    """Compile ``sources`` into one library, reusing it where nothing it is made of has changed."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    assert compiler, "the emulation needs a C++20 compiler"
    base = Path(torch.__file__).parent
    command = [compiler, "-std=c++20", "-fPIC", "-shared", "-DPD_EMULATED", *SANITIZERS[sanitizer]]
    command += ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-Wall", "-Wextra", "-Werror"]
    command += [f"-I{HERE}", f"-I{ROOT / 'csrc' / 'cuda'}", "-isystem", str(base / "include")]
    files = sorted([*HERE.glob("*.h"), *(ROOT / "csrc").rglob("*.h"), *sources])
    digest = hashlib.sha256(" ".join([*command, torch.__version__]).encode())
    for file in files:
        digest.update(str(file).encode() + file.read_bytes())
    folder = ROOT / "build" / f"emulation-{sysconfig.get_platform()}"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{sources[0].stem}-{sanitizer}-{digest.hexdigest()[:16]}.so"
    if not library.is_file():
        temporary = library.with_suffix(f".{os.getpid()}.tmp")
        libraries = [f"-L{base / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"]
        inputs = [part for source in sources for part in ("-x", "c++", str(source))]
        subprocess.run([*command, *inputs, "-x", "none", *libraries, "-o", str(temporary)], check=True)
        temporary.replace(library)
    return library


def operators(sanitizer: str = "none") -> Path:
    """The library's CUDA operators, to run on the host under the CPU's key."""
    return build(sorted((ROOT / "csrc" / "cuda").glob("*.cu")), sanitizer)
