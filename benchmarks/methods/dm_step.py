"""One DM image step: pydistill against plain torch written as the paper's public code does it.

    python -m benchmarks.methods.dm_step PATH/TO/cifar10 [--rounds 7] [--out FILE]

ConvNet-3/128, 10 images a class, 256 real images a class, siamese augmentation in its single mode. The
sides take turns in one process, each doing the same number of steps with the same seeds of their own;
medians and ratios are over rounds. The peak of memory is that of a fresh process a side, making its side
included; a step of the same kind on two images a class goes first, so that what a first step loads is not
counted.
"""

import argparse
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import measure
from benchmarks.methods import plain_dm
from pydistill.data import RealData, load_data
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem

WIDTH, DEPTH, IPC, BATCH_REAL = 128, 3, 10, 256
SIDES = ("plain", "float32", "bfloat16")


def plain_side(data: RealData, ipc: int) -> Callable[[int], object]:
    """A step of the yardstick on all training images as one float32 tensor, as its code holds them."""
    real = data.preprocess.apply(data.train.images).contiguous().to(measure.DEVICE)
    members = [member.to(measure.DEVICE) for member in data.task.groups(data.train.targets).members]
    synthetic = torch.cat([real[member[:ipc]] for member in members]).clone().requires_grad_()
    optimiser = torch.optim.SGD([synthetic], lr=1.0, momentum=0.5)
    return lambda index: plain_dm.step(
        real, members, synthetic, optimiser, width=WIDTH, depth=DEPTH, batch_real=BATCH_REAL, seed=index
    )


def our_side(data: RealData, ipc: int, precision: str) -> Callable[[int], object]:
    """The same step by the library, in its paper's configuration: a fresh network every image step."""
    method = make_method(
        "dm",
        "paper",
        network=f"convnet:width={WIDTH},depth={DEPTH}",
        batch_real=BATCH_REAL,
        real_precision=precision,
    )
    problem = make_problem(data, ipc=ipc)
    state = method.start(problem)
    return lambda index: float(method.step(problem, state, index)["loss"])


def make_side(name: str, data: RealData, ipc: int = IPC) -> Callable[[int], object]:
    """A side by name."""
    return plain_side(data, ipc) if name == "plain" else our_side(data, ipc, name)


def first_step(name: str, data: RealData, ipc: int) -> object:
    """Make a side and let it do a step: what the peak of memory is measured over."""
    return make_side(name, data, ipc)(0)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="CIFAR-10, as load_data takes it")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dm_step.json"))
    parser.add_argument("--peak-of", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = load_data(options.data)
    if options.peak_of:
        members = data.task.groups(data.train.targets).members
        few = torch.cat([member[:2] for member in members])
        tiny = dataclasses.replace(data, train=data.train.take(few))
        run, warm = (
            functools.partial(first_step, options.peak_of, *given) for given in ((data, IPC), (tiny, 1))
        )
        print(json.dumps(measure.peak_growth(run, warm)))
        return

    steps, count = {name: make_side(name, data) for name in SIDES}, itertools.count()
    seconds = measure.interleave(
        {name: functools.partial(lambda step: step(next(count)), step) for name, step in steps.items()},
        options.rounds,
    )
    peaks = {
        name: measure.run_fresh("benchmarks.methods.dm_step", [options.data, "--peak-of", name])
        for name in SIDES
    }
    rows = {
        name: {
            "seconds": measure.median(seconds[name]),
            "ratio to plain": measure.median(seconds[name]) / measure.median(seconds["plain"]),
            "every round": seconds[name],
            "peak MiB over loaded data": peaks[name],
        }
        for name in SIDES
    }
    measure.write(options.out, "dm_step", rows, rounds=options.rounds)
    for name, row in rows.items():
        print(f"{name:<9} {row['seconds']:.3f} s  {row['ratio to plain']:.2f}x  {peaks[name]:.0f} MiB")


if __name__ == "__main__":
    main()
