"""Every operator against plain torch on this machine, as one table: ``make bench``.

    python -m benchmarks.kernels.summary [--full] [--rounds 5]

Runs each operator's own benchmark in a process of its own, one after the other, and gathers what they
wrote: times faster than plain torch, and its share of plain torch's peak memory. ``--full`` measures every
size and format and replaces each operator's file in ``benchmarks/results``; else the main sizes are
measured, and only the summary is kept.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measure

OPERATORS = ("norm_relu_pool", "siamese_augment", "gram", "mmd", "gradient_distance", "conv3x3")
RESULTS = measure.ROOT / "benchmarks" / "results"


def lines(operator: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    """An operator's rows, reduced to what all have."""
    found = []
    for row in content["rows"]:
        faster = next(
            row[key] for key in ("times faster than eager", "times faster than plain") if key in row
        )
        share = next(
            (value for key, value in row.items() if key.startswith("share of") and "peak" in key), None
        )
        case = [
            str(value) if isinstance(value, str) else f"{key} {value}"
            for key, value in row.items()
            if isinstance(value, str | int | list) and not isinstance(value, bool)
        ]
        found.append({"operator": operator, "case": ", ".join(case), "faster": faster, "memory": share})
    return found


def main() -> None:
    """Run, gather, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for operator in OPERATORS:
            out = (RESULTS if given.full else Path(folder)) / f"{operator}.json"
            command = [sys.executable, "-m", f"benchmarks.kernels.{operator}", "--out", str(out)]
            command += ["--rounds", str(given.rounds), *([] if given.full else ["--quick"])]
            subprocess.run(command, cwd=measure.ROOT, check=True, stdout=subprocess.DEVNULL)
            rows += lines(operator, json.loads(out.read_text()))
    measure.write(RESULTS / "operators.json", "operators", rows, rounds=given.rounds)
    table = Table("operator", "case", "x plain torch", "share of its peak memory")
    for row in rows:
        share = "-" if row["memory"] is None else f"{row['memory']:.0%}"
        table.add_row(row["operator"], row["case"], f"{row['faster']:.1f}", share)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
