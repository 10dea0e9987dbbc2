"""``gram`` against the same formulas in plain torch: time, peak memory, error.

    python -m benchmarks.kernels.gram [--rounds 7] [--quick] [--out FILE]

N = 5,000 rows against M = 1,000, float32: the NTK of three hidden layers and the RBF kernel with five
bandwidths, D = 128 and 3,072; forward alone, and with the gradient of y, the smaller set, as distillation
asks for it. Products are the vendor's on both sides. The sides take turns in one process; medians over
rounds. The peak is that of a fresh process a side, over what it held before, after a tiny call has loaded
what a first call loads. ``product`` is the time of the bare matrix products, the share that no kernel
can take away.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import measure
from pydistill.ops import gram

ROWS, COLUMNS, DEPTH = 5000, 1000, 3
BANDWIDTHS = (4.0, 8.0, 16.0, 32.0, 64.0)
KERNELS = ("ntk", "rbf")
ORDERS = ("forward", "backward")
Matrix = Callable[[Tensor, Tensor], Tensor]


def plain_ntk(x: Tensor, y: Tensor) -> Tensor:
    """The recursion in torch's own operators, cosines kept off their ends."""
    x, y = x[0], y[0]
    product = x @ y.T / x.shape[1]
    norm = ((x * x).sum(1)[:, None] / x.shape[1] * ((y * y).sum(1)[None] / x.shape[1])).sqrt()
    nngp = ntk = product
    for _ in range(DEPTH):
        cosine = (nngp / norm).clamp(-1 + 1e-6, 1 - 1e-6)
        angle = torch.acos(cosine)
        nngp = norm * (torch.sqrt(1 - cosine * cosine) + (math.pi - angle) * cosine) / math.pi
        ntk = nngp + ntk * ((math.pi - angle) / math.pi)
    return ntk


def plain_rbf(x: Tensor, y: Tensor) -> Tensor:
    """The sum of exponentials, one bandwidth after the other."""
    x, y = x[0], y[0]
    distance = ((x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T).clamp_min(0)
    total = torch.exp(-distance / (2 * BANDWIDTHS[0] ** 2))
    for width in BANDWIDTHS[1:]:
        total = total + torch.exp(-distance / (2 * width**2))
    return total


def sides(kernel: str) -> dict[str, Matrix]:
    """Ours and plain torch's."""
    ours = {
        "ntk": lambda x, y: gram(x, y, "ntk", depth=DEPTH),
        "rbf": lambda x, y: gram(x, y, "rbf", bandwidths=BANDWIDTHS),
    }
    return {"fused": ours[kernel], "plain": {"ntk": plain_ntk, "rbf": plain_rbf}[kernel]}


def inputs(features: int, rows: int = ROWS, columns: int = COLUMNS) -> tuple[Tensor, Tensor]:
    """The same rows in every process; distances of the bandwidths' size."""
    torch.manual_seed(0)
    scale = 16 / (2 * features) ** 0.5
    x, y = torch.randn(1, rows, features), torch.randn(1, columns, features)
    return (scale * x).to(measure.DEVICE), (scale * y).to(measure.DEVICE)


def work(matrix: Matrix, order: str, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """What is timed."""

    def forward() -> Tensor:
        with torch.no_grad():
            return matrix(x, y)

    def backward() -> Tensor:
        leaf = y.detach().requires_grad_()
        return torch.autograd.grad(matrix(x, leaf).sum(), leaf)[0]

    return {"forward": forward, "backward": backward}[order]


def products(order: str, x: Tensor, y: Tensor) -> Callable[[], object]:
    """The matrix products that any implementation has to make."""
    gradient = torch.randn(1, x.shape[1], y.shape[1], device=x.device)

    def run() -> object:
        made = torch.bmm(x, y.mT)
        return (made, torch.bmm(gradient.mT, x)) if order == "backward" else made

    return run


def row(kernel: str, order: str, features: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    x, y = inputs(features)
    runs = {name: work(matrix, order, x, y) for name, matrix in sides(kernel).items()}
    exact = sides(kernel)["plain"]
    expected = work(exact, order, x.double(), y.double())()
    errors = {
        name: ((run().double().reshape(expected.shape) - expected).norm() / expected.norm()).item()
        for name, run in runs.items()
    }
    seconds = measure.interleave({**runs, "product": products(order, x, y)}, rounds)
    middle = {name: measure.median(times) for name, times in seconds.items()}
    peaks = {name: peak(name, kernel, order, features) for name in runs}
    return {
        "kernel": kernel,
        "order": order,
        "features": features,
        "threads": torch.get_num_threads(),
        "seconds": middle,
        "times faster than plain": middle["plain"] / middle["fused"],
        "peak MiB": peaks,
        "share of the plain peak": peaks["fused"] / peaks["plain"],
        "relative error against float64": errors,
    }


def peak(name: str, kernel: str, order: str, features: int) -> float:
    """MiB over what the inputs take, in a fresh process."""
    wanted = json.dumps([name, kernel, order, features])
    return float(measure.run_fresh("benchmarks.kernels.gram", ["--peak-of", wanted]))


def peak_here(name: str, kernel: str, order: str, features: int) -> float:
    """The same in this process, which must be fresh."""
    matrix = sides(kernel)[name]
    work(matrix, order, *inputs(features, 8, 8))()  # loads libraries and starts threads
    return measure.peak_growth(work(matrix, order, *inputs(features)))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="D = 128 alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gram.json"))
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(json.dumps(peak_here(*json.loads(options.peak_of))))
        return
    table = Table("kernel", "pass", "D", "x plain", "ms", "of it products", "memory", "error")
    rows = []
    for features in (128,) if options.quick else (128, 3072):
        for kernel in KERNELS:
            for order in ORDERS:
                made = row(kernel, order, features, options.rounds)
                rows.append(made)
                seconds, errors = made["seconds"], made["relative error against float64"]
                cells = [kernel, order, str(features), f"{made['times faster than plain']:.1f}"]
                cells += [f"{seconds['fused'] * 1e3:.0f}", f"{seconds['product'] * 1e3:.0f}"]
                table.add_row(*cells, f"{made['share of the plain peak']:.0%}", f"{errors['fused']:.0e}")
    measure.write(options.out, "gram", rows, rounds=options.rounds, rows_of_x=ROWS, rows_of_y=COLUMNS)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
