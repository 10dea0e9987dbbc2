"""Building the compiled extension, or leaving it out, as ``PYDISTILL_BUILD`` says.

auto    the default: the CPU kernels, and the CUDA kernels where torch is a CUDA build and the CUDA toolkit
        is there; pure Python where there is no C++ compiler. Where there is one but torch, pybind11 or
        ninja is missing, an error: who has a compiler wants the kernels, and half the speed would go
        unnoticed.
none    pure Python; torch is not even imported
cpu     the CPU kernels, or an error that names what is missing
cuda    both, or an error that names what is missing

torch must be importable meanwhile, so the build is not isolated: the error says which commands do it. What
was built, or was missing, is kept with the package (``_build.json``), for ``pydistill info`` to tell.
``MAX_JOBS`` limits the compilers at work, ``CXX`` names the compiler, ``PYDISTILL_CUDA_ARCHS`` (such as
``80;90``) the CUDA architectures.
"""

import contextlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import setuptools

if int(setuptools.__version__.split(".")[0]) < 77:
    raise SystemExit(
        f"pydistill: setuptools 77 or newer builds it, found {setuptools.__version__}: "
        'pip install "setuptools>=77"'
    )

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.dist_info import dist_info

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


def load_toolchain():
    """``pydistill/toolchain.py`` by its path: the package's dependencies may not be there yet."""
    spec = importlib.util.spec_from_file_location("toolchain", ROOT / "pydistill" / "toolchain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toolchain = load_toolchain()


def missing():
    """What the build that is asked for needs and this environment lacks."""
    if mode() == "none":
        return []
    return toolchain.missing_for_cpu() + (toolchain.missing_for_cuda() if mode() == "cuda" else [])


def falls_back():
    """Whether nothing in particular was asked for and there is no compiler: pure Python it is."""
    return mode() == "auto" and toolchain.compiler() is None


def pure():
    """Whether the extension is left out."""
    return mode() == "none" or falls_back()


def insist():
    """Go on only where what is asked for can be built."""
    if pure() or not (lacking := missing()):
        return
    lines = [
        "",
        f"pydistill: PYDISTILL_BUILD={mode()}: cannot build, missing: {'; '.join(lacking)}",
        "The kernels are built against your environment's torch, where an isolated build does not look.",
        "In that environment:",
        f"    {toolchain.INSTALL_REQUIREMENTS}",
        "    pip install --no-build-isolation .    # or what you gave to pip in place of the dot",
    ]
    if mode() != "cuda":
        lines.append("or without the kernels, about half as fast: PYDISTILL_BUILD=none pip install .")
    raise SystemExit("\n".join(lines))


def reasons():
    """Why nothing is built: packages that an isolated build happens to lack are none."""
    return [each for each in missing() if each not in toolchain.missing_packages()]


def write_record(folder, built):
    """Keep with the package what was built or was missing."""
    kept = toolchain.record(mode(), built, [] if built else reasons())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_build.json").write_text(json.dumps(kept, indent=1) + "\n")


def tell(line):
    """Print a line for a person: pip hides what a build prints, but not from the terminal itself."""
    print(line, file=sys.stderr)
    with contextlib.suppress(OSError), open("/dev/tty", "w") as terminal:
        terminal.write(f"\n{line}\n")


class DistInfo(dist_info):
    """Metadata, which pip asks for first: what cannot be built is refused before anything is downloaded."""

    def run(self):
        insist()
        super().run()


class Wheel(bdist_wheel):
    """A wheel that falls back to pure Python says so in its name, which pip prints."""

    def finalize_options(self):
        if falls_back():
            self.build_number = "0_without_kernels_see_pydistill_info"
        super().finalize_options()


class BuildPython(build_py):
    """The modules, and the record of a build without the extension."""

    def run(self):
        super().run()
        if pure():
            place = ROOT if getattr(self, "editable_mode", False) else Path(self.build_lib)
            write_record(place / "pydistill", ())
        if falls_back():
            tell(f"pydistill: no kernels, about half as fast; missing: {'; '.join(reasons())}")


class BuildExtension(build_ext):
    """Compiles ``csrc/`` with ninja: each ``cpu/*.cpp`` once as it is and once for each instruction set."""

    def run(self):
        insist()
        super().run()

    def build_extension(self, ext):
        cuda = mode() != "cpu" and not toolchain.missing_for_cuda()
        print(f"pydistill: building the extension for cpu{' and cuda' if cuda else ''}")
        temp = Path(self.build_temp).resolve()
        temp.mkdir(parents=True, exist_ok=True)
        output = Path(self.get_ext_fullpath(ext.name)).resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        text = ninja_file(output, cuda)
        if not (temp / "build.ninja").is_file() or (temp / "build.ninja").read_text() != text:
            (temp / "build.ninja").write_text(text)
        jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        done = subprocess.run([toolchain.ninja(), "-C", str(temp), *jobs], check=False)
        if done.returncode:
            raise SystemExit(
                "pydistill: compiling the extension failed; the compiler's messages are above. "
                "To go without it, about half as fast: PYDISTILL_BUILD=none"
            )
        write_record(output.parent, ("cpu", "cuda") if cuda else ("cpu",))

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
        home, archs = toolchain.cuda_home(), cuda_archs(torch)
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
        f"cxx = {toolchain.compiler()}",
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


def version():
    """The version, from the one place where it is written."""
    text = (ROOT / "pydistill" / "_version.py").read_text()
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


setup(
    version=version(),
    ext_modules=[] if pure() else [Extension("pydistill._C", sources=[])],
    cmdclass={
        "bdist_wheel": Wheel,
        "build_ext": BuildExtension,
        "build_py": BuildPython,
        "dist_info": DistInfo,
    },
)
