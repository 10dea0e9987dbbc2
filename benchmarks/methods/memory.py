"""Peak memory of a step over many classes: 100 classes, 50 images a class, CIFAR-100-sized data.

    python -m benchmarks.methods.memory [--method dm] [--classes 100] [--ipc 50] [--max-batch N ...]

The data are random pixels: memory and time do not depend on what they show. A fresh process for each bound
of a pass makes two steps of the method, all classes at once; its peak is told over what it held once the
data were there, and in all. How far the images have moved is compared with that under the first bound.
"""

import argparse
import json
import resource
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

from benchmarks import measure
from pydistill.data import RealData, load_data
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem

EACH = 300


def random_data(classes: int) -> RealData:
    """``EACH`` 32x32 colour images of noise a class."""
    source = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), EACH)
    arrays = {
        "x_train": source.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8),
        "y_train": labels,
        "x_test": source.integers(0, 256, (classes, 3, 32, 32), dtype=np.uint8),
        "y_test": np.arange(classes),
    }
    return load_data(arrays, name="noise")


def measured(given: argparse.Namespace, bound: int, images: Path) -> dict[str, float]:
    """Two steps in this process: peaks in MiB."""
    data = random_data(given.classes)
    method = make_method(given.method, network=given.network, iterations=2)
    problem = make_problem(data, ipc=given.ipc, max_batch=bound or None)
    kept = {}

    def run() -> None:
        state = method.start(problem)
        begun = state["images"]
        for index in range(2):
            method.step(problem, state, index)
        kept["moved"] = (state["images"] - begun).contiguous()

    growth = measure.peak_growth(run)
    save_file(kept, images)
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"over data": growth, "whole process": whole}


def main() -> None:
    """A fresh process a bound; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--method", default="dm")
    parser.add_argument("--network", default="convnet:width=128")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--ipc", type=int, default=50)
    parser.add_argument("--max-batch", type=int, nargs="*", default=[0, 64], help="0: the default")
    parser.add_argument("--out", type=Path, default=measure.ROOT / "benchmarks/results/memory.json")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak_of:
        print(json.dumps(measured(given, int(given.peak_of[0]), Path(given.peak_of[1]))))
        return
    rows, first = [], None
    with tempfile.TemporaryDirectory() as folder:
        for bound in given.max_batch:
            path = Path(folder) / f"{bound}.safetensors"
            command = ["--method", given.method, "--network", given.network]
            command += ["--classes", str(given.classes), "--ipc", str(given.ipc)]
            peaks = measure.run_fresh(
                "benchmarks.methods.memory", [*command, "--peak-of", str(bound), str(path)]
            )
            moved = load_file(path)["moved"]
            first = moved if first is None else first
            apart = float((moved - first).norm() / first.norm())
            rows.append(
                {"max_batch": bound or "default", "peak MiB": peaks, "difference of the movement": apart}
            )
    measure.write(given.out, "memory", rows, method=given.method, classes=given.classes, ipc=given.ipc)
    table = Table("max_batch", "peak over data, MiB", "whole process, MiB", "difference")
    for row in rows:
        peaks = row["peak MiB"]
        table.add_row(
            str(row["max_batch"]),
            f"{peaks['over data']:.0f}",
            f"{peaks['whole process']:.0f}",
            f"{row['difference of the movement']:.1e}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
