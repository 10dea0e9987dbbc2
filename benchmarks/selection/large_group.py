"""Selectors on one group of 100,000 images with features of 512 numbers: peak memory and time.

    python -m benchmarks.selection.large_group [--limit 600] [--images 100] [--row NAME ...] [--busy]

Features (100,000, 512) float32 from a seed (196 MiB as a file) stand for an embedding; a second class of
ten images is there because a data set has two. Each selector chooses ``--images`` of each class in a
process of its own, one thread. Told are its seconds and the MiB by which its peak lies above what the
process held before, the features that are read included; of one that is stopped at ``--limit`` seconds the
peak up to then. Similarities of all pairs would take 38,147 MiB. Results go to
``benchmarks/results/selection/large_group.json``.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import measure
from benchmarks.selection.coverage import ONE_THREAD, RESULTS, features
from pydistill.data import RealData, load_data
from pydistill.engine.method import methods
from pydistill.engine.run import distill
from pydistill.selection.base import EmbeddingSelector

ROWS, WIDTH, OTHERS, SEED = 100_000, 512, 10, 0
_OFTEN = 0.5
"""Seconds between looks at a process's peak."""


def made_data() -> RealData:
    """Tiny images, so that what is measured is the choosing."""
    source = np.random.default_rng(SEED)
    counts = {"train": (ROWS, OTHERS), "validation": (2, 2), "test": (2, 2)}
    arrays = {}
    for split, each in counts.items():
        arrays[f"x_{split}"] = source.integers(0, 256, (sum(each), 2, 2), dtype=np.uint8)
        arrays[f"y_{split}"] = np.repeat([0, 1], each)
    return load_data(arrays, name="large group")


def alone(name: str, path: str, images: int) -> dict[str, float]:
    """One selector in this process, which must be fresh."""
    torch.set_num_threads(1)
    data = made_data()
    begun = time.perf_counter()
    options: dict[str, Any] = {"embedding": path}
    growth = measure.peak_growth(lambda: distill(data, name, ipc=images, short_classes="keep", **options))
    return {"seconds": time.perf_counter() - begun, "peak MiB": growth}


def measured(name: str, path: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One selector in a fresh process, stopped where it takes too long."""
    command = [sys.executable, "-m", "benchmarks.selection.large_group", "--alone", name, str(path)]
    command += ["--images", str(given.images)]
    begun, peak = time.perf_counter(), 0.0
    with subprocess.Popen(
        command, cwd=measure.ROOT, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and time.perf_counter() - begun < given.limit:
            time.sleep(_OFTEN)
            with contextlib.suppress(OSError):  # it has ended
                peak = max(peak, measure.resident("VmHWM", process.pid) / 2**20)
        if process.poll() is None:
            process.kill()
            return {"selector": name, "stopped after": given.limit, "peak MiB of the process": peak}
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{name} failed: {said}")
    return {"selector": name, **json.loads(said.splitlines()[-1]), "peak MiB of the process": peak}


def main() -> None:
    """Each selector that looks at an embedding, written as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a selector may take")
    parser.add_argument("--images", type=int, default=100, help="that are chosen of a class")
    parser.add_argument("--row", action="append", help="a selector; repeatable")
    parser.add_argument("--busy", action="store_true", help="note that others share the machine")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(alone(*given.alone, given.images)))
        return
    known = [name for name, kind in methods().items() if issubclass(kind, EmbeddingSelector)]
    rows, console = [], Console(width=110)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, features(ROWS + OTHERS, WIDTH).numpy())
        for name in given.row or known:
            rows.append(measured(name, path, given))
            console.print(rows[-1])
            facts = {"images": given.images, "of": ROWS, "width": WIDTH, "threads": 1}
            measure.write(RESULTS / "large_group.json", "large group", rows, quiet=not given.busy, **facts)


if __name__ == "__main__":
    main()
