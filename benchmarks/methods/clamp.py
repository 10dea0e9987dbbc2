"""What it costs to keep learned images within the range of pixels: while they are learned, and on export.

    python -m benchmarks.methods.clamp DATA --name fashion_mnist_ipc10

Each row is a method's quick preset with options, distilled from several seeds with and without ``clamp``.
Networks are then trained, on the validation split, on the set without clamp as it is; on the same as its
pictures have it, clamped and rounded to 8 bits, and stretched and restored (``as_exported``); and on the
set that was learned under ``clamp``. Beside the accuracies stands the share of pixels that lay outside.
Figures are means over seeds and networks; differences are within a seed.
"""

import argparse
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.methods.equal_table import options
from pydistill.data import DistilledData, RealData, load_data
from pydistill.data.folder_export import loss_of
from pydistill.engine.run import distill
from pydistill.evaluation import evaluate
from pydistill.evaluation.statistics import summarise

RESULTS = measure.ROOT / "benchmarks" / "results"
SIDES = ("as learned", "clamped pictures", "stretched pictures", "clamp while learned")


def sides(free: DistilledData, clamped: DistilledData) -> dict[str, DistilledData]:
    """The sets to be compared."""
    made = (free, free.as_exported("clamp"), free.as_exported("range"), clamped)
    return dict(zip(SIDES, made, strict=True))


def scored(made: DistilledData, data: RealData, network: str, repeats: int) -> list[float]:
    """Validation accuracy of each network trained on a set, with class labels."""
    report = evaluate(
        made, data, "quick", architectures=(network,), kernels=(), repeats=repeats, labels="classes",
        random_draws=0, whole=False, split="validation",
    )  # fmt: skip
    return [run.value for run in report.runs if run.architecture == network]


def run(row: str, data: RealData, given: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Every side of one row, from every seed."""
    name, *_ = row.split()
    values: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    outside: list[dict[str, Any]] = []
    seconds: dict[str, list[float]] = {"free": [], "clamped": []}
    for seed in range(given.seeds):
        common = {"ipc": given.ipc, "seed": seed, "preset": "quick", **options(row)}
        free = distill(data, name, **common)
        clamped = distill(data, name, clamp=True, **common)
        seconds["free"].append(free.provenance.seconds)
        seconds["clamped"].append(clamped.provenance.seconds)
        outside.append(loss_of(free.pixels(), "clamp").record())
        for side, made in sides(free, clamped).items():
            values[side].append(scored(made, data, given.network, given.repeats))
        told = ", ".join(f"{side} {100 * summarise(found[-1]).mean:.1f}" for side, found in values.items())
        console.print(f"{row}, seed {seed}: {told}")
    return {"values": values, "outside": outside, "seconds": seconds}


def main() -> None:
    """Run every row, write, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--network", default="convnet:width=32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="networks trained on a set")
    parser.add_argument("--row", action="append", default=[], help='"METHOD option=value ..."; repeatable')
    given = parser.parse_args()
    data, console = load_data(given.data), Console(width=110)
    common = f"network={given.network} iterations=200 batch_real=64"
    rows = {
        row: run(row, data, given, console) for row in given.row or [f"{m} {common}" for m in ("dm", "mmd")]
    }
    path = RESULTS / f"clamp_{given.name}.json"
    facts = {"ipc": given.ipc, "seeds": given.seeds, "repeats": given.repeats, "split": "validation"}
    measure.write(path, "clamp", rows, data=given.name, fingerprint=data.fingerprint, **facts)
    shown = Table("row", *SIDES, "outside")
    for row, found in rows.items():
        means = [summarise([v for each in found["values"][side] for v in each]) for side in SIDES]
        share = summarise([each["outside"] for each in found["outside"]]).mean
        shown.add_row(
            row,
            *(f"{100 * each.mean:.1f} ± {100 * each.std:.1f}" for each in means),
            f"{100 * share:.0f} %",
        )
    console.print(shown)


if __name__ == "__main__":
    main()
