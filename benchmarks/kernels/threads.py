"""One thread against all, by the work of a training step: where :mod:`pydistill.threads` draws the line.

    python -m benchmarks.kernels.threads [--rounds 7] [--out FILE]

A step is forward, backward and update of a network on a batch; the sides take turns in one process.
"""

import argparse
import functools
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks import measure
from pydistill import nets

CASES = (
    ("mlp", (1, 8, 8), (10, 100, 256)),
    ("convnet:width=8", (1, 8, 8), (10, 100)),
    ("convnet:width=32", (1, 8, 8), (10, 30, 100, 256)),
    ("convnet:width=16", (1, 28, 28), (10, 100)),
    ("convnet:width=32", (3, 32, 32), (10, 50)),
)
STEPS = 20


def steps(network: nets.Network, images: torch.Tensor, threads: int) -> None:
    """Some steps on so many threads."""
    torch.set_num_threads(threads)
    weights = list(network.parameters())
    targets = torch.arange(len(images)) % 10
    for _ in range(STEPS):
        slopes = torch.autograd.grad(F.cross_entropy(network(images), targets), weights)
        with torch.no_grad():
            for weight, slope in zip(weights, slopes, strict=True):
                weight.sub_(slope, alpha=0.01)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/threads.json"))
    options = parser.parse_args()
    most, rows = torch.get_num_threads(), []
    for text, shape, batches in CASES:
        network = nets.build(text, shape, 10, torch.Generator().manual_seed(0)).train()
        for batch in batches:
            images = torch.randn(batch, *shape).to(memory_format=torch.channels_last)
            sides = {str(each): functools.partial(steps, network, images, each) for each in (1, most)}
            middle = {
                side: measure.median(seconds) / STEPS
                for side, seconds in measure.interleave(sides, options.rounds).items()
            }
            row = {
                "network": text,
                "images": [batch, *shape],
                "multiply-adds": nets.flops(network, shape) * batch,
                "seconds by threads": middle,
                "one against all": middle["1"] / middle[str(most)],
            }
            rows.append(row)
            print(f"{text:<18} {batch:>4} of {shape}: {row['multiply-adds'] / 1e6:8.2f} M, "
                  f"one thread takes {row['one against all']:.2f} of all's time")  # fmt: skip
    torch.set_num_threads(most)
    measure.write(options.out, "threads", rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
