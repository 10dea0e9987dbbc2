"""One gradient-matching image step: pydistill against plain torch as the papers' public code does it.

    python -m benchmarks.methods.dc_step PATH/TO/cifar10 [--rounds 5] [--out FILE]

ConvNet-3/128, 256 real images a class, all classes once: ``dc`` at one image a class, ``dsa`` at ten under
the siamese augmentation. The network stays the same throughout on either side; its training between matches
is no part of it. The sides take turns in one process, each doing the same number of steps with the same
seeds of their own; medians and ratios are over rounds. The peak of memory is that of a fresh process a
side, over what it held with the data loaded: making the side and all that a first step loads is in it.
"""

import argparse
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import measure
from benchmarks.methods import plain_dc
from pydistill.data import RealData, load_data
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem

WIDTH, DEPTH, BATCH_REAL = 128, 3, 256
SIDES = ("plain", "pydistill")
CASES = {"dc": 1, "dsa": 10}
"""Images a class by method."""


def plain_side(data: RealData, name: str, ipc: int) -> Callable[[int], object]:
    """A step of the yardstick on all training images as one float32 tensor, as its code holds them."""
    real = data.preprocess.apply(data.train.images).contiguous().to(measure.DEVICE)
    members = [member.to(measure.DEVICE) for member in data.task.groups(data.train.targets).members]
    synthetic = torch.cat([real[member[:ipc]] for member in members]).clone().requires_grad_()
    optimiser = torch.optim.SGD([synthetic], lr=0.1, momentum=0.5)
    torch.manual_seed(0)
    channels, side, _ = data.shape
    network = plain_dc.PlainClassifier(channels, WIDTH, DEPTH, side, data.task.outputs).to(measure.DEVICE)
    return lambda index: plain_dc.step(
        network,
        real,
        members,
        synthetic,
        optimiser,
        batch_real=BATCH_REAL,
        augmented=name == "dsa",
        seed=index,
    )


def our_side(data: RealData, name: str, ipc: int) -> Callable[[int], object]:
    """The same step by the library, in its paper's configuration but for the network's training."""
    still = "pool:size=1,shortest=1000000000,longest=1000000000,steps=1,batch=1,rate=1e-12"
    method = make_method(
        name,
        "paper",
        network=f"convnet:width={WIDTH},depth={DEPTH}",
        batch_real=BATCH_REAL,
        networks=still,
    )
    problem = make_problem(data, ipc=ipc)
    state = method.start(problem)
    return lambda index: float(method.step(problem, state, index)["loss"])


def make_side(side: str, name: str, data: RealData, ipc: int) -> Callable[[int], object]:
    """A side of a case."""
    return (plain_side if side == "plain" else our_side)(data, name, ipc)


def first_step(side: str, name: str, data: RealData, ipc: int) -> object:
    """Make a side and let it do a step: what the peak of memory is measured over."""
    return make_side(side, name, data, ipc)(0)


def peak_here(data: RealData, side: str, name: str) -> float:
    """MiB over what this process held with the data loaded; what a first step loads is in it."""
    return measure.peak_growth(functools.partial(first_step, side, name, data, CASES[name]))


def row(data: RealData, source: str, name: str, rounds: int) -> dict[str, object]:
    """One case."""
    steps, count = {side: make_side(side, name, data, CASES[name]) for side in SIDES}, itertools.count()
    seconds = measure.interleave(
        {side: functools.partial(lambda step: step(next(count)), step) for side, step in steps.items()},
        rounds,
    )
    middle = {side: measure.median(times) for side, times in seconds.items()}
    peaks = {
        side: measure.run_fresh("benchmarks.methods.dc_step", [source, "--peak-of", side, name])
        for side in SIDES
    }
    return {
        "method": name,
        "ipc": CASES[name],
        "seconds": middle,
        "ratio to plain": middle["pydistill"] / middle["plain"],
        "every round": seconds,
        "peak MiB over loaded data": peaks,
        "share of plain's peak": peaks["pydistill"] / peaks["plain"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="CIFAR-10, as load_data takes it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dc_step.json"))
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = load_data(options.data)
    if options.peak_of:
        print(json.dumps(peak_here(data, *options.peak_of)))
        return
    rows = [row(data, options.data, name, options.rounds) for name in CASES]
    measure.write(options.out, "dc_step", rows, rounds=options.rounds)
    for made in rows:
        print(json.dumps({key: value for key, value in made.items() if key != "every round"}))


if __name__ == "__main__":
    main()
