"""Whether the curve of accuracy by random images, measured at small sizes, foretells large ones.

    python -m benchmarks.selection.curve digits PATH/TO/fashion-mnist PATH/TO/cifar10

The finding ``distillability`` of the analysis measures sizes up to 5 % of the training images; then one
network is trained on 20 % and one on all of them, by the same rule of steps, and scored on the same
validation images. A prediction holds where what was measured lies within its 90 % interval. The prior of
the law's floor was chosen on validation images of these three data sets. Results go to
``benchmarks/results/selection/curve.json``.
"""

import argparse
import time
from typing import Any

import torch
from rich.console import Console

from benchmarks import measure
from benchmarks.selection.side_by_side import RESULTS
from pydistill.analysis import analyse, make_finder
from pydistill.analysis.findings.distillability import accuracy_of, steps_for
from pydistill.data import load_data


def measured(source: str, seed: int, console: Console) -> dict[str, Any]:
    """One data set."""
    data, begun = load_data(source), time.perf_counter()
    finder = make_finder("distillability")
    found = analyse(data, findings=[finder], seed=seed, device="cpu").findings["distillability"]
    row: dict[str, Any] = {
        "data": data.name,
        "seed": seed,
        "seconds of the curve": time.perf_counter() - begun,
        "values": dict(found.values),
        "summary": found.summary,
        "truth": {},
    }
    network = found.values["network"]
    for name in ("20 %", "100 %"):
        told = found.values["predictions"][name]
        size, begun = told["images"], time.perf_counter()
        accuracies = accuracy_of(data, size, steps_for(size), 1, network, seed, torch.device("cpu"))
        mean = sum(accuracies) / len(accuracies)
        row["truth"][name] = {
            **told,
            "measured": mean,
            "inside": told["low"] <= mean <= told["high"],
            "seconds": time.perf_counter() - begun,
        }
    console.print(row["data"], row["truth"])
    return row


def main() -> None:
    """Every data set, written when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="+", help="as load_data takes it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console, rows = Console(width=110), []
    for source in given.data:
        rows.append(measured(source, given.seed, console))
        measure.write(RESULTS / "curve.json", "curve of accuracy by random images", rows)


if __name__ == "__main__":
    main()
