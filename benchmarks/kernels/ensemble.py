"""Several networks at once: stacked under ``torch.func.vmap`` against one after the other.

From this table comes the rule of ``pydistill.evaluate.train.choose``. Run it on a quiet machine:

    python -m benchmarks.kernels.ensemble
"""

import argparse
import itertools
import math
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from pydistill import nets, seeds
from pydistill.evaluate.samples import TensorSamples
from pydistill.evaluate.train import Execution, Lesson, Training, train
from pydistill.tasks import Classification

CLASSES = Classification(tuple(str(at) for at in range(10)))
ARCHITECTURES = ("mlp", "convnet:width=16", "convnet:width=32", "convnet:width=64", "convnet:width=128")
SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
BATCHES = (10, 100)
STEPS = 6


def lessons(shape: tuple[int, int, int], images: int, networks: int) -> list[Lesson]:
    """One lesson a network, each on random images of its own."""
    made = []
    for at in range(networks):
        pixels = torch.randn(images, *shape, generator=seeds.generator(at, "images"))
        made.append(Lesson(TensorSamples(pixels, torch.arange(images) % 10), seed=at))
    return made


def step_seconds(architecture: str, members: list[Lesson], execution: Execution) -> float:
    """Quickest step of a run, a network; building the networks is left out.

    The quickest, not the median: whatever else the machine does only ever adds.
    """
    ends: list[float] = []
    train(
        architecture,
        members if execution == "ensemble" else members[:1],
        CLASSES,
        Training(steps=STEPS),
        execution=execution,
        watch=lambda moment: ends.append(time.perf_counter()),
    )
    quickest = min(after - before for before, after in itertools.pairwise(ends))
    return quickest / (len(members) if execution == "ensemble" else 1)


def row(
    architecture: str, shape: tuple[int, int, int], batch: int, networks: int, rounds: int
) -> dict[str, object]:
    """Milliseconds a step and network of either execution, rounds taken in turn."""
    members = lessons(shape, batch, networks)
    network = nets.build(architecture, shape, 10, seeds.generator(0, "network"))
    quickest = {"loop": math.inf, "ensemble": math.inf}
    for _ in range(rounds):
        for name in quickest:
            quickest[name] = min(quickest[name], step_seconds(architecture, members, name))
    return {
        "architecture": architecture,
        "shape": shape,
        "batch": batch,
        "networks": networks,
        "multiply-adds a step": nets.flops(network, shape) * batch,
        "milliseconds": {name: 1000 * seconds for name, seconds in quickest.items()},
        "times faster": quickest["loop"] / quickest["ensemble"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ensemble.json"))
    options = parser.parse_args()
    table = Table("network", "images", "batch", "million multiply-adds", "loop ms", "ensemble ms", "x")
    rows = []
    for shape in SHAPES:
        for architecture in ARCHITECTURES:
            for batch in BATCHES:
                made = row(architecture, shape, batch, options.networks, options.rounds)
                rows.append(made)
                middle, work = made["milliseconds"], made["multiply-adds a step"]
                cells = (f"{work / 1e6:.2f}", f"{middle['loop']:.2f}", f"{middle['ensemble']:.2f}")
                times = f"{made['times faster']:.2f}"
                table.add_row(architecture, "x".join(map(str, shape)), str(batch), *cells, times)
    measure.write(options.out, "ensemble", rows, rounds=options.rounds)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
