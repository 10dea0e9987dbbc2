"""Selectors beside each other and beside random selection: one evaluation, several budgets.

    python -m benchmarks.selection.side_by_side DATA --name fashion_mnist --budget ipc=10 \
        --budget fraction=5%:600

Every row is made of ``--seeds`` selections from different seeds, a network each; where a selector draws
nothing, one selection with as many networks. ``random`` has ``--draws`` draws of a network each. Networks
are trained by the protocol ``quick`` with class labels; behind a colon stands in how many steps, instead of
its 300 epochs. Scores (of networks that learn the training images) are computed once for all selectors and
kept in ``--scores``; their time is told apart from that of choosing. With ``--noise 0.2`` that share of the
training labels is changed first. ``--row "NAME option=value"`` names rows; without it every selector is
one, and ``dm`` and ``mmd`` stand beside them at ``ipc=10``. Scored on the test split, once a network,
unless ``--split validation``. Results go to ``benchmarks/results/selection/NAME.json`` row by row,
and a table beside; rows that are there already are not made again unless their settings differ.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import measure
from benchmarks.selection.plant import with_noise
from pydistill.budget import Budget
from pydistill.data import RealData, load_data
from pydistill.engine.method import make_method, methods, option_types
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.evaluation import evaluate
from pydistill.evaluation.protocol import named
from pydistill.evaluation.statistics import difference, summarise
from pydistill.scores import compute_scores
from pydistill.selection.base import Selector
from pydistill.storage.files import write_text

RESULTS = measure.ROOT / "benchmarks" / "results" / "selection"
DISTILLED = ("dm preset=quick factor=1", "mmd preset=quick factor=1")


def rows_of(given: argparse.Namespace, budget: str) -> list[str]:
    """What is measured at a budget, ``random`` first."""
    if given.row:
        return ["random", *given.row]
    known = [name for name, kind in methods().items() if issubclass(kind, Selector)]
    known = [name for name in known if "classification" in methods()[name].tasks]
    return ["random", *known, *(DISTILLED if budget.startswith("ipc=10") else ())]


def parsed(row: str) -> tuple[str, dict[str, Any]]:
    """A method's name and options."""
    name, *words = row.split()
    options: dict[str, Any] = {}
    kinds = option_types(methods()[name])
    for word in words:
        key, _, value = word.partition("=")
        options[key] = value if key == "preset" else kinds[key][0](value)
    return name, options


