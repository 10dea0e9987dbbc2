"""``conv3x3`` against torch's own convolution: time, peak memory, error.

    python -m benchmarks.kernels.conv3x3 [--rounds 9] [--quick] [--out FILE]
    python -m benchmarks.kernels.conv3x3 --small --out benchmarks/results/conv3x3_small.json

100 maps, channels_last, float32, with bias: the layers of ConvNet-3/128 on 32 x 32 images, and wider and
uneven ones. ``backward`` is forward and both gradients, ``double backward`` those and their gradients by
:mod:`pydistill.ops.second_order`, against the same with torch's convolution in place of the kernels. The
sides take turns in one process; medians over rounds. The peak is that of a fresh process a side, over what
it held before, after 4 x 4 maps that load what is loaded once. Errors are of value and gradients, in norm,
against float64.

``--small`` asks where the kernels begin to pay: layers of few multiplications on one thread, the quickest
of many runs. From it comes the rule of ``pydistill.nets.layers``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import measure
from pydistill.nets.layers import Convolution
from pydistill.ops import reference_only
from pydistill.ops.conv3x3 import conv3x3, fits
from pydistill.ops.second_order import convolution

IMAGES = 100
# (I, O, H, W)
SHAPES = ((3, 128, 32, 32), (128, 128, 16, 16), (128, 128, 8, 8))
MORE = ((64, 64, 32, 32), (256, 256, 16, 16), (128, 128, 14, 14))
# (images, I, O, side): of small networks and batches
SMALL = tuple(
    (images, into, out, side)
    for into, out in ((3, 16), (16, 16), (32, 32), (64, 64), (128, 128))
    for side in (8, 16)
    for images in (10, 50)
)
REPEATS, LONGEST = 40, 0.5
"""Runs that the quickest is taken of, and the seconds after which there are no more of them."""
ORDERS = ("forward", "backward", "double backward")
SIDES = ("conv3x3", "plain")
Shape = tuple[int, int, int, int]


def inputs(shape: Shape, images: int = IMAGES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maps, filters, bias and cotangent, the same in every process."""
    torch.manual_seed(0)
    into, out, height, width = shape
    made = (
        torch.randn(images, into, height, width),
        torch.randn(out, into, 3, 3) / (9 * into) ** 0.5,
        torch.randn(out),
        torch.randn(images, out, height, width),
    )
    x, weight, bias, grad = (tensor.to(measure.DEVICE) for tensor in made)
    last = torch.channels_last
    return x.contiguous(memory_format=last), weight, bias, grad.contiguous(memory_format=last)


def derivatives(order: str, given: tuple[Tensor, ...]) -> list[Tensor]:
    """Value, gradients, gradients of those, as far as `order` goes."""
    if order == "forward":
        with torch.no_grad():
            return [convolution(*given[:3], padding=1)]
    x, weight, bias, grad = (tensor.detach().requires_grad_() for tensor in given)
    y = convolution(x, weight, bias, padding=1)
    twice = order == "double backward"
    first = torch.autograd.grad(y, (x, weight, bias), grad, create_graph=twice)
    if not twice:
        return [y, *first]
    turns = [leaf.detach() for leaf in (x, weight)]
    return [y, *first, *torch.autograd.grad(first[:2], (grad, x, weight), turns)]


def work(side: str, order: str, shape: Shape) -> Callable[[], list[Tensor]]:
    """What is timed."""
    given = inputs(shape)

    def plain() -> list[Tensor]:
        with reference_only():
            return derivatives(order, given)

    return plain if side == "plain" else lambda: derivatives(order, given)


def error(shape: Shape) -> dict[str, float]:
    """The largest of value and gradients, by side."""
    with reference_only():
        true = derivatives("backward", tuple(tensor.double() for tensor in inputs(shape)))
    return {
        side: max(
            ((one.double() - exact).norm() / exact.norm()).item()
            for one, exact in zip(work(side, "backward", shape)()[:3], true[:3], strict=True)
        )
        for side in SIDES
    }


