"""One trajectory-matching step: pydistill against plain torch as the papers' public code does it.

    python -m benchmarks.methods.mtt_step [--rounds 5] [--out FILE]

ConvNet-3/128, 100 images of 3 x 32 x 32 at random, T steps of plain descent on all of them, without
augmentation, from one set of weights towards another; gradients to images and rate. The plain side keeps
all T steps in one graph (``create_graph=True`` on a flat functional network). The sides take turns in one
process; medians over rounds. The peak is a fresh process's, over what it held before its first step.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import measure
from benchmarks.methods.plain_dc import PlainClassifier
from pydistill.data import RealData, load_data
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.experts.store import Experts
from pydistill.experts.training import ExpertTraining
from pydistill.experts.trajectory import Kept

STEPS = (8, 16, 32)
WIDTH, DEPTH, RATE = 128, 3, 0.01
SIDES = ("plain", "pydistill", "pydistill, graphs kept")
"""The last keeps every step's graph as the plain side does (``keep_every=0``)."""


def images(ipc: int) -> RealData:
    """Random images of ten classes, as many as are wanted of each."""
    generator = torch.Generator().manual_seed(0)
    each = max(ipc, 4) + 2
    arrays = {}
    for split in ("train", "test"):
        drawn = torch.randint(256, (10 * each, 3, 32, 32), generator=generator, dtype=torch.uint8)
        arrays[f"x_{split}"], arrays[f"y_{split}"] = drawn.numpy(), (torch.arange(10 * each) % 10).numpy()
    return load_data(arrays, name="random")


def our_side(ipc: int, steps: int, keep_every: int = 1) -> Callable[[], object]:
    """The library's step, on experts of two snapshots."""
    network = f"convnet:width={WIDTH},depth={DEPTH}"
    data = images(ipc)
    problem = make_problem(data, ipc=ipc)
    method = make_method(
        "mtt",
        network=network,
        inner_steps=steps,
        inner_rate=RATE,
        expert_epochs=1,
        own_experts="epochs=1,snapshots=1",
        augment="none",
        keep_every=keep_every,
    )
    state = method.start(problem)
    moved = {
        name: value
        + 0.01 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)).to(value.device)
        for name, value in state["experts"][0][0].items()
    }
    training = ExpertTraining(network=network)
    facts = (data.name, (data.fingerprint, data.preprocess.name))
    state["cache"] = Experts(training, *facts, (Kept([state["experts"][0][0], moved]),))
    return lambda: float(method.step(problem, state, 0)["loss"])


def plain_side(ipc: int, steps: int) -> Callable[[], object]:
    """All steps in one graph."""
    torch.manual_seed(0)
    count = 10 * ipc
    batch = torch.randn(count, 3, 32, 32, device=measure.DEVICE).requires_grad_()
    targets = torch.arange(count, device=measure.DEVICE) % 10
    rate = torch.tensor(RATE, device=measure.DEVICE).requires_grad_()
    network = PlainClassifier(3, WIDTH, DEPTH, 32, 10).to(measure.DEVICE)
    names = [name for name, _ in network.named_parameters()]
    start = torch.cat([value.detach().flatten() for value in network.parameters()])
    end = start + 0.01 * torch.randn_like(start)
    shapes = [value.shape for value in network.parameters()]
    rules = torch.optim.SGD([batch], lr=1.0, momentum=0.5), torch.optim.SGD([rate], lr=1e-5, momentum=0.5)

    def outputs(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {n: part.view(shape) for n, part, shape in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(network, weights, (batch,))

    def run() -> float:
        flat = start.clone().requires_grad_()
        for _ in range(steps):
            loss = F.cross_entropy(outputs(flat), targets)
            (slope,) = torch.autograd.grad(loss, flat, create_graph=True)
            flat = flat - rate * slope
        distance = (flat - end).square().sum() / (start - end).square().sum()
        for rule in rules:
            rule.zero_grad()
        distance.backward()
        for rule in rules:
            rule.step()
        return float(distance.detach())

    return run


def make_side(side: str, ipc: int, steps: int) -> Callable[[], object]:
    """A side by name."""
    if side == "plain":
        return plain_side(ipc, steps)
    return our_side(ipc, steps, 0 if side == SIDES[2] else 1)


def peak(side: str, steps: int) -> float:
    """MiB over what the process held, in a fresh one."""
    arguments = ["--peak-of", side, str(steps)]
    return float(measure.run_fresh("benchmarks.methods.mtt_step", arguments))


def row(steps: int, rounds: int) -> dict[str, object]:
    """One number of steps."""
    plain = steps == STEPS[0] or measure.DEVICE.type == "cuda"  # elsewhere longer ones take too much memory
    timed = SIDES if plain else SIDES[1:]
    peaks = {side: peak(side, steps) for side in SIDES}
    seconds = measure.interleave({side: make_side(side, 10, steps) for side in timed}, rounds)
    middle = {side: measure.median(times) for side, times in seconds.items()}
    return {
        "steps": steps,
        "seconds": middle,
        "ratio to plain": middle["pydistill"] / middle["plain"] if "plain" in middle else None,
        "every round": seconds,
        "peak MiB": peaks,
        "ratio to plain, graphs kept": middle[SIDES[2]] / middle["plain"] if "plain" in middle else None,
        "share of plain's peak": peaks["pydistill"] / peaks["plain"],
        "share of plain's peak, graphs kept": peaks[SIDES[2]] / peaks["plain"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mtt_step.json"))
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        side, steps = options.peak_of[0], int(options.peak_of[1])
        run = make_side(side, 10, steps)
        print(json.dumps(measure.peak_growth(run)))
        return
    rows = [row(steps, options.rounds) for steps in STEPS]
    measure.write(options.out, "mtt_step", rows, rounds=options.rounds)
    for made in rows:
        print(json.dumps({key: value for key, value in made.items() if key != "every round"}))


if __name__ == "__main__":
    main()
