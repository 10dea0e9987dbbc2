"""``gradient_distance`` against the distance written layer by layer in plain torch: time and error.

    python -m benchmarks.kernels.gradient_distance [--rounds 50] [--out FILE]

Gradients of a ConvNet-3/128 for ten classes, cosine of output channels. Plain: for each class and layer the
papers' formula (arXiv:2006.05929, equation 10). ``with backward`` is the value and its gradient to one
side; ``double backward`` that gradient's own, in a random direction. The sides take turns in one process;
medians over rounds. Errors are those of the last result in its norm, against plain torch in float64.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import measure
from pydistill.ops import gradient_distance

CLASSES = 10
LAYERS = ((128, 27), (128, 1152), (128, 1152), (10, 2048))
"""(output channels, inputs of each) of a ConvNet-3/128's weights."""
ORDERS = ("forward", "with backward", "double backward")
Function = Callable[[Tensor, Tensor], Tensor]


def fused(x: Tensor, y: Tensor) -> Tensor:
    """All layers of all classes in one call."""
    return gradient_distance(x, y, MARKS).sum()


def plain(x: Tensor, y: Tensor) -> Tensor:
    """Class by class, layer by layer."""
    total = x.new_zeros(())
    sizes = [rows * each for rows, each in LAYERS]
    for one, other in zip(x, y, strict=True):
        for a, b, (rows, each) in zip(one.split(sizes), other.split(sizes), LAYERS, strict=True):
            a, b = a.view(rows, each), b.view(rows, each)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total


MARKS = [0, *itertools.accumulate(each for rows, each in LAYERS for _ in range(rows))]
"""Where output channels begin in the parameters laid end to end."""
SIDES: dict[str, Function] = {"fused": fused, "plain": plain}


def inputs(dtype: torch.dtype = torch.float32) -> Sequence[Tensor]:
    """The same gradients in every process, and a direction."""
    torch.manual_seed(0)
    drawn = [torch.randn(CLASSES, MARKS[-1]) for _ in range(3)]
    return [tensor.to(measure.DEVICE, dtype) for tensor in drawn]


def work(side: Function, order: str, given: Sequence[Tensor]) -> Callable[[], Tensor]:
    """What is timed."""
    x, y, direction = given

    def forward() -> Tensor:
        with torch.no_grad():
            return side(x, y)

    def backward() -> Tensor:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(side(leaf, y), leaf)[0]

    def twice() -> Tensor:
        leaf = x.detach().requires_grad_()
        (first,) = torch.autograd.grad(side(leaf, y), leaf, create_graph=True)
        return torch.autograd.grad(first, leaf, direction)[0]

    return dict(zip(ORDERS, (forward, backward, twice), strict=True))[order]


def row(order: str, threads: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    torch.set_num_threads(threads)
    given, exact = inputs(), inputs(torch.float64)
    sides = {name: work(side, order, given) for name, side in SIDES.items()}
    true = work(plain, order, exact)()
    errors = {name: float((run().double() - true).norm() / true.norm()) for name, run in sides.items()}
    middle = {name: measure.median(times) for name, times in measure.interleave(sides, rounds).items()}
    return {
        "order": order,
        "threads": threads,
        "seconds": middle,
        "times faster than plain": middle["plain"] / middle["fused"],
        "error": errors,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="all threads alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gradient_distance.json"))
    options = parser.parse_args()
    rows = [
        row(order, threads, options.rounds)
        for threads in measure.threads(all_only=options.quick)
        for order in ORDERS
    ]
    measure.write(options.out, "gradient_distance", rows, rounds=options.rounds)
    table = Table("pass", "threads", "ms", "x plain", "error")
    for made in rows:
        seconds, errors = made["seconds"], made["error"]
        table.add_row(
            str(made["order"]),
            str(made["threads"]),
            f"{1e3 * seconds['fused']:.2f}",
            f"{made['times faster than plain']:.1f}",
            f"{errors['fused']:.0e}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
