"""``mmd`` against the same formula in plain torch: time, peak memory, error.

    python -m benchmarks.kernels.mmd [--rounds 7] [--quick] [--out FILE]

Sum of five Gaussians, sets from the normal distribution, float32. "with backward" is the value and its
gradient to y alone, as distribution matching needs it: x are real features, y those of learned images. The
sides take turns in one process; medians over rounds. The peak is that of a fresh process a side, over what
it held before, after a tiny call that loads what is loaded once. Errors are those of the gradient, in its
norm, against plain torch in float64. Sets of 50,000 rows are run once, by the kernels alone: each matrix of
plain torch would take 9.3 GiB.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import measure
from pydistill.ops import mmd

# (B, N, M, D): one large pair of sets; a class each, ten of them, with few rows to learn
SHAPES = ((1, 2000, 2000, 128), (10, 256, 10, 2048))
LARGE = (1, 50_000, 50_000, 128)
WARM = (1, 8, 8, 8)
ORDERS = ("forward", "with backward")
Function = Callable[[Tensor, Tensor, Sequence[float]], Tensor]


def plain(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """The biased estimate in torch's own operators, x (B, N, D) and y (B, M, D)."""

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        products = a @ b.transpose(1, 2)
        squares = ((a * a).sum(2)[:, :, None] + (b * b).sum(2)[:, None] - 2 * products).clamp_min(0)
        kernels = [torch.exp(-squares / (2 * sigma * sigma)) for sigma in bandwidths]
        return torch.as_tensor(sum(kernels)).mean((1, 2))

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


SIDES: dict[str, Function] = {"mmd": mmd, "plain": plain}


def inputs(shape: Sequence[int]) -> tuple[Tensor, Tensor, list[float]]:
    """The same sets in every process, and bandwidths about their distances."""
    sets, n, m, features = shape
    torch.manual_seed(0)
    bandwidths = [features**0.5 * 2.0**power / 2.83 for power in range(5)]
    x, y = torch.randn(sets, n, features), torch.randn(sets, m, features)
    return x.to(measure.DEVICE), y.to(measure.DEVICE), bandwidths


def work(side: Function, order: str, shape: Sequence[int]) -> Callable[[], Tensor]:
    """What is timed."""
    x, y, bandwidths = inputs(shape)

    def forward() -> Tensor:
        with torch.no_grad():
            return side(x, y, bandwidths)

    def backward() -> Tensor:
        leaf = y.detach().requires_grad_()
        return torch.autograd.grad(side(x, leaf, bandwidths).sum(), leaf)[0]

    return {"forward": forward, "with backward": backward}[order]


def error(shape: Sequence[int]) -> dict[str, float]:
    """Of each side's gradient, against plain torch in float64."""
    x, y, bandwidths = inputs(shape)
    leaf = y.double().requires_grad_()
    (true,) = torch.autograd.grad(plain(x.double(), leaf, bandwidths).sum(), leaf)
    found = {name: work(side, "with backward", shape)().double() for name, side in SIDES.items()}
    return {name: ((grad - true).norm() / true.norm()).item() for name, grad in found.items()}


def row(order: str, shape: Sequence[int], threads: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    torch.set_num_threads(threads)
    sides = {name: work(side, order, shape) for name, side in SIDES.items()}
    middle = {name: measure.median(times) for name, times in measure.interleave(sides, rounds).items()}
    return {
        "order": order,
        "shape": shape,
        "threads": threads,
        "seconds": middle,
        "times faster than plain": middle["plain"] / middle["mmd"],
    }


def peak(name: str, order: str, shape: Sequence[int]) -> dict[str, float]:
    """MiB over what the inputs take, and seconds, in a fresh process."""
    wanted = json.dumps([name, order, shape])
    return dict(measure.run_fresh("benchmarks.kernels.mmd", ["--peak-of", wanted]))


def measure_peak(name: str, order: str, shape: Sequence[int]) -> dict[str, float]:
    """The same, in this process."""
    work(SIDES[name], order, WARM)()
    run = work(SIDES[name], order, shape)
    begun = time.perf_counter()
    growth = measure.peak_growth(run)
    return {"MiB": growth, "seconds": time.perf_counter() - begun}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="all threads alone, no sets of 50,000 rows")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/mmd.json"))
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(json.dumps(measure_peak(*json.loads(options.peak_of))))
        return

    most = torch.get_num_threads()
    table = Table("pass", "(B, N, M, D)", "threads", "x plain", "peak MiB", "share of plain's", "error")
    rows: list[dict[str, object]] = []
    for shape in SHAPES:
        errors = error(shape)
        for order in ORDERS:
            peaks = {name: peak(name, order, shape)["MiB"] for name in SIDES}
            for threads in measure.threads(all_only=options.quick):
                made = row(order, shape, threads, options.rounds)
                made |= {"peak MiB": peaks, "share of plain's peak": peaks["mmd"] / peaks["plain"]}
                made["error"] = errors
                rows.append(made)
                cells = [order, str(shape), str(threads), f"{made['times faster than plain']:.1f}"]
                share = peaks["mmd"] / peaks["plain"]
                table.add_row(*cells, f"{peaks['mmd']:.0f}", f"{share:.0%}", f"{errors['mmd']:.0e}")
    if not options.quick:
        torch.set_num_threads(most)
        made = peak("mmd", "with backward", LARGE)
        rows.append({"order": "with backward", "shape": LARGE, "threads": most} | made)
        table.add_row("with backward", str(LARGE), str(most), "-", f"{made['MiB']:.0f}", "-", "-")
    measure.write(options.out, "mmd", rows, rounds=options.rounds, bandwidths=5)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
