"""Seconds of distilling against accuracy of kernel ridge regression: KIP at several sizes and settings.

    python -m benchmarks.methods.kernel_regression DATA --name cifar10 --row "ipc=10 preprocess=zca"

A row is the quick preset of ``kip`` with options, with ``ipc`` and ``preprocess`` beside them. It is run
once for each budget, with as many iterations as fit into it, since a schedule must know its end; what
counts is the wall time that the run then took. Every set is scored on the validation split, that of the
longest run once on the test split, and so are ten random selections of as many images in the same kernel. A
row that is done is kept as long as its settings and the code it rests on are the same.
"""

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.chart import chart
from benchmarks.methods.equal_scores import DRAWS, by_name
from benchmarks.methods.equal_table import options, percent
from benchmarks.methods.equal_time import code, configured, fitting
from pydistill.data import DistilledData, RealData, load_data
from pydistill.data.pictures import write_picture
from pydistill.engine.run import distill
from pydistill.evaluation import Protocol, evaluate
from pydistill.evaluation.statistics import summarise

RESULTS = measure.ROOT / "benchmarks" / "results"
BUDGETS = (2.5, 5.0, 10.0, 20.0, 60.0)
"""Seconds to distil in."""
OURS = ("ipc", "preprocess")
"""Options of a row that are not the method's."""


def scored(made: DistilledData, data: RealData, split: str, draws: int) -> dict[str, list[float]]:
    """Accuracies of the set and of random selections, in the set's kernel."""
    protocol = Protocol(architectures=(), random_draws=draws, whole=False, split=split)
    report = evaluate(made, data, protocol)
    return by_name(report, report.architectures[0])


def run(row: str, given: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Points of one row, and what it came to."""
    own = options(f"kip {row}")
    chosen = " ".join(part for part in row.split() if part.partition("=")[0] not in OURS)
    data = load_data(given.data, preprocess=own.get("preprocess", "standardise"))
    ipc, points = own.get("ipc", 10), []
    for budget in BUDGETS:
        method = configured(f"kip {chosen}", "", fitting(f"kip {chosen}", data, "", ipc, budget))
        made = distill(data, method, ipc=ipc)
        seconds, steps = made.provenance.seconds, method.steps
        values = scored(made, data, "validation", 0)["distilled"]
        points.append({"seconds": seconds, "steps": steps, "mean": values[0], "values": values})
        console.print(f"{row}: {seconds:.1f} s, {steps} steps, {100 * values[0]:.1f} %")
    last = scored(made, data, "test", DRAWS)
    random = summarise(last["random"])
    return {
        "points": points,
        "test": last["distilled"][0],
        "random": {"mean": random.mean, "std": random.std, "n": random.n},
        "options": dict(made.provenance.config),
    }


def main() -> None:
    """Run the rows that are missing, write after each, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--row", action="append", default=[], help='"ipc=10 option=value ..."; repeatable')
    given = parser.parse_args()
    console, path = Console(width=110), RESULTS / f"kernel_regression_{given.name}.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else {}
    found: dict[str, dict[str, Any]] = {}
    for row in given.row:
        settings = {"budgets": list(BUDGETS), "code": code("kip", "convnet")}
        if row in kept and kept[row]["settings"] == settings:
            found[row] = kept[row]
            continue
        found[row] = {"settings": settings, "commit": measure.commit(), **run(row, given, console)}
        measure.write(path, "kernel_regression", found, data=given.name)
        sides = {name: side["points"] for name, side in found.items()}
        write_picture(chart(sides), path.with_suffix(".png"))
    shown = Table("row", "test", "random", "steps", "seconds")
    for row, side in found.items():
        last, random = side["points"][-1], side["random"]
        shown.add_row(
            row,
            f"{100 * side['test']:.1f}",
            f"{percent(random['mean'], random['std'])} ({random['n']})",
            str(last["steps"]),
            f"{last['seconds']:.0f}",
        )
    console.print(shown)


if __name__ == "__main__":
    main()
