"""Random selection and whole data of a data set, at several budgets and equally many steps, any task.

    python -m benchmarks.methods.selected DATA --name camvid --fraction 5% --fraction 10%

Each budget is evaluated by the protocol ``quick`` of the data's task with as many epochs as come nearest
to ``--steps``: a first selection on ``--repeats`` networks, ``--draws`` more on one network each, and the
whole data on ``--repeats`` networks, once for all budgets that come to the same number of steps. Scores are
of the test split, once a network, after the last step. Seconds are of training one network. Results are
JSON and a table; reports with pictures are left in ``--keep``.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import measure
from pydistill.data import RealData, load_data
from pydistill.engine.run import distill
from pydistill.evaluation import evaluate
from pydistill.evaluation.protocol import suited
from pydistill.evaluation.report import Report
from pydistill.evaluation.statistics import summarise
from pydistill.storage.files import write_text

RESULTS = measure.ROOT / "benchmarks" / "results" / "tasks"


def epochs_for(steps: int, images: int, batch_size: int) -> int:
    """Passes over ``images`` images that come nearest to ``steps`` steps, at least one."""
    return max(1, round(steps / -(-images // batch_size)))


def row(report: Report, source: str, architecture: str) -> dict[str, Any]:
    """What is kept of the networks of one source."""
    runs = [run for run in report.runs if (run.architecture, run.source) == (architecture, source)]
    names = [report.metric, *report.other_names()]
    found = {name: [run.values.get(name) for run in runs] for name in names}
    details = [d for d in report.details if (d.architecture, d.source) == (architecture, source)]
    classes = details[0].classes.values if details else ()
    return {
        "source": source,
        "images": report.sets["classes"][source].images,  # type: ignore[index]  # a source by name
        "bytes": report.sets["classes"][source].nbytes,  # type: ignore[index]
        "values": found,
        "std_over_test_images": [run.spread for run in runs],
        "seconds": [run.seconds for run in runs],
        "classes": dict(zip(report.class_names, classes, strict=False)),
    }


def measured(
    data: RealData, fraction: str, given: argparse.Namespace, kept: Path, console: Console
) -> dict[str, Any]:
    """One budget."""
    small = distill(data, "random", fraction=fraction, seed=given.seed)
    usual = suited("quick", data.task)
    changes: dict[str, Any] = {"architectures": (given.network or data.task.network,)}
    if given.learning_rate:
        changes["learning_rate"] = given.learning_rate
    report = evaluate(
        small, data, "quick", baselines=kept, repeats=given.repeats, random_draws=given.draws,
        epochs=epochs_for(given.steps, len(small), usual.batch_size), seed=given.seed,
        on_event=lambda event: console.print(event) if given.verbose else None, **changes,
    )  # fmt: skip
    if given.keep:
        report.save(Path(given.keep) / f"{given.name}-{fraction.strip('%')}")
    console.print(report.text())
    (architecture,) = report.architectures
    return {
        "fraction": fraction,
        "steps": report.steps,
        "size": dict(report.size),
        "protocol": dict(report.protocol),
        "network": architecture,
        "rows": [row(report, source, architecture) for source in report.sources(architecture)],
        "evaluation_seconds": report.seconds,
        "peak_memory": report.peak_memory,
    }


def table(metric: str, names: Sequence[str], budgets: Sequence[dict[str, Any]]) -> str:
    """A row a budget and source; whole data once."""
    head = ["images", *names, "networks", "training a network"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    whole: list[str] = []
    for budget in budgets:
        for each in budget["rows"]:
            found = {name: summarise([v for v in each["values"][name] if v is not None]) for name in names}
            cells = [f"{100 * found[metric].mean:.1f} ± {100 * found[metric].std:.1f}"]
            cells += [f"{100 * found[name].mean:.1f}" for name in names if name != metric]
            what = {
                "distilled": f"{each['images']} ({budget['fraction']}), one selection",
                "random": f"{each['images']} ({budget['fraction']}), ten selections"
                if found[metric].n == 10
                else f"{each['images']} ({budget['fraction']}), {found[metric].n} selections",
                "whole": f"all {each['images']}",
            }[each["source"]]
            seconds = sum(each["seconds"]) / len(each["seconds"])
            line = "| " + " | ".join([what, *cells, str(found[metric].n), f"{seconds:.0f} s"]) + " |"
            if each["source"] == "whole":
                whole = whole or [line]
            else:
                lines.append(line)
    return "\n".join([*lines, *whole]) + "\n"


def main() -> None:
    """Every budget, written when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--fraction", action="append", required=True, help="a budget; repeatable")
    parser.add_argument("--network", help="default: the task's usual one")
    parser.add_argument("--learning-rate", type=float, help="default: the protocol's")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for reports")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    data, console = load_data(given.data), Console(width=110)
    console.print(data.summary())
    with tempfile.TemporaryDirectory() as folder:
        budgets = []
        for fraction in given.fraction:
            budgets.append(measured(data, fraction, given, Path(folder), console))
            facts = {"data": data.name, "fingerprint": data.fingerprint, "metric": data.task.metric}
            measure.write(RESULTS / f"{given.name}.json", "selected", budgets, **facts)
            names = list(budgets[0]["rows"][0]["values"])
            write_text(RESULTS / f"{given.name}.md", table(data.task.metric, names, budgets))
    console.print(f"wrote {RESULTS / given.name}.json")


if __name__ == "__main__":
    main()
