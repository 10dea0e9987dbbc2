"""Methods side by side: equal wall time to distil, one protocol, random selection at every factor.

    python -m benchmarks.methods.equal_time DATA --name fashion_mnist_ipc10 --ipc 10 --minutes 3 --seeds 3

A row is a method's quick preset with options, such as ``--row "dm factor=2"``; without ``--row``, every
iterative method. Its iterations are as many as fit into the budget: a few are timed first, then the run is
an ordinary one of that many, whose wall time is reported. Every finished set is written to
``benchmarks/results/equal_time/NAME.json`` at once; a row is taken up where it was left, and kept as long
as its settings and the code it rests on are the same. ``random`` gets ten draws of a network each, at each
factor that occurs. Intervals are of the difference to ``random`` at the row's own factor, over draws and
networks (two-level bootstrap, 95 %).

Three accuracies stand side by side: of fresh networks by the protocol; of kernel ridge regression on the
set in each of those networks' features; and, where a method learns a set for one use, of that use (a
kernel, or the training that was differentiated), beside ten random selections a set used in the same way.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measure
from benchmarks.code import digest
from pydistill.data import RealData, load_data
from pydistill.data.distilled import DistilledData
from pydistill.data.recipe import TRAINED, Recipe
from pydistill.distill import distill
from pydistill.evaluate import Protocol, Report, evaluate, named
from pydistill.evaluate.statistics import difference, summarise
from pydistill.evaluate.train import PRECISIONS
from pydistill.files import write_text
from pydistill.method import Method, make_method, methods
from pydistill.nets import parse
from pydistill.pictures import grid, write_picture
from pydistill.problem import make_problem

RESULTS = measure.ROOT / "benchmarks" / "results" / "equal_time"
DRAWS = 10
TIMED_TURNS, TIMED_SECONDS = 3, 1.0
"""At least so many turns, and so many seconds of them, are timed before a run is fitted into its budget."""


def rows(wanted: list[str]) -> list[str]:
    """The rows asked for, or every iterative method; then ``random``, at each factor that occurs."""
    made = wanted or [name for name, kind in methods().items() if kind().steps > 0]
    factors = sorted({options(row).get("factor", 1) for row in made})
    return made + [f"random factor={factor}" for factor in factors]


def options(row: str) -> dict[str, Any]:
    """``dm factor=2 learning_rate=3`` to the options after the name."""
    found: dict[str, Any] = {}
    for part in row.split()[1:]:
        name, _, value = part.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def configured(row: str, network: str, iterations: int) -> Method:
    """The method of a row."""
    name = row.split()[0]
    known = {f.name for f in dataclasses.fields(methods()[name])}
    common = {"network": network, "iterations": iterations}
    preset = "quick" if methods()[name]().steps else None
    return make_method(name, preset, **{k: v for k, v in common.items() if k in known} | options(row))


def fitting(row: str, data: RealData, network: str, ipc: int, seconds: float) -> int:
    """How many iterations fit into the budget, from the time of a few turns after the first."""
    method = configured(row, network, 10_000)
    turn = getattr(method, "steps_per_network", 1)
    problem = make_problem(data, ipc=ipc, seed=10_000)
    begun = time.perf_counter()
    state = method.start(problem)
    for index in range(turn):
        method.step(problem, state, index)
    measure.wait()
    first, turns = time.perf_counter(), 0
    while turns < TIMED_TURNS or time.perf_counter() - first < TIMED_SECONDS:
        turns += 1
        for index in range(turn * turns, turn * (1 + turns)):
            method.step(problem, state, index)
        measure.wait()
    each = (time.perf_counter() - first) / (turn * turns)
    left = seconds - (first - begun) + turn * each
    return max(turn, int(left / each) // turn * turn)


def one(row: str, data: RealData, arguments: argparse.Namespace, seed: int) -> tuple[DistilledData, dict]:
    """Distil once, evaluate, and say what was found."""
    iterations = 1
    if not row.startswith("random "):
        iterations = fitting(row, data, arguments.network, arguments.ipc, 60 * arguments.minutes)
    method = configured(row, arguments.network, iterations)
    begun = time.perf_counter()
    made = distill(data, method, ipc=arguments.ipc, seed=seed)
    seconds = time.perf_counter() - begun
    protocol = named(
        "quick",
        architectures=(arguments.network,),
        kernels=(TRAINED,),
        precision=arguments.precision,
        repeats=1 if row.startswith("random ") else arguments.repeats,
        random_draws=0,
        whole=False,
        split=arguments.split,
    )
    report = evaluate(dataclasses.replace(made, recipe=without_training(made)), data, protocol)
    values = {name: by_name(report, name)["distilled"] for name in report.architectures}
    return made, {
        "seed": seed,
        "values": values.pop(arguments.network),
        "values in features": next(iter(values.values())),
        "as learned": as_learned(made, data, protocol, seed),
        "iterations": method.steps,
        "distilling seconds": seconds,
        "evaluating seconds": report.seconds,
        "options": method.config(),
    }


def without_training(made: DistilledData) -> Recipe:
    """The recipe less the training that the set was learned through, which is scored apart."""
    return dataclasses.replace(made.recipe, training=None)


def as_learned(made: DistilledData, data: RealData, protocol: Protocol, seed: int) -> dict[str, Any]:
    """Accuracies of the set and of random selections of its own, each used as the set was learned."""
    if not made.recipe.usable_alone:
        return {}
    alone = dataclasses.replace(
        protocol, architectures=(), kernels=(), repeats=1, random_draws=DRAWS, seed=seed
    )
    report = evaluate(made, data, alone)
    return {name: by_name(report, name) for name in report.architectures}


def by_name(report: Report, name: str) -> dict[str, list[float]]:
    """Accuracies by what was trained on."""
    return {
        source: [run.value for run in report.runs if (run.architecture, run.source) == (name, source)]
        for source in report.sources(name)
    }


def code(row: str, network: str) -> str:
    """A digest of the code that a row rests on."""
    used = [methods()[row.split()[0]], type(parse(network)), distill, evaluate, load_data]
    return digest(each.__module__ for each in used)


def table(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A summary a row, with its difference to random selection at the same factor and to ``dm``."""
    found = []
    kept = content["rows"]
    for name, row in kept.items():
        sets = [each["values"] for each in row["sets"]]
        if not sets:
            continue
        mean = summarise([value for values in sets for value in values])
        facts: dict[str, Any] = {"row": name, "mean": mean.mean, "std": mean.std, "n": mean.n}
        facts["sets"], facts["networks a set"] = len(sets), len(sets[0])
        for key in ("iterations", "distilling seconds"):
            facts[key] = sorted(each[key] for each in row["sets"])[len(sets) // 2]
        against = {"random": f"random factor={options(name).get('factor', 1)}", "dm": "dm"}
        for label, other in against.items():
            theirs = [each["values"] for each in kept.get(other, {}).get("sets", [])]
            if other != name and theirs and not name.startswith("random"):
                gap = difference(sets, theirs)
                facts[f"less {label}"] = [gap.mean, gap.low, gap.high]
        inside = [value for each in row["sets"] for value in each["values in features"]]
        facts["mean in features"] = summarise(inside).mean
        facts["as learned"] = {use: used(row["sets"], use) for use in row["sets"][0]["as learned"]}
        found.append(facts)
    return found


def used(sets: list[dict[str, Any]], use: str) -> dict[str, Any]:
    """Sets in one use, and how far they are from random selections in the same use."""
    own = [each["as learned"][use]["distilled"] for each in sets]
    drawn = [[value] for each in sets for value in each["as learned"][use]["random"]]
    mean = summarise([value for values in own for value in values])
    gap = difference(own, drawn)
    random = summarise([value for values in drawn for value in values])
    return {
        "mean": mean.mean,
        "std": mean.std,
        "n": mean.n,
        "random": random.mean,
        "random std": random.std,
        "less random": [gap.mean, gap.low, gap.high],
    }


def use_text(item: tuple[str, dict[str, Any]]) -> str:
    """One use of a row's sets, in words."""
    use, found = item
    own = f"{100 * found['mean']:.1f} ± {100 * found['std']:.1f}"
    return f"{use}: {own}, random {100 * found['random']:.1f} ± {100 * found['random std']:.1f}"


def show(content: dict[str, Any], console: Console) -> None:
    """The table, on the console."""
    columns = (
        "method",
        "accuracy",
        "less random",
        "less dm",
        "in features",
        "as learned",
        "steps",
        "s",
        "n",
    )
    shown = Table(*columns)
    for facts in table(content):
        gaps = [
            f"{100 * gap[0]:+.1f} ({100 * gap[1]:+.1f}..{100 * gap[2]:+.1f})" if gap else "-"
            for gap in (facts.get("less random"), facts.get("less dm"))
        ]
        shown.add_row(
            facts["row"],
            f"{100 * facts['mean']:.1f} ± {100 * facts['std']:.1f}",
            *gaps,
            f"{100 * facts['mean in features']:.1f}",
            "\n".join(map(use_text, facts["as learned"].items())) or "-",
            str(facts["iterations"]),
            f"{facts['distilling seconds']:.0f}",
            f"{facts['sets']} x {facts['networks a set']}",
        )
    console.print(shown)


def main() -> None:
    """Run what is missing, write after every set, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--network", default="convnet:width=64")
    parser.add_argument("--minutes", type=float, default=3.0, help="of distilling, a set")
    parser.add_argument("--seeds", type=int, default=3, help="sets a row")
    parser.add_argument("--repeats", type=int, default=2, help="networks trained on a set")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="networks are trained in"
    )
    parser.add_argument("--row", action="append", default=[], help='"METHOD option=value ..."; repeatable')
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="minutes; then resume later")
    arguments = parser.parse_args()
    console, begun = Console(width=160), time.perf_counter()
    data = load_data(arguments.data)
    path = RESULTS / f"{arguments.name}.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    wanted = rows(arguments.row)
    common = {
        key: getattr(arguments, key)
        for key in ("ipc", "network", "minutes", "repeats", "split", "precision")
    } | {"data": data.fingerprint}
    for name in wanted:
        settings = common | {"code": code(name, arguments.network)}
        row = content["rows"].get(name)
        if row is None or row["settings"] != settings:
            row = content["rows"][name] = {"settings": settings, "commit": measure.commit(), "sets": []}
        count = DRAWS if name.startswith("random ") else arguments.seeds
        for seed in range(len(row["sets"]), count):
            if time.perf_counter() - begun > 60 * arguments.stop_after:
                console.print("stopped; run the same command again to go on")
                return
            made, facts = one(name, data, arguments, seed)
            row["sets"].append(facts)
            if seed == 0:
                picture = grid(first_images(made), columns=min(10, 2 * arguments.ipc))
                write_picture(picture, RESULTS / f"{arguments.name}-{slug(name)}.png")
            save(path, content, arguments)
            values = " ".join(f"{100 * value:.1f}" for value in facts["values"])
            console.print(f"{name}, seed {seed}: {values} %, {facts['distilling seconds']:.0f} s")
    show(content, console)


def first_images(made: DistilledData) -> list[tuple[str, Any]]:
    """A row a class of stored images, as pixels."""
    pixels, classes = made.pixels(), made.classes
    return [(name, pixels[classes == at]) for at, name in enumerate(made.task.class_names)]


def slug(row: str) -> str:
    """A row's name as part of a file's."""
    return row.replace(" ", "-").replace("=", "").replace(":", "").replace(",", "")


def save(path: Path, content: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Write all that is known so far."""
    facts = {
        "benchmark": "equal_time",
        "command": "python -m benchmarks.methods.equal_time "
        + " ".join(
            [
                Path(arguments.data).name,
                *(f"--{k} {getattr(arguments, k)}" for k in ("name", "ipc", "network")),
            ]
        )
        + f" --minutes {arguments.minutes:g} --seeds {arguments.seeds} --repeats {arguments.repeats}"
        + f" --split {arguments.split} --precision {arguments.precision}"
        + "".join(f' --row "{row}"' for row in arguments.row),
        "machine": measure.describe(measure.DEVICE),
        "table": table(content),
        "rows": content["rows"],
    }
    write_text(path, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
