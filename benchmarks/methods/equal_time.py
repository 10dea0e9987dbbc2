"""Methods side by side: equal wall time to distil, one protocol, random selection at every factor.

    python -m benchmarks.methods.equal_time DATA --name fashion_mnist_ipc10 --ipc 10 --minutes 3 --seeds 3

A row is a method's quick preset with options, such as ``--row "dm factor=2"``; without ``--row``, every
iterative method. Its iterations are as many as fit into the budget: a few are timed first, then the run is
an ordinary one of that many, whose wall time is reported. Every finished set is written to
``benchmarks/results/equal_time/NAME.json`` at once; a row is taken up where it was left, and kept as long
as its settings and the code it rests on are the same. ``random`` gets ten draws of a network each, at each
factor that occurs. Intervals are of the difference to ``random`` at the row's own factor, over draws and
networks (two-level bootstrap, 95 %). ``whole`` trains as many networks as a row does on all real training
images, for the same number of steps.

Every set is scored with class labels under the cross-entropy, where all rows compare; beside it, where
its targets were learned, as it is stored (its targets, its loss, its rate), against random selections used
alike: with their classes, with their classes as values under the squared error, or labelled by the network
that is kept with the set. Where a method learns a set for one use (a kernel, or the training that was
differentiated), that use stands apart, beside ten random selections a set used in the same way. Rows
written before there were these two count as class labels where a method's targets are classes; where it
learned them the row is made again.

Experts, teachers and other networks that a method trains before its first step are part of its budget, and
reported apart. Of the first set of a row, what it was after a tenth and a third of its time is evaluated
too. With ``--keep FOLDER`` every distilled set stays there: a row that is made again while what it was
distilled with is the same is scored again, not distilled again. Beside the JSON stand a table
(``NAME.md``), a chart of accuracy against seconds (``NAME.png``) and a strip of pictures a row. Before
anything is run, the time that is still to come is estimated.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import measure
from benchmarks.chart import chart
from benchmarks.code import digest
from benchmarks.methods.equal_keep import Distilled, keep, kept
from benchmarks.methods.equal_scores import (
    BESIDE,
    CLASSES,
    DRAWS,
    SQUARED,
    STORED,
    accuracies,
    as_learned,
    as_values,
    learned_labels,
    outdated,
    scored,
    scoring,
    without_uses,
)
from benchmarks.methods.equal_table import (
    RESULTS,
    WHOLE,
    baseline,
    factor,
    kind,
    markdown,
    options,
    show,
    table,
)
from pydistill.data import RealData, load_data
from pydistill.data.distilled import DistilledData
from pydistill.data.pictures import grid, write_picture
from pydistill.data.recipe import TRAINED
from pydistill.engine.method import Method, make_method, methods
from pydistill.engine.problem import make_problem
from pydistill.engine.run import collect, distill
from pydistill.evaluation import evaluate, named
from pydistill.machine import PRECISIONS, describe_cpu
from pydistill.nets import parse
from pydistill.storage.files import write_text

MARKS = (0.1, 1 / 3)
"""Shares of the steps after which a row's first set is looked at on the way."""

TIMED_TURNS, TIMED_SECONDS = 3, 1.0
"""At least so many turns, and so many seconds of them, are timed before a run is fitted into its budget."""


def rows(wanted: list[str]) -> list[str]:
    """Those asked for, or every iterative method; ``random`` at each factor that occurs; all data."""
    made = wanted or [name for name, kind in methods().items() if kind().steps > 0]
    return [*made, *(f"random factor={each}" for each in sorted(set(map(factor, made)))), WHOLE]


def plan(row: str, arguments: argparse.Namespace) -> tuple[int, int]:
    """How many sets a row has, and how many networks are trained on each."""
    if row == WHOLE:
        return 1, arguments.seeds * arguments.repeats
    return (DRAWS, 1) if baseline(row) else (arguments.seeds, arguments.repeats)


def configured(row: str, network: str, iterations: int) -> Method:
    """The method of a row."""
    known = {f.name for f in dataclasses.fields(kind(row))}
    common = {"network": network, "iterations": iterations}
    preset = "quick" if kind(row)().steps else None
    return make_method(
        kind(row).name, preset, **{k: v for k, v in common.items() if k in known} | options(row)
    )


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