def measured(
    data: RealData, row: str, budget: Mapping[str, str], steps: int | None, given: argparse.Namespace
) -> dict[str, Any]:
    """One row: its selections or sets, each with the accuracies of its networks."""
    name, options = parsed(row)
    kind = methods()[name]
    if "scores" in option_types(kind):
        options["scores"] = given.scores
    size = {key: value if key == "fraction" else int(value) for key, value in budget.items()}
    own = {} if given.batch_size is None else {"batch_size": given.batch_size}
    protocol = named(
        "quick", architectures=(given.network,), split=given.split, whole=False, random_draws=0, **own
    )
    seeds, repeats = (given.draws, 1) if name == "random" else (given.seeds, 1)
    if issubclass(kind, Selector) and _draws_nothing(data, name, options, size):
        seeds, repeats = 1, given.seeds
    sets = []
    for seed in range(seeds):
        begun = time.perf_counter()
        made = distill(data, name, seed=seed, **size, **options)
        took = time.perf_counter() - begun
        epochs = protocol.epochs
        if steps:
            epochs = max(1, round(steps / -(-len(made) // protocol.batch_size)))
        report = evaluate(
            made, data, protocol, repeats=repeats, epochs=epochs, seed=seed, labels="classes", device="cpu"
        )
        sets.append(
            {
                "seed": seed,
                "accuracies": [run.value for run in report.runs],
                "seconds": took,
                "training_seconds": sum(run.seconds for run in report.runs),
                "steps": report.steps,
                "images": len(made),
                "bytes": made.nbytes["total"],
            }
        )
    return {"row": row, "options": {k: v for k, v in options.items() if k != "scores"}, "sets": sets}


def _draws_nothing(data: RealData, name: str, options: Mapping[str, Any], size: Mapping[str, Any]) -> bool:
    """Whether two seeds select the same images; random weights of an embedding count as drawing."""
    if options.get("embedding", "random") == "random" and "embedding" in option_types(methods()[name]):
        return False
    selector = make_method(name, **options)
    assert isinstance(selector, Selector)
    found = [
        selector.select(make_problem(data, budget=Budget.of(**size), seed=seed, device="cpu"))
        for seed in (0, 1)
    ]
    return torch.equal(found[0].indices, found[1].indices)


def _flat(values: list[list[float]]) -> list[float]:
    return [each for one in values for each in one]


def table(budget: str, rows: list[dict[str, Any]]) -> str:
    """A budget's rows, best first."""
    values = {each["row"]: [run["accuracies"] for run in each["sets"]] for each in rows}
    random = values.get("random")
    lines = [f"\n{budget}, {rows[0]['sets'][0]['images']} images, {rows[0]['sets'][0]['steps']} steps\n"]
    lines += ["| selector | accuracy | less random, 95 % | seconds |", "|---|---|---|---|"]
    for each in sorted(rows, key=lambda row: -summarise(_flat(values[row["row"]])).mean):
        found = summarise(_flat(values[each["row"]]))
        cell = f"{100 * found.mean:.1f} ± {100 * found.std:.1f} ({found.n})"
        gap = ""
        if random is not None and each["row"] != "random":
            less = difference(values[each["row"]], random)
            gap = f"{100 * less.low:+.1f} to {100 * less.high:+.1f}"
            gap = f"**{gap}**" if less.resolved and less.low > 0 else gap
        seconds = sum(run["seconds"] for run in each["sets"]) / len(each["sets"])
        lines.append(f"| `{each['row']}` | {cell} | {gap} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Every budget and row, written as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--budget", action="append", required=True, help="KIND=VALUE[:STEPS]; repeatable")
    parser.add_argument("--row", action="append", help="NAME option=value ...; repeatable")
    parser.add_argument("--network", default="convnet:width=64")
    parser.add_argument("--scores", required=True, help="folder of the scores, made where it is missing")
    parser.add_argument("--score-network", default="auto")
    parser.add_argument("--score-epochs", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, help="where it is not the protocol's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args()
    console, data = Console(width=110), load_data(given.data)
    if given.noise:
        data = with_noise(data, given.noise)
    scores = compute_scores(
        data, given.score_network, epochs=given.score_epochs, folder=given.scores, device="cpu",
        on_event=lambda event: console.print(event),
    )  # fmt: skip
    path = given.results / f"{given.name}.json"
    settings = {
        "network": given.network, "split": given.split, "noise": given.noise, "seeds": given.seeds,
        "draws": given.draws, "fingerprint": data.fingerprint, "scores": scores.training.record(),
    }  # fmt: skip
    if given.batch_size is not None:
        settings["batch size"] = given.batch_size
    budgets: dict[str, list[dict[str, Any]]] = {}
    if path.exists():
        found = json.loads(path.read_text())
        if found["settings"] == settings:
            budgets = found["rows"]
    for text in given.budget:
        budget, _, steps = text.partition(":")
        key, _, value = budget.partition("=")
        rows = budgets.setdefault(text, [])
        for row in rows_of(given, budget):
            if any(each["row"] == row for each in rows):
                continue
            rows.append(measured(data, row, {key: value}, int(steps) if steps else None, given))
            facts = {"data": data.name, "settings": settings, "score_seconds": scores.seconds}
            measure.write(path, "selection side by side", budgets, **facts)
            write_text(path.with_suffix(".md"), "".join(table(each, budgets[each]) for each in budgets))
            console.print(f"{text} {row}: {[run['accuracies'] for run in rows[-1]['sets']]}")
    console.print(path.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
