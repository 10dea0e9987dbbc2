"""Building the compiled extension, or leaving it out, as ``PYDISTILL_BUILD`` says.

auto    what this machine can (the default): the CPU kernels where a C++20 compiler and torch are there, the
        CUDA kernels where torch is a CUDA build and the CUDA toolkit is there as well; else pure Python
none    pure Python; torch is not even imported
cpu     the CPU kernels, or an error that names what is missing
cuda    both, or an error that names what is missing

torch must be importable meanwhile: ``pip install torch``, then ``pip install --no-build-isolation``.
``MAX_JOBS`` limits the compilers at work, ``CXX`` names the compiler, ``PYDISTILL_CUDA_ARCHS`` (such as
``80;90``) the CUDA architectures.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
MODES = ("auto", "none", "cpu", "cuda")
LEVELS = {
    "baseline": ("16", ""),
    "avx2": ("32", "-mavx2 -mfma"),
    "avx512": ("64", "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512"),
}
CXX_FLAGS = (
    "-O3 -std=c++20 -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=fast "
    "-Wall -Wextra -Wno-psabi -Wno-ignored-attributes"
)
# Torch 2.11's stable interface: one source, and one binary, for 2.11 and later.
TARGET = "-DTORCH_TARGET_VERSION=0x020b000000000000"
NINJA_RULES = """\
rule cxx
  command = $cxx -MMD -MF $out.d $flags $extra -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = compile $in $note
rule nvcc
  command = $nvcc -MD -MF $out.d $cudaflags -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = compile $in (CUDA)
rule link
  command = $cxx -shared $in -o $out $ldflags
  description = link $out
"""


def mode():
    """What was asked for, checked."""
    asked = os.environ.get("PYDISTILL_BUILD", "auto")
    if asked not in MODES:
        raise SystemExit(f"PYDISTILL_BUILD must be one of {', '.join(MODES)}; found {asked!r}")
    return asked


def compiler():
    """Path of a C++ compiler, or None."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((found for name in names if (found := shutil.which(name))), None)


def cuda_home():
    """Folder of the CUDA toolkit, or None."""
    nvcc = shutil.which("nvcc")
    candidates = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    if nvcc:
        candidates.append(str(Path(nvcc).resolve().parent.parent))
    return next((Path(c) for c in candidates if c and (Path(c) / "bin" / "nvcc").is_file()), None)


def missing_for_cpu():
    """What the CPU kernels need and this machine lacks: a list of sentences."""
    missing = []
    if compiler() is None:
        looked_for = os.environ.get("CXX") or "g++, clang++, c++"
        missing.append(f"a C++20 compiler (looked for {looked_for}; set CXX)")
    if importlib.util.find_spec("torch") is None:
        missing.append("torch (install it first, then build with pip's --no-build-isolation)")
    if importlib.util.find_spec("pybind11") is None:
        missing.append("pybind11 (pip install pybind11)")
    if ninja() is None:
        missing.append("ninja (pip install ninja)")
    return missing


def missing_for_cuda():
    """What the CUDA kernels need on top; imports torch where it is there."""
    missing = []
    if importlib.util.find_spec("torch") is not None:
        import torch

        if torch.version.cuda is None:
            missing.append(f"a CUDA build of torch (torch {torch.__version__} has no CUDA)")
    if cuda_home() is None:
        missing.append("the CUDA toolkit (no nvcc found; set CUDA_HOME to its folder)")
    return missing


