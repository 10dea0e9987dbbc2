"""Several networks at once: stacked under ``torch.func.vmap`` against one after the other.

From this table comes the rule of ``pydistill.training.trainer.choose``. Where other
processes share the cores, one thread (``OMP_NUM_THREADS=1``) is timed by its own processor time:

    python -m benchmarks.kernels.ensemble
"""

import argparse
import itertools
import math
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from pydistill import nets, seeds
from pydistill.tasks import Classification
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import Execution, Training, TrainingJob, choose, train

CLASSES = Classification(tuple(str(at) for at in range(10)))
ARCHITECTURES = ("mlp", "convnet:width=16", "convnet:width=32", "convnet:width=64", "convnet:width=128")
SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
BATCHES = (10, 100)
STEPS = 8


def jobs(shape: tuple[int, int, int], images: int, networks: int) -> list[TrainingJob]:
    """One job a network, each on random images of its own."""
    made = []
    for at in range(networks):
        pixels = torch.randn(images, *shape, generator=seeds.generator(at, "images"))
        made.append(TrainingJob(TensorSamples(pixels, torch.arange(images) % 10), seed=at))
    return made


def step_seconds(architecture: str, members: list[TrainingJob], execution: Execution) -> float:
    """Quickest step of a run, a network; building the networks is left out.

    The quickest, not the median: whatever else the machine does only ever adds.
    """
    ends: list[float] = []
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    train(
        architecture,
        members,
        CLASSES,
        Training(steps=STEPS),
        execution=execution,
        callback=lambda info: ends.append(clock()),
    )
    return min(after - before for before, after in itertools.pairwise(ends)) / len(members)


def row(
    architecture: str, shape: tuple[int, int, int], batch: int, counts: list[int], rounds: int
) -> dict[str, Any]:
    """Milliseconds a step and network, one by one and in stacks of ``counts``, rounds taken in turn."""
    members = jobs(shape, batch, max(counts))
    network = nets.build(architecture, shape, 10, seeds.generator(0, "network"))
    loop, stacked = math.inf, dict.fromkeys(counts, math.inf)
    for _ in range(rounds):
        loop = min(loop, step_seconds(architecture, members[:1], "loop"))
        for count in counts:
            seconds = step_seconds(architecture, members[:count], "ensemble")
            stacked[count] = min(stacked[count], seconds)
    training = Training(steps=STEPS)
    return {
        "architecture": architecture,
        "shape": shape,
        "batch": batch,
        "multiply-adds a step": nets.flops(network, shape) * batch,
        "parameters": sum(value.numel() for value in network.parameters()),
        "milliseconds one by one": 1000 * loop,
        "milliseconds stacked": {count: 1000 * seconds for count, seconds in stacked.items()},
        "times faster stacked": {count: loop / seconds for count, seconds in stacked.items()},
        "chosen": {count: choose(network, members[0], training, count) for count in counts},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, nargs="+", default=[3, 8, 16], help="in a stack")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 28, 32], help="of the images")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ensemble.json"))
    options = parser.parse_args()
    stacks = [f"x {count} stacked" for count in options.networks]
    table = Table("network", "images", "batch", "million multiply-adds", "ms one by one", *stacks)
    rows = []
    for shape in (each for each in SHAPES if each[1] in options.sizes):
        for architecture in ARCHITECTURES:
            for batch in BATCHES:
                made = row(architecture, shape, batch, options.networks, options.rounds)
                rows.append(made)
                chosen, gains = made["chosen"], made["times faster stacked"]
                cells = [
                    f"{gain:.2f}{' *' if chosen[count] == 'ensemble' else ''}"
                    for count, gain in gains.items()
                ]
                work, loop = made["multiply-adds a step"] / 1e6, made["milliseconds one by one"]
                size = "x".join(map(str, shape))
                table.add_row(architecture, size, str(batch), f"{work:.2f}", f"{loop:.2f}", *cells)
    measure.write(options.out, "ensemble", rows, rounds=options.rounds)
    console = Console(width=120)
    console.print(table)
    console.print("x: times faster than one by one; *: what the rule stacks")


if __name__ == "__main__":
    main()