def distilled(data: RealData, method: Method, ipc: int, seed: int, marks: Sequence[float]) -> Distilled:
    """Distil, timing what is a method's own; sets at ``marks`` are taken outside the clock."""
    problem = make_problem(data, ipc=ipc, seed=seed)
    begun = time.perf_counter()
    state = method.start(problem)
    measure.wait()
    preparing = seconds = time.perf_counter() - begun
    wanted, early = {max(1, round(mark * method.steps)) for mark in marks}, []
    for index in range(method.steps):
        begun = time.perf_counter()
        method.step(problem, state, index)
        measure.wait()
        seconds += time.perf_counter() - begun
        if index + 1 in wanted:
            early.append((seconds, index + 1, collect(problem, method, state, seconds)))
    made = collect(problem, method, state, seconds)
    return Distilled(made, preparing, seconds, early, describe_cpu())


def finished(row: str, data: RealData, arguments: argparse.Namespace, seed: int) -> Distilled:
    """A row's set of a seed: kept from before, or distilled now."""
    folder = None
    if arguments.keep is not None and not baseline(row):
        folder = arguments.keep / arguments.name / slug(row) / str(seed)
        learned = [kind(row), type(parse(arguments.network)), distill, load_data]
        identity = {name: getattr(arguments, name) for name in ("ipc", "network", "minutes")} | {
            "row": row,
            "seed": seed,
            "data": data.fingerprint,
            "code": digest(each.__module__ for each in learned),
        }
        found = kept(folder, identity)
        if found is not None:
            return found
    iterations = 1
    if not baseline(row):
        iterations = fitting(row, data, arguments.network, arguments.ipc, 60 * arguments.minutes)
    method = configured(row, arguments.network, iterations)
    done = distilled(data, method, arguments.ipc, seed, () if baseline(row) or seed else MARKS)
    if folder is not None:
        keep(folder, identity, done)
    return done


def one(row: str, data: RealData, arguments: argparse.Namespace, seed: int) -> tuple[DistilledData, dict]:
    """Distil once, evaluate, and say what was found."""
    done, whole = finished(row, data, arguments, seed), row == WHOLE
    kernels, networks = () if whole else (TRAINED,), plan(row, arguments)[1]
    protocol = scoring(arguments, kernels=kernels, repeats=networks, whole=whole)
    made, source = done.made, "whole" if whole else "distilled"
    found = scored(made, data, protocol, seed, arguments.seeds)
    plain = dataclasses.replace(protocol, kernels=(), labels=CLASSES)
    points = []
    for seconds, steps, early in done.early:
        bare = dataclasses.replace(early, recipe=without_uses(early))
        runs = evaluate(bare, data, plain).runs_of(arguments.network, source)
        points.append({"seconds": seconds, "steps": steps, "values": [run.value for run in runs]})
    return made, {
        "seed": seed,
        **found,
        "as learned": {} if whole else as_learned(made, data, protocol, seed),
        "on the way": points,
        "iterations": made.provenance.steps,
        "preparing seconds": done.preparing,
        "distilling seconds": done.seconds,
        "processor": dict(done.processor),
        "options": dict(made.provenance.config),
    }


