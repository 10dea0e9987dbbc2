"""Facility location and k-center against other implementations: time, objective, peak memory.

    python -m benchmarks.selection.coverage --rival-python PYTHON [--rounds 3] [--counts 500] [--busy]

Features (n, 256) from a seed, as a network's are: a hundred clusters, deviations that fall as a power. One
thread.

- Facility location of 10,000 and of 50,000, 200 chosen, similarities (1 + cos) / 2: from features to
  choice, by this library and by the packages that ``PYTHON`` has, apricot-select and submodlib-py, which
  hold all similarities in float64 (of 50,000 20 GB: with ``--memory`` GiB each, what ran out is told).
  Sides take turns, medians over rounds; the objective of each choice is computed in float64.
- Facility location of 50,000 alone, with its peak memory in a fresh process over what the features take.
- k-center of 50,000, 300 chosen, against numpy with one vectorised pass a choice, without and with
  distances by a matrix product; the greatest distance to a chosen row of each.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks import measure
from benchmarks.selection.rivals import PACKAGES
from pydistill.selection.k_center import farthest_first
from pydistill.selection.lazy_greedy import cover
from pydistill.selection.similarity import Similarity, centred

WIDTH, CLUSTERS, SEED = 256, 100, 0
SMALL, LARGE, CHOSEN, CENTRES = 10_000, 50_000, 200, 300
RESULTS = measure.ROOT / "benchmarks" / "results" / "selection"
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}


def features(rows: int, width: int = WIDTH) -> Tensor:
    """(rows, width) float32, moved to their mean."""
    source = torch.Generator().manual_seed(SEED)
    scale = torch.arange(1, width + 1).float() ** -0.7
    centres = torch.randn(CLUSTERS, width, generator=source)
    own = torch.randint(CLUSTERS, (rows,), generator=source)
    return centred((centres[own] + torch.randn(rows, width, generator=source)) * scale)


def locate(rows: Tensor, count: int) -> Tensor:
    """What ``facility_location`` chooses."""
    made = Similarity.of(rows, "cosine")
    return cover(made.block, len(made), count, made.totals()).positions


def objective(rows: Tensor, chosen: Tensor) -> float:
    """Mean over all of the greatest similarity to a chosen row, in float64."""
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    return float(
        torch.cat([(part @ unit[chosen].T).amax(1) for part in unit.split(1000)]).add(1).mean() / 2
    )


def rival(python: str, package: str, path: Path, count: int, memory: float) -> dict[str, Any]:
    """What a package answers in its own process, or how it ``failed``."""
    script = Path(__file__).with_name("rivals.py")
    done = subprocess.run(
        [python, str(script), package, str(path), str(count), str(memory)],
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if re.match(r"[\w.]*Error", line)]
        told = errors[-1] if errors else done.stderr[-200:].strip() or "no message"
        return {"failed": f"exit status {done.returncode} with {memory:g} GiB: {told}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def against_packages(size: int, given: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Facility location by all sides in turn; a package that fails is not asked again."""
    rows, failed = features(size), dict[str, str]()
    locate(rows[:500], 5)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("pydistill", *PACKAGES)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        np.save(path, rows.numpy())
        for _ in range(given.rounds if size == SMALL else given.large_rounds):
            begun = time.perf_counter()
            positions = locate(rows, CHOSEN)
            seconds = time.perf_counter() - begun
            runs["pydistill"].append({"seconds": seconds, "positions": positions.tolist()})
            for name in PACKAGES:
                if name in failed:
                    continue
                found = rival(given.rival_python, name, path, CHOSEN, given.memory)
                if "failed" in found:
                    failed[name] = found["failed"]
                else:
                    runs[name].append(found)
            console.print(
                {name: [f"{run['seconds']:.1f} s" for run in each] for name, each in runs.items()}
            )
    runs = {name: each for name, each in runs.items() if each and name not in failed}
    middle = {name: measure.median([run["seconds"] for run in each]) for name, each in runs.items()}
    others = [name for name in runs if name != "pydistill"]
    return {
        "what": "facility location",
        "rows": size,
        "chosen": CHOSEN,
        "seconds": middle,
        "of it similarities": {
            name: measure.median([run["similarities"] for run in runs[name]]) for name in others
        },
        "every round": {name: [run["seconds"] for run in each] for name, each in runs.items()},
        "times faster": {name: middle[name] / middle["pydistill"] for name in others},
        "objective": {
            name: objective(rows, torch.tensor(each[-1]["positions"])) for name, each in runs.items()
        },
        "peak MiB": {name: runs[name][-1]["peak MiB"] for name in others},
        "failed": failed,
        "versions": {key: value for name in others for key, value in runs[name][-1]["versions"].items()},
    }


