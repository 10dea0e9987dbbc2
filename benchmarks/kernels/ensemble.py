"""Several networks at once: stacked under ``torch.func.vmap`` against one after the other.

From this table comes the rule of ``pydistill.evaluate.train.choose``. Run it on a quiet machine:

    python -m benchmarks.kernels.ensemble
"""

import argparse
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


def lessons(shape: tuple[int, int, int], images: int, networks: int) -> list[Lesson]:
    """One lesson a network, each on random images of its own."""
    made = []
    for at in range(networks):
        pixels = torch.randn(images, *shape, generator=seeds.generator(at, "images"))
        made.append(Lesson(TensorSamples(pixels, torch.arange(images) % 10), seed=at))
    return made


def row(
    architecture: str, shape: tuple[int, int, int], batch: int, networks: int, rounds: int
) -> dict[str, object]:
    """Milliseconds a step and network of either execution."""
    members = lessons(shape, batch, networks)
    network = nets.build(architecture, shape, 10, seeds.generator(0, "network"))
    work = nets.flops(network, shape) * batch
    training = Training(steps=max(1, min(20, 40_000_000 // work)))

    def run(execution: Execution) -> object:
        return train(architecture, members, CLASSES, training, execution=execution)

    seconds = measure.interleave({"loop": lambda: run("loop"), "ensemble": lambda: run("ensemble")}, rounds)
    scale = 1000 / training.steps / networks
    middle = {name: scale * measure.median(times) for name, times in seconds.items()}
    return {
        "architecture": architecture,
        "shape": shape,
        "batch": batch,
        "networks": networks,
        "multiply-adds a step": work,
        "milliseconds": middle,
        "times faster": middle["loop"] / middle["ensemble"],
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