def unsquared(content: dict[str, Any], wanted: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Random selections that are not yet scored as values though another row of their factor needs it."""
    needed = {
        factor(name)
        for name, row in content["rows"].items()
        for each in row["sets"]
        if each.get("regimes", {}).get(STORED, {}).get(BESIDE) == SQUARED
    }
    return [
        (name, each)
        for name in wanted
        if name.startswith("random") and factor(name) in needed
        for each in content["rows"][name]["sets"]
        if SQUARED not in each.get("regimes", {})
    ]


def complete(row: str, facts: dict[str, Any], data: RealData, arguments: argparse.Namespace) -> None:
    """Score a random selection, which its seed makes again, with its classes as values."""
    method = configured(row, arguments.network, 1)
    made = distilled(data, method, arguments.ipc, facts["seed"], ()).made
    protocol = scoring(arguments, repeats=plan(row, arguments)[1])
    facts.setdefault("regimes", {})[SQUARED] = as_values(made, data, protocol)


def code(row: str, network: str) -> str:
    """A digest of the code that a row rests on."""
    used = [kind(row), type(parse(network)), distill, evaluate, load_data]
    return digest(each.__module__ for each in used)


def estimate(data: RealData, arguments: argparse.Namespace, missing: Sequence[tuple[str, int]]) -> float:
    """Seconds that the (row, sets) still missing will take: the budget, and evaluations as two short ones.

    Two trainings of a few epochs on a random selection give the time of an epoch and of scoring.
    """
    small, few = distill(data, "random", ipc=arguments.ipc), (3, 13)
    seconds = [
        evaluate(small, data, scoring(arguments, epochs=epochs, repeats=1)).seconds
        for epochs in (few[0], *few)  # the first one only warms up
    ]
    each = max(0.0, seconds[2] - seconds[1]) / (few[1] - few[0])
    network = seconds[1] + each * (named("quick").epochs - few[0])
    total = 0.0
    for row, count in missing:
        distilling, networks = 0.0, float(plan(row, arguments)[1])
        if row == WHOLE:
            networks *= 2  # as many on the selection beside it
        elif not baseline(row):
            distilling = 60 * arguments.minutes
            networks += networks * len(MARKS) / count
            if learned_labels({"options": configured(row, arguments.network, 1).config()}):
                networks += plan(row, arguments)[1]  # as many as stored
        total += count * (distilling + networks * network * factor(row) ** 2)
    return total


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
        "--precision",
        type=measure.precision,
        choices=PRECISIONS,
        default="float32",
        help="networks are trained in; auto: what this machine multiplies natively",
    )
    parser.add_argument("--row", action="append", default=[], help='"METHOD option=value ..."; repeatable')
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder where finished sets are kept, to be scored again")
    parser.add_argument("--stop-after", type=float, default=float("inf"), help="minutes; then resume later")
    arguments = parser.parse_args()
    console, begun = Console(width=160), time.perf_counter()
    data = load_data(arguments.data)
    path = arguments.out / f"{arguments.name}.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    wanted = rows(arguments.row)
    count = {name: plan(name, arguments)[0] for name in wanted}
    common = {
        key: getattr(arguments, key)
        for key in ("ipc", "network", "minutes", "repeats", "split", "precision")
    } | {"data": data.fingerprint}
    for name in wanted:
        settings = common | {"code": code(name, arguments.network)}
        row = content["rows"].get(name)
        if row is None or row["settings"] != settings or any(map(outdated, row["sets"])):
            content["rows"][name] = {"settings": settings, "commit": measure.commit(), "sets": []}
    missing = [
        (name, count[name] - len(content["rows"][name]["sets"]))
        for name in wanted
        if count[name] > len(content["rows"][name]["sets"])
    ]
    if missing:
        console.print(f"about {estimate(data, arguments, missing) / 60:.0f} minutes to come")
    for name, _ in missing:
        row = content["rows"][name]
        for seed in range(len(row["sets"]), count[name]):
            if time.perf_counter() - begun > 60 * arguments.stop_after:
                console.print("stopped; run the same command again to go on")
                return
            made, facts = one(name, data, arguments, seed)
            row["sets"].append(facts)
            if seed == 0 and name != WHOLE:
                picture = grid(first_images(made), columns=min(10, 2 * arguments.ipc))
                write_picture(picture, arguments.out / f"{arguments.name}-{slug(name)}.png")
            save(path, content, arguments, data)
            said = ", ".join(
                f"{regime} {' '.join(f'{100 * value:.1f}' for value in each['values'])} %"
                for regime, each in facts["regimes"].items()
            )
            console.print(f"{name}, seed {seed}: {said}, {facts['distilling seconds']:.0f} s")
    for name, each in unsquared(content, wanted):
        if time.perf_counter() - begun > 60 * arguments.stop_after:
            console.print("stopped; run the same command again to go on")
            return
        complete(name, each, data, arguments)
        save(path, content, arguments, data)
    save(path, content, arguments, data)
    show(content, console)


def first_images(made: DistilledData) -> list[tuple[str, Any]]:
    """A row a class of stored images, as pixels."""
    pixels, classes = made.pixels(), made.classes
    return [(name, pixels[classes == at]) for at, name in enumerate(made.task.class_names)]


def slug(row: str) -> str:
    """A row's name as part of a file's."""
    return row.replace(" ", "-").translate(str.maketrans("", "", "=:,./"))


def save(path: Path, content: dict[str, Any], arguments: argparse.Namespace, data: RealData) -> None:
    """Write all that is known so far: JSON, table, chart."""
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
    write_text(path.with_suffix(".md"), markdown(content, data, arguments.ipc, arguments.network))
    sides = courses(content)
    if sides:
        write_picture(chart(sides), path.with_suffix(".png"))


def courses(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Points of each row's first set on its way and of all its sets at the end."""
    found = {}
    for name, row in content["rows"].items():
        if row["sets"] and row["sets"][0].get("on the way") and accuracies(row["sets"][0]):
            end = {
                "seconds": row["sets"][0]["distilling seconds"],
                "values": [value for each in row["sets"] for value in accuracies(each) or []],
            }
            points = [*row["sets"][0]["on the way"], end]
            found[name] = [
                {**point, "mean": sum(point["values"]) / len(point["values"])} for point in points
            ]
    return found


if __name__ == "__main__":
    main()
