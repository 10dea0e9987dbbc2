"""Restate the digests of kept rows whose code changed but not what it does.

    git worktree add ../before COMMIT && (cd ../before && python setup.py build_ext --inplace)
    python -m benchmarks.methods.restate DATA NAME --before ../before

A row of ``benchmarks/results/equal_time`` is kept as long as the digest of the code it rests on is the
same. Where that code was only rearranged, this shows it: for every row whose digest is another one now, the
code of ``before`` (what made the row, its extension built) and the present code do two steps of the row's
method and a short evaluation, each in a process of its own. Where the set and the networks' scores are the
same to the bit, the present digest is written to the row; what came of kernels is taken out of it where
their scores differ. All other rows stay as they are, and are made again when the table is.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.methods.equal_scores import outdated
from benchmarks.methods.equal_table import RESULTS, baseline, kind, options
from benchmarks.methods.equal_time import code
from benchmarks.sides import ask
from pydistill.storage.files import write_text

STEPS = 2


def job(row: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What both sides do for a row."""
    known = kind(row)
    common = {"network": settings["network"], "iterations": STEPS}
    given = {name: value for name, value in common.items() if hasattr(known, name)} | options(row)
    shared = {name: settings[name] for name in ("ipc", "network", "split", "precision")}
    preset = None if baseline(row) else "quick"
    return {"row": row, "method": known.name, "preset": preset, "options": given, **shared}


def restated(row: dict[str, Any], before: dict[str, str], now: dict[str, str], digest: str) -> str:
    """Change a row where both sides agree, and say what was done."""
    failed = {side: each["failed"] for side, each in (("before", before), ("now", now)) if "failed" in each}
    if failed:
        return f"stays: {'; '.join(f'{side}: {words}' for side, words in failed.items())}"
    differing = [name for name in ("set", "networks") if before[name] != now[name]]
    if differing:
        return f"stays: {' and '.join(differing)} differ"
    row["settings"]["code"] = digest
    if before["kernels"] == now["kernels"]:
        return "the same to the bit"
    for each in row["sets"]:
        each["values in features"], each["as learned"] = [], {}
    return "the same to the bit but for kernels, whose figures go"


def main() -> None:
    """Ask both sides, restate, say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("name", help="of the result")
    parser.add_argument(
        "--before", type=Path, required=True, help="a checkout of the code that made the rows"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results (default %(default)s)")
    arguments = parser.parse_args()
    path = arguments.out / f"{arguments.name}.json"
    content = json.loads(path.read_text())
    stale = {
        name: row
        for name, row in content["rows"].items()
        if row["sets"] and row["settings"]["code"] != code(name, row["settings"]["network"])
    }
    for name in [name for name, row in stale.items() if any(map(outdated, row["sets"]))]:
        print(f"{name}: stays: its labels were learned, and it lacks figures with class labels")
        del stale[name]
    data = str(Path(arguments.data).resolve()) if Path(arguments.data).exists() else arguments.data
    jobs = [job(name, row["settings"]) for name, row in stale.items()]
    before, now = ask([arguments.before.resolve(), measure.ROOT], data, jobs)
    for name, row in stale.items():
        digest = code(name, row["settings"]["network"])
        print(f"{name}: {restated(row, before[name], now[name], digest)}")
    write_text(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
