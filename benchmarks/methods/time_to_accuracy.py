"""Seconds against validation accuracy: DM as its paper's public code does it, and methods from here.

    python -m benchmarks.methods.time_to_accuracy DATA --name cifar10_ipc10 --row "dm factor=2"

All sides distil for the same wall time; at marks in between the images are kept, with the seconds that
distilling alone has taken. Afterwards every kept set is evaluated alike, on the validation split. A side
that is done is kept as long as its settings and the code it rests on are the same. The plain side is
``plain_dm.py``: class by class, a fresh network a step, learning rate 1 and momentum 0.5 as published.
"""

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.console import Console

from benchmarks import measure
from benchmarks.chart import chart
from benchmarks.code import digest
from benchmarks.methods import plain_dm
from benchmarks.methods.equal_time import code, configured
from pydistill.data import RealData, load_data
from pydistill.data.distilled import DistilledData
from pydistill.data.pictures import write_picture
from pydistill.engine.problem import make_problem
from pydistill.engine.run import collect, distill
from pydistill.evaluation import evaluate, named
from pydistill.evaluation.statistics import summarise
from pydistill.machine import PRECISIONS
from pydistill.nets import parse

RESULTS = measure.ROOT / "benchmarks" / "results"
PLAIN = "plain dm"
MARKS = (0.02, 0.1, 1 / 3, 0.6, 1.0)
"""Shares of the budget at which images are kept."""
Side = Iterator[tuple[float, Callable[[], DistilledData]]]


def plain_side(data: RealData, ipc: int, network: str) -> Side:
    """Seconds taken, and the set so far, after every step of the yardstick."""
    spec: Any = parse(network)
    real = data.preprocess.apply(data.train.images).contiguous().to(measure.DEVICE)
    members = [member.to(measure.DEVICE) for member in data.task.groups(data.train.targets).members]
    first = distill(data, "random", ipc=ipc)
    synthetic = first.images.clone().contiguous().to(measure.DEVICE).requires_grad_()
    optimiser = torch.optim.SGD([synthetic], lr=1.0, momentum=0.5)
    seconds, index = 0.0, 0
    while True:
        begun = time.perf_counter()
        plain_dm.step(
            real, members, synthetic, optimiser,
            width=spec.width, depth=spec.depth, batch_real=256, seed=index,
        )  # fmt: skip
        measure.wait()
        seconds, index = seconds + time.perf_counter() - begun, index + 1
        yield seconds, lambda: dataclasses.replace(first, images=synthetic.detach().cpu().clone())


def our_side(data: RealData, ipc: int, network: str, row: str) -> Side:
    """The same for a method of the library."""
    method, problem = configured(row, network, 1_000_000), make_problem(data, ipc=ipc)
    begun = time.perf_counter()
    state = method.start(problem)
    seconds, index = time.perf_counter() - begun, 0
    while True:
        begun = time.perf_counter()
        method.step(problem, state, index)
        measure.wait()
        seconds, index = seconds + time.perf_counter() - begun, index + 1
        yield seconds, functools.partial(collect, problem, method, state, seconds)


def snapshots(side: Side, budget: float) -> list[tuple[float, int, DistilledData]]:
    """Seconds, steps and set at each mark."""
    marks, kept = [share * budget for share in MARKS], []
    for steps, (seconds, take) in enumerate(side, 1):
        if seconds >= marks[len(kept)]:
            kept.append((seconds, steps, take()))
        if len(kept) == len(marks):
            return kept
    raise AssertionError("a side does not end by itself")


def main() -> None:
    """Run the sides that are missing, evaluate, write after each, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="as load_data takes it")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--network", default="convnet:width=128")
    parser.add_argument("--row", action="append", default=[], help='"METHOD option=value ..."; repeatable')
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3, help="networks trained on a set")
    parser.add_argument(
        "--precision",
        type=measure.precision,
        choices=PRECISIONS,
        default="float32",
        help="networks are trained in; auto: what this machine multiplies natively",
    )
    given = parser.parse_args()
    console, data = Console(width=110), load_data(given.data)
    protocol = named(
        "quick",
        architectures=(given.network,), repeats=given.repeats,
        precision=given.precision, random_draws=0, whole=False, split="validation", labels="classes",
    )  # fmt: skip
    path = RESULTS / f"time_to_accuracy_{given.name}.json"
    kept = json.loads(path.read_text())["rows"] if path.exists() else {}
    common = {"minutes": given.minutes, "ipc": given.ipc, "data": data.fingerprint}
    found: dict[str, dict[str, Any]] = {}
    for name in [PLAIN, *given.row]:
        settings = common | {"protocol": protocol.record()}
        settings["code"] = (
            digest([plain_dm.__name__, evaluate.__module__]) if name == PLAIN else code(name, given.network)
        )
        if name in kept and kept[name]["settings"] == settings:
            found[name] = kept[name]
            continue
        found[name] = {"settings": settings, "commit": measure.commit(), "points": []}
        side = (
            plain_side(data, given.ipc, given.network)
            if name == PLAIN
            else our_side(data, given.ipc, given.network, name)
        )
        for seconds, steps, made in snapshots(side, 60 * given.minutes):
            values = [run.value for run in evaluate(made, data, protocol).runs]
            mean = summarise(values).mean
            point = {"seconds": seconds, "steps": steps, "mean": mean, "values": values}
            found[name]["points"].append(point)
            console.print(f"{name}: {seconds:.0f} s, {steps} steps, {100 * mean:.1f} %")
        measure.write(path, "time_to_accuracy", found, share_of_time=shares(found))
        write_picture(
            chart({name: side["points"] for name, side in found.items()}), path.with_suffix(".png")
        )
    console.print(f"plain accuracy reached in this share of its time: {shares(found)}")


def shares(found: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Seconds until a row has the last accuracy of the plain side, over that side's seconds."""
    goal = found[PLAIN]["points"][-1]
    reached = {
        name: [point["seconds"] for point in side["points"] if point["mean"] >= goal["mean"]]
        for name, side in found.items()
        if name != PLAIN
    }
    return {name: times[0] / goal["seconds"] if times else None for name, times in reached.items()}


if __name__ == "__main__":
    main()
