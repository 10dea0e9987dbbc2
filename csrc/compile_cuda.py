"""Compile every CUDA source for sm_80 and sm_90, against whatever torch is installed.

    python csrc/compile_cuda.py [--archs 80 90] [--out FOLDER]

Needs nvcc, no GPU and no CUDA build of torch: the sources use torch's stable headers only. The objects are
thrown away unless --out names a folder. Exits with the first compiler error.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Parse the command line and compile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--archs", nargs="+", default=["80", "90"], help="compute capabilities without the dot"
    )
    parser.add_argument("--out", type=Path, help="keep the objects here")
    chosen = parser.parse_args()
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which(str(Path(home) / "bin" / "nvcc") if home else "nvcc")
    torch = importlib.util.find_spec("torch")
    if nvcc is None or torch is None or torch.origin is None:
        missing = "nvcc (set CUDA_HOME or put it on PATH)" if nvcc is None else "torch"
        print(f"cannot compile the CUDA sources: missing {missing}", file=sys.stderr)
        return 1
    include = Path(torch.origin).parent / "include"
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted((HERE / "cuda").glob("*.cu")):
            code = compile_one(nvcc, include, source, chosen.archs, chosen.out or Path(scratch))
            if code:
                return code
    return 0


def compile_one(nvcc: str, include: Path, source: Path, archs: list[str], out: Path) -> int:
    """Compile one source for all ``archs``; the compiler's exit status."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{source.stem}.o"
    command = [
        nvcc,
        "-O3",
        "-std=c++20",
        "--threads=0",
        "-Xcompiler=-fPIC,-Wall,-Wextra",
        "-Werror=all-warnings",
    ]
    command += ["-DTORCH_TARGET_VERSION=0x020b000000000000", "-DUSE_CUDA", "-isystem", str(include)]
    command += [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    done = subprocess.run([*command, "-c", str(source), "-o", str(target)], check=False)
    if done.returncode == 0:
        print(
            f"{source.relative_to(HERE.parent)}: compiled for {', '.join(f'sm_{arch}' for arch in archs)}"
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
