"""Differentiating a training, step by step against the full graph: time and peak memory.

    python -m benchmarks.kernels.inner [--rounds 5] [--quick] [--out FILE]

ConvNet-3/128 on 100 images of 3 x 32 x 32, SGD, T steps from random weights; gradients to images, rate and
initial weights of the loss on the same images. Four sides: ``ours``
(:mod:`pydistill.training.unrolled`), ``ours, graphs kept`` (the same with ``keep_every=0``), ``full
graph`` (the same training in plain torch,
``torch.func.grad`` of a functional call at every step, all in one graph), ``higher style`` (the same with
``create_graph=True`` and a list of updated parameters, as the library higher does it). The sides take turns
in one process; the peak is a fresh process's, over what it held before, after one step has loaded what a
first call loads; less the T parameter vectors, which are shown beside it.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks import measure
from pydistill import nets
from pydistill.optim import Sgd
from pydistill.training.inner_loop import InnerLoop

IMAGES, SHAPE, CLASSES, RATE = 100, (3, 32, 32), 10, 0.01
STEPS = (2, 4, 8, 16, 32, 64)
FULL_AT_MOST = 16
"""Steps beyond which the full graph is not run: its memory would not fit."""
Work = Callable[[], tuple[Tensor, ...]]


def plain_network(width: int = 128) -> nn.Module:
    """The same network in torch's own modules."""
    layers: list[nn.Module] = []
    channels = SHAPE[0]
    for _ in range(3):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.GroupNorm(width, width),
            nn.ReLU(),
            nn.AvgPool2d(2),
        ]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 16, CLASSES))


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Images, classes, rate: the same in every process."""
    torch.manual_seed(0)
    images = torch.randn(IMAGES, *SHAPE, device=measure.DEVICE)
    return images, torch.arange(IMAGES, device=measure.DEVICE) % CLASSES, torch.tensor(RATE)


def ours(steps: int, keep_every: int = 1) -> Work:
    """Step by step."""
    images, targets, rate = inputs()
    images = images.contiguous(memory_format=torch.channels_last)
    network = nets.build("convnet", SHAPE, CLASSES, torch.Generator().manual_seed(0), measure.DEVICE)
    loop = InnerLoop(network, F.cross_entropy, Sgd())

    def run() -> tuple[Tensor, ...]:
        learned = {"images": images.detach().requires_grad_(), "rate": rate.detach().requires_grad_()}
        weights = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
        done = loop.train(
            loop.start(weights), {**learned, "targets": targets}, steps=steps, keep_every=keep_every
        )
        loss = F.cross_entropy(
            torch.func.functional_call(network, done.state["parameters"], (images,)), targets
        )
        return torch.autograd.grad(loss, (*learned.values(), *weights.values()))

    return run


def full_graph(steps: int) -> Work:
    """All steps in one graph, by ``torch.func``."""
    images, targets, rate = inputs()
    network = plain_network().to(measure.DEVICE)
    first = {name: value.detach() for name, value in network.named_parameters()}

    def inner(weights: dict[str, Tensor], batch: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(network, weights, (batch,)), targets)

    def outer(batch: Tensor, step: Tensor, weights: dict[str, Tensor]) -> Tensor:
        for _ in range(steps):
            slopes = torch.func.grad(inner)(weights, batch)
            weights = {name: value - step * slopes[name] for name, value in weights.items()}
        return inner(weights, images)

    def run() -> tuple[Tensor, ...]:
        to_images, to_rate, to_weights = torch.func.grad(outer, (0, 1, 2))(images, rate, first)
        return (to_images, to_rate, *to_weights.values())

    return run


def higher_style(steps: int) -> Work:
    """All steps in one graph, by ``create_graph``."""
    images, targets, rate = inputs()
    network = plain_network().to(measure.DEVICE)
    names = [name for name, _ in network.named_parameters()]

    def run() -> tuple[Tensor, ...]:
        batch, step = images.detach().requires_grad_(), rate.detach().requires_grad_()
        leaves = [value.detach().requires_grad_() for value in network.parameters()]
        fast = leaves
        for _ in range(steps):
            outputs = torch.func.functional_call(network, dict(zip(names, fast, strict=True)), (batch,))
            slopes = torch.autograd.grad(F.cross_entropy(outputs, targets), fast, create_graph=True)
            fast = [value - step * slope for value, slope in zip(fast, slopes, strict=True)]
        outputs = torch.func.functional_call(network, dict(zip(names, fast, strict=True)), (images,))
        return torch.autograd.grad(F.cross_entropy(outputs, targets), (batch, step, *leaves))

    return run


def graphs_kept(steps: int) -> Work:
    """Step by step, no graph made again."""
    return ours(steps, keep_every=0)


SIDES = {
    "ours": ours,
    "ours, graphs kept": graphs_kept,
    "full graph": full_graph,
    "higher style": higher_style,
}


def row(steps: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    sides = {name: make for name, make in SIDES.items() if name == "ours" or steps <= FULL_AT_MOST}
    seconds = measure.interleave({name: make(steps) for name, make in sides.items()}, rounds)
    middle = {name: measure.median(times) for name, times in seconds.items()}
    peaks = {name: peak(name, steps) for name in sides}
    plain = [middle[name] for name in sides if not name.startswith("ours")]
    vectors = (steps + 1) * sum(value.numel() for value in plain_network().parameters()) * 4 / 2**20
    return {
        "steps": steps,
        "threads": torch.get_num_threads(),
        "seconds": middle,
        "times faster than plain": min(plain) / middle["ours"] if plain else None,
        "times faster with graphs kept": min(plain) / middle["ours, graphs kept"] if plain else None,
        "peak MiB": peaks,
        "MiB of parameter vectors": vectors,
        "peak MiB without them": peaks["ours"] - vectors,
    }


def peak(side: str, steps: int) -> float:
    """MiB over what the process held, in a fresh one."""
    wanted = json.dumps([side, steps])
    return float(measure.run_fresh("benchmarks.kernels.inner", ["--peak-of", wanted]))


def peak_here(side: str, steps: int) -> float:
    """The same in this process, which must be fresh."""
    return measure.peak_growth(SIDES[side](steps))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="T = 2 and 8 alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/inner.json"))
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(json.dumps(peak_here(*json.loads(options.peak_of))))
        return
    table = Table(
        "T", "x plain", "ms", "peak MiB", "without vectors", "kept: x plain", "MiB", "full graph's"
    )
    rows = []
    for steps in (2, 8) if options.quick else STEPS:
        made = row(steps, options.rounds)
        rows.append(made)
        seconds, peaks, faster = made["seconds"], made["peak MiB"], made["times faster than plain"]
        table.add_row(
            str(steps),
            "-" if faster is None else f"{faster:.2f}",
            f"{1e3 * seconds['ours']:.0f}",
            f"{peaks['ours']:.0f}",
            f"{made['peak MiB without them']:.0f}",
            f"{made['times faster with graphs kept']:.2f}" if "ours, graphs kept" in peaks else "-",
            f"{peaks['ours, graphs kept']:.0f}" if "ours, graphs kept" in peaks else "-",
            f"{peaks['full graph']:.0f}" if "full graph" in peaks else "-",
        )
    measure.write(options.out, "inner", rows, rounds=options.rounds, images=IMAGES, rate=RATE)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