def alone(count: int) -> dict[str, Any]:
    """Facility location of all rows in this process, which must be fresh."""
    rows, found = features(LARGE), []
    locate(rows[:500], 5)
    begun = time.perf_counter()
    growth = measure.peak_growth(lambda: found.append(locate(rows, count)))
    seconds = time.perf_counter() - begun
    return {
        "what": "facility location",
        "rows": LARGE,
        "chosen": count,
        "seconds": {"pydistill": seconds},
        "peak MiB over the features": growth,
        "MiB of all similarities": LARGE**2 * 4 / 2**20,
        "objective": {"pydistill": objective(rows, found[0])},
    }


def plain_center(rows: "np.ndarray[Any, Any]", count: int) -> list[int]:
    """Farthest first by differences."""
    chosen = [int((rows**2).sum(1).argmin())]
    apart = np.full(len(rows), np.inf, dtype=rows.dtype)
    for _ in range(count - 1):
        np.minimum(apart, ((rows - rows[chosen[-1]]) ** 2).sum(1), out=apart)
        chosen.append(int(apart.argmax()))
    return chosen


def product_center(rows: "np.ndarray[Any, Any]", count: int) -> list[int]:
    """Farthest first, distances by a product with the newest row."""
    squares = (rows**2).sum(1)
    chosen, apart = [int(squares.argmin())], np.full(len(rows), np.inf, dtype=rows.dtype)
    for _ in range(count - 1):
        np.minimum(apart, squares - 2 * (rows @ rows[chosen[-1]]) + squares[chosen[-1]], out=apart)
        chosen.append(int(apart.argmax()))
    return chosen


def centres(rounds: int) -> dict[str, Any]:
    """k-center against numpy."""
    rows = features(LARGE)
    plain, positions = rows.numpy(), dict[str, Tensor]()
    ways = {
        "pydistill": lambda: farthest_first(rows, CENTRES),
        "numpy, differences": lambda: plain_center(plain, CENTRES),
        "numpy, product": lambda: product_center(plain, CENTRES),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            positions[name] = torch.as_tensor(way())
            seconds[name].append(time.perf_counter() - begun)
    middle = {name: measure.median(each) for name, each in seconds.items()}
    radius = {
        name: float(torch.cat([torch.cdist(part, rows[at]).amin(1) for part in rows.split(1000)]).max())
        for name, at in positions.items()
    }
    return {
        "what": "k-center",
        "rows": LARGE,
        "chosen": CENTRES,
        "seconds": middle,
        "every round": seconds,
        "times faster": {name: each / middle["pydistill"] for name, each in middle.items()},
        "greatest distance": radius,
    }


def main() -> None:
    """Measure, print, write after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rival-python", help="an interpreter that has apricot-select and submodlib-py")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-rounds", type=int, default=1, help="of 50,000 rows by all sides")
    parser.add_argument("--memory", type=float, default=20.0, help="GiB that a package may take")
    parser.add_argument("--counts", type=int, nargs="*", default=[500], help="of 50,000 rows")
    parser.add_argument("--busy", action="store_true", help="note that others share the machine")
    parser.add_argument("--out", type=Path, default=RESULTS / "coverage.json")
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.alone:
        print(json.dumps(alone(given.alone)))
        return
    console, rows = Console(width=110), list[dict[str, Any]]()
    parts = [lambda: centres(given.rounds)]
    if given.rival_python:
        parts += [lambda size=size: against_packages(size, given, console) for size in (SMALL, LARGE)]
    parts += [
        lambda count=count: measure.run_fresh("benchmarks.selection.coverage", ["--alone", str(count)])
        for count in given.counts
    ]
    for part in parts:
        rows.append(part())
        console.print({name: rows[-1][name] for name in ("what", "rows", "chosen", "seconds")})
        measure.write(
            given.out, "coverage", rows, quiet=not given.busy, rounds=given.rounds, seed=SEED, threads=1
        )


if __name__ == "__main__":
    main()