def ninja():
    """Path of ninja, or None; also where its package is installed but no folder of scripts is on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "ninja"
    found = shutil.which("ninja") or (str(beside) if beside.is_file() else None)
    if found is None and importlib.util.find_spec("ninja") is not None:
        import ninja as package

        candidate = Path(package.BIN_DIR) / "ninja"
        found = str(candidate) if candidate.is_file() else None
    return found


class BuildExtension(build_ext):
    """Compiles ``csrc/`` with ninja: each ``cpu/*.cpp`` once as it is and once for each instruction set."""

    def run(self):
        asked = mode()
        missing = missing_for_cpu()
        if not missing and asked == "cuda":
            missing = missing_for_cuda()
        elif asked == "cuda":
            missing += missing_for_cuda()
        if missing:
            raise SystemExit(f"PYDISTILL_BUILD={asked}: cannot build, missing: " + "; ".join(missing))
        super().run()

    def build_extension(self, ext):
        cuda = mode() != "cpu" and not missing_for_cuda()
        print(f"pydistill: building the extension for cpu{' and cuda' if cuda else ''}")
        temp = Path(self.build_temp).resolve()
        temp.mkdir(parents=True, exist_ok=True)
        output = Path(self.get_ext_fullpath(ext.name)).resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        text = ninja_file(output, cuda)
        if not (temp / "build.ninja").is_file() or (temp / "build.ninja").read_text() != text:
            (temp / "build.ninja").write_text(text)
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        done = subprocess.run([ninja(), "-C", str(temp), *jobs], check=False)
        if done.returncode:
            raise SystemExit("pydistill: compiling the extension failed; the compiler's messages are above")

    def get_source_files(self):
        return []  # MANIFEST.in lists csrc


def ninja_file(output, cuda):
    """The build, as ninja reads it."""
    import pybind11
    import torch

    base = Path(torch.__file__).parent
    # pybind11 first: torch 2.11 brings headers of that name which refuse the stable interface
    includes = [Path(pybind11.get_include()), base / "include", Path(sysconfig.get_path("include"))]
    system = " ".join(f"-isystem {path}" for path in includes)
    libraries, defines, cuda_flags, nvcc = "-ltorch -ltorch_cpu -lc10", "", "", ""
    if cuda:
        home, archs = cuda_home(), cuda_archs(torch)
        nvcc = home / "bin" / "nvcc"
        codes = " ".join(f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs)
        cuda_flags = (
            f"-O3 -std=c++20 -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra {TARGET} -DUSE_CUDA "
            f"--expt-relaxed-constexpr {codes} {system}"
        )
        values = {"PD_CUDA_ARCHS": ";".join(archs), "PD_CUDA_VERSION": torch.version.cuda}
        defines = " ".join(f"'-D{name}=\"{value}\"'" for name, value in values.items())
        libraries += f" -ltorch_cuda -lc10_cuda -L{home / 'lib64'} -lcudart"
    lines = [
        f"cxx = {compiler()}",
        f"nvcc = {nvcc}",
        f"flags = {CXX_FLAGS} {TARGET} {system}",
        f"cudaflags = {cuda_flags}",
        f"ldflags = -L{base / 'lib'} {libraries}",
        NINJA_RULES,
    ]
    objects = []

    def compile_one(source, name, extra="", rule="cxx", note=""):
        objects.append(f"{name}.o")
        lines.append(f"build {name}.o: {rule} {source}\n  extra = {extra}\n  note = {note}")

    compile_one(ROOT / "csrc" / "bindings.cpp", "bindings", defines)
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    levels = LEVELS if x86 else {"baseline": LEVELS["baseline"]}
    for source in sorted((ROOT / "csrc" / "cpu").glob("*.cpp")):
        compile_one(source, f"cpu.{source.stem}")
        for level, (width, flags) in levels.items():
            extra = f"{flags} -DPD_ISA={level} -DPD_VECTOR_BYTES={width}"
            compile_one(source, f"cpu.{source.stem}.{level}", extra, note=f"({level})")
    if cuda:
        for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
            compile_one(source, f"cuda.{source.stem}", rule="nvcc")
    lines.append(f"build {output}: link {' '.join(objects)}\ndefault {output}\n")
    return "\n".join(lines)


def cuda_archs(torch):
    """Architectures to compile for: those asked for, else the devices' own, else sm_80 and sm_90."""
    if asked := os.environ.get("PYDISTILL_CUDA_ARCHS"):
        return [part for part in re.split(r"[;, ]+", asked) if part]
    devices = range(torch.cuda.device_count())
    found = {"".join(map(str, torch.cuda.get_device_capability(device))) for device in devices}
    return sorted(found) or ["80", "90"]


def extensions():
    """The extension module, unless pure Python was asked for or is all this machine can build."""
    asked = mode()
    if asked == "none":
        return []
    missing = missing_for_cpu()
    if asked == "auto" and missing:
        print("pydistill: pure Python, no extension, missing: " + "; ".join(missing), file=sys.stderr)
        return []
    return [Extension("pydistill._C", sources=[])]


def version():
    """The version, from the one place where it is written."""
    text = (ROOT / "pydistill" / "_version.py").read_text()
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


setup(version=version(), ext_modules=extensions(), cmdclass={"build_ext": BuildExtension})