def row(order: str, shape: Shape, threads: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    torch.set_num_threads(threads)
    seconds = measure.interleave({side: work(side, order, shape) for side in SIDES}, rounds)
    middle = {side: measure.median(times) for side, times in seconds.items()}
    return {
        "order": order,
        "shape": shape,
        "threads": threads,
        "seconds": middle,
        "times faster than plain": middle["plain"] / middle["conv3x3"],
    }


def quickest(run: Callable[[], object]) -> float:
    """Seconds of the quickest run, in this process's own time: whatever else runs here only ever adds."""
    run()
    found, begun = float("inf"), time.perf_counter()
    for _ in range(REPEATS):
        before = time.process_time()
        run()
        found = min(found, time.process_time() - before)
        if time.perf_counter() - begun > LONGEST:
            break
    return found


def small_row(images: int, into: int, out: int, side: int) -> dict[str, object]:
    """Forward and backward pass of a small layer, both sides' kernels."""
    x, weight, bias, grad = inputs((into, out, side, side), images)
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]

    def one(layer: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(layer(x, weight, bias), leaves, grad)

    sides = {"conv3x3": one(conv3x3), "plain": one(lambda *given: torch.conv2d(*given, padding=1))}
    seconds = {name: quickest(run) for name, run in sides.items()}
    return {
        "images": images,
        "shape": (into, out, side, side),
        "multiply-adds": x[:, :1].numel() * weight.numel(),
        "taken": fits(x, weight),
        "seconds": seconds,
        "times faster than plain": seconds["plain"] / seconds["conv3x3"],
        "chosen": "conv3x3" if Convolution.faster(x, weight) else "plain",
    }


def small(out: Path) -> None:
    """Measure, print, write the layers of few multiplications."""
    torch.set_num_threads(1)
    table = Table("images", "(I, O, H, W)", "million multiply-adds", "us", "x plain", "chosen")
    rows = sorted((small_row(*each) for each in SMALL), key=lambda made: made["multiply-adds"])
    for made in rows:
        cells = [str(made["images"]), str(made["shape"]), f"{made['multiply-adds'] / 1e6:.1f}"]
        cells += [f"{1e6 * made['seconds']['conv3x3']:.0f}", f"{made['times faster than plain']:.2f}"]
        table.add_row(*cells, str(made["chosen"]) if made["taken"] else "not taken")
    measure.write(out, "conv3x3 --small", rows, repeats=REPEATS)
    Console(width=120).print(table)


def peak(side: str, order: str, shape: Shape) -> float:
    """MiB over what the inputs take, in a fresh process."""
    wanted = json.dumps([side, order, shape])
    return float(measure.run_fresh("benchmarks.kernels.conv3x3", ["--peak-of", wanted]))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--quick", action="store_true", help="the layers of ConvNet-3/128, all threads alone"
    )
    parser.add_argument("--small", action="store_true", help="where the kernels begin to pay, alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/conv3x3.json"))
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        side, order, shape = json.loads(options.peak_of)
        run, warm = (work(side, order, (*shape[:2], *size)) for size in (shape[2:], (4, 4)))
        print(json.dumps(measure.peak_growth(run, warm)))
        return

    if options.small:
        small(options.out)
        return
    most = torch.get_num_threads()
    table = Table(
        "pass", "(I, O, H, W)", "threads", "x plain", "ms", "peak MiB", "share of plain's", "error"
    )
    rows: list[dict[str, object]] = []
    for shape in SHAPES if options.quick else SHAPES + MORE:
        errors = error(shape)
        for order in ORDERS:
            peaks = {side: peak(side, order, shape) for side in SIDES}
            share = peaks["conv3x3"] / peaks["plain"]
            for threads in measure.threads(all_only=options.quick):
                made = row(order, shape, threads, options.rounds)
                made |= {"peak MiB": peaks, "share of plain's peak": share, "error": errors}
                rows.append(made)
                cells = [order, str(shape), str(threads), f"{made['times faster than plain']:.1f}"]
                cells += [f"{1e3 * made['seconds']['conv3x3']:.1f}", f"{peaks['conv3x3']:.0f}"]
                table.add_row(*cells, f"{share:.0%}", f"{errors['conv3x3']:.0e}")
        torch.set_num_threads(most)
    measure.write(options.out, "conv3x3", rows, rounds=options.rounds, images=IMAGES)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
