"""Whether the present tree gives the results of another commit, to the bit: a row a method.

    python -m benchmarks.same_results COMMIT [--row dm] [--row "idc factor=2"] [--restate]

The commit is checked out beside the present tree and its extension built. Both sides distil digits on one
thread by every registered method: its quick preset in a few steps of small networks, with factor 1 and 2
where it has one, with learned labels and experts' labels where it learns them, experts of its own trained
first. Compared are the set, the set of a run that was ended half-way and taken up from its checkpoint, and
every run of a short evaluation of it, with class labels or as stored, by networks and by kernels.

With ``--restate``, where all rows are equal, rows of ``benchmarks/results/equal_time`` whose digest is that
commit's get the present code's: what they rest on was rearranged and does the same.

Exit code 1 where a row differs.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import ROOT
from benchmarks.methods.equal_table import RESULTS, kind, options
from benchmarks.sides import ask, checkout
from pydistill.engine.method import Method, methods
from pydistill.storage.files import write_text

NETWORK = "convnet:width=8,depth=2"
SMALL: dict[str, Any] = {
    "iterations": 4,
    "network": NETWORK,
    "batch_real": 16,
    "steps_per_network": 2,
    "inner_steps": 4,
    "inner_batch": 8,
    "window": 2,
    "teacher_steps": 5,
    "width": 16,
    "own_epochs": 2,
    "own_snapshots": 4,
    "own_experts": "epochs=2,snapshots=4,rate=0.05",
    "expert_epochs": 2,
    "last_start": 2,
    "last_at_first": 1,
    "grow_until": 2,
}
"""Options that make a run short; a side leaves out those that its method does not have."""

VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"factor": 1},
    {"factor": 2},
    {"learn_labels": True},
    {"learn_labels": False},
    {"labels": "expert"},
    {"keep_every": 2},
    {"augment": "color_crop_cutout_flip_scale_rotate"},
)
"""What a method is asked for beside its quick preset, where it has the option and another value of it."""

PARTS = ("set", "resumed", "networks", "kernels")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def rows() -> list[str]:
    """Every method with each variant that it bears."""
    return [
        " ".join([name, *(f"{key}={_said(value)}" for key, value in variant.items())])
        for name, method in methods().items()
        if "classification" in method.tasks  # which the data is for
        for variant in VARIANTS
        if _another(method, variant)
    ]


def _another(method: type[Method], variant: Mapping[str, Any]) -> bool:
    """Whether a method has the options of a variant, and its quick preset other values of them."""
    preset = method.presets["quick"]
    usual = {f.name: preset.get(f.name, f.default) for f in dataclasses.fields(method)}
    return all(key in usual and usual[key] != value for key, value in variant.items())


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def job(row: str) -> dict[str, Any]:
    """What both sides do for a row."""
    method = kind(row)
    return {
        "row": row,
        "method": method.name,
        "preset": "quick",
        "small": SMALL,
        "options": options(row),
        "ipc": 4,
        "network": NETWORK,
        "split": "validation",
        "precision": "float32",
        "resume": method().steps > 0,
    }


def known(tree: Path) -> set[str]:
    """Methods that a checkout has: what came later has no earlier results."""
    asked = "import json; from pydistill.engine.method import methods; print(json.dumps(list(methods())))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def verdict(part: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is said of one part of a row."""
    if part not in before and part not in now:
        return "-"
    if part not in before or part not in now:
        return "only " + ("before" if part in before else "now")
    return "equal" if before[part] == now[part] else "DIFFERS"


def verdicts(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One for each of :data:`PARTS`; where a side fails, its words in the first."""
    failed = [
        f"{side}: {each['failed']}" for side, each in (("before", before), ("now", now)) if "failed" in each
    ]
    if failed:
        return ["FAILS " + "; ".join(failed), *["-"] * (len(PARTS) - 1)]
    found = [verdict(part, before, now) for part in PARTS]
    for side, each in (("before", before), ("now", now)):
        if each.get("resumed", each["set"]) != each["set"]:
            found[PARTS.index("resumed")] += f", NOT the set {side}"
    return found


def restate(tree: Path) -> int:
    """Give kept rows that rest on the code of ``tree`` the present digests; how many were changed."""
    changed = 0
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text())
        kept = {name: row for name, row in content["rows"].items() if "code" in row["settings"]}
        asked = [(name, row["settings"]["network"]) for name, row in kept.items()]
        before, now = (digests(side, asked) for side in (tree, ROOT))
        for name, row in kept.items():
            if before[name] is not None and row["settings"]["code"] == before[name] != now[name]:
                row["settings"]["code"] = now[name]
                changed += 1
        write_text(path, json.dumps(content, indent=1) + "\n")
    return changed


def digests(tree: Path, asked: list[tuple[str, str]]) -> dict[str, str | None]:
    """What the code of a checkout says of rows and their networks; None where it does not know a row."""
    done = subprocess.run(
        [sys.executable, "-c", _DIGESTS, json.dumps(asked)],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return found


_DIGESTS = """
import json, sys
from benchmarks.methods.equal_time import code
found = {}
for row, network in json.loads(sys.argv[1]):
    try:
        found[row] = code(row, network)
    except (KeyError, ValueError):
        found[row] = None
print(json.dumps(found))
"""


def main() -> int:
    """Ask both sides, print, and say by the exit code whether all is equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("commit", help="whose results are the right ones")
    parser.add_argument("--row", action="append", default=[], help='"METHOD option=value ..."; repeatable')
    parser.add_argument("--restate", action="store_true", help="digests of kept rows, where all are equal")
    arguments = parser.parse_args()
    if arguments.restate and arguments.row:
        parser.error("--restate needs every row: leave --row out")
    changed = 0
    with checkout(arguments.commit) as tree:
        there = known(tree)
        wanted = arguments.row or [row for row in rows() if kind(row).name in there]
        before, now = ask([tree, ROOT], "digits", [job(row) for row in wanted], ONE_THREAD)
        table, equal = Table("row", *PARTS), True
        for row in wanted:
            said = verdicts(before[row], now[row])
            equal &= all(word in ("equal", "-") for word in said)
            table.add_row(row, *said)
        if equal and arguments.restate:
            changed = restate(tree)
    Console(width=120).print(table)
    print("all equal" if equal else "not all equal")
    if arguments.restate:
        print(f"{changed} digests restated")
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
