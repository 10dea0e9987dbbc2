"""``norm_relu_pool`` against eager torch and torch.compile: time, peak memory, share of copy bandwidth.

    python -m benchmarks.kernels.norm_relu_pool [--rounds 7] [--quick] [--out FILE]

Batch 256 x 128 channels; the block alone, with cotangents at hand instead of a loss around it. The sides
take turns in one process; medians over rounds. ``torch.compile`` has no double backward and is left out
there. The peak is that of a fresh process a side, over what it held before; 2 x 2 images go first, so that
what a first call loads is not counted. The bandwidth share counts the
bytes that must move at the least (each input read once, each output written once) against what a copy of
warm buffers reaches on the same number of threads.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import measure
from pydistill.ops import norm_relu_pool

BATCH, CHANNELS = 256, 128
ORDERS = ("forward", "backward", "double backward")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
Block = Callable[[Tensor, Tensor, Tensor], Tensor]


def eager(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The block in torch's own operators."""
    return F.avg_pool2d(F.relu(F.group_norm(x, x.shape[1], weight, bias)), 2)


def inputs(side: int, dtype: str, layout: str) -> tuple[Tensor, Tensor, Tensor]:
    """The same images and weights in every process."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, CHANNELS, side, side).to(DTYPES[dtype], memory_format=LAYOUTS[layout])
    made = x, (torch.rand(CHANNELS) + 0.5).to(x.dtype), torch.randn(CHANNELS).to(x.dtype)
    x, weight, bias = (tensor.to(measure.DEVICE) for tensor in made)
    return x, weight, bias


def work(block: Block, order: str, given: tuple[Tensor, Tensor, Tensor]) -> Callable[[], object]:
    """What is timed: the block alone, with cotangents at hand instead of a loss around it."""
    x, weight, bias = given
    cotangent = torch.ones_like(x[:, :, ::2, ::2]).contiguous(memory_format=layout_of(x))
    second = (torch.ones_like(x), torch.ones_like(weight), torch.ones_like(bias))

    def forward() -> object:
        with torch.no_grad():
            return block(*given)

    def backward() -> object:
        leaves = [tensor.detach().requires_grad_() for tensor in given]
        return torch.autograd.grad(block(*leaves), leaves, cotangent)

    def double_backward() -> object:
        leaves = [tensor.detach().requires_grad_() for tensor in (*given, cotangent)]
        first = torch.autograd.grad(block(*leaves[:3]), leaves[:3], leaves[3], create_graph=True)
        return torch.autograd.grad(first, (leaves[0], leaves[1], leaves[3]), second)

    return {"forward": forward, "backward": backward, "double backward": double_backward}[order]


def layout_of(x: Tensor) -> torch.memory_format:
    """The memory format that ``x`` has."""
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def least_bytes(x: Tensor, order: str) -> int:
    """Bytes that the three passes cannot do without."""
    image, pooled = x.nbytes, x.nbytes // 4
    forward, backward = image + pooled, 2 * image + pooled
    double = 3 * image + 2 * pooled
    return {
        "forward": forward,
        "backward": forward + backward,
        "double backward": forward + backward + double,
    }[order]


def blocks(order: str) -> dict[str, Block]:
    """The sides; torch.compile refuses double backward."""
    sides: dict[str, Block] = {"fused": norm_relu_pool, "eager": eager}
    return sides if order == "double backward" else {**sides, "compiled": torch.compile(eager)}


def row(order: str, side: int, dtype: str, layout: str, threads: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    torch.set_num_threads(threads)
    given = inputs(side, dtype, layout)
    seconds = measure.interleave(
        {name: work(block, order, given) for name, block in blocks(order).items()}, rounds
    )
    middle = {name: measure.median(times) for name, times in seconds.items()}
    bandwidth = measure.copy_bandwidth()
    return {
        "order": order,
        "size": side,
        "dtype": dtype,
        "layout": layout,
        "threads": threads,
        "seconds": middle,
        "times faster than eager": middle["eager"] / middle["fused"],
        "times faster than compiled": middle["compiled"] / middle["fused"]
        if "compiled" in middle
        else None,
        "share of copy bandwidth": least_bytes(given[0], order) / middle["fused"] / bandwidth,
    }


def peak(name: str, order: str, side: int, dtype: str, layout: str) -> float:
    """MiB over what the inputs take, in a fresh process."""
    wanted = json.dumps([name, order, side, dtype, layout])
    return float(measure.run_fresh("benchmarks.kernels.norm_relu_pool", ["--peak-of", wanted]))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="32x32 float32, NCHW and channels_last alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/norm_relu_pool.json"))
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        name, order, side, *rest = json.loads(options.peak_of)
        block = {"fused": norm_relu_pool, "eager": eager}[name]
        run, warm = (work(block, order, inputs(size, *rest)) for size in (side, 2))
        print(json.dumps(measure.peak_growth(run, warm)))
        return

    most = torch.get_num_threads()
    grid = [
        (order, side, dtype, layout, threads)
        for side in ((32,) if options.quick else (32, 16, 8))
        for dtype in (("float32",) if options.quick else DTYPES)
        for layout in LAYOUTS
        for threads in measure.threads(all_only=options.quick)
        for order in ORDERS
    ]
    table = Table(
        "pass", "size", "dtype", "layout", "threads", "x eager", "x compiled", "bandwidth", "memory"
    )
    rows = []
    for order, side, dtype, layout, threads in grid:
        made = row(order, side, dtype, layout, threads, options.rounds)
        if threads == most:
            peaks = {name: peak(name, order, side, dtype, layout) for name in ("fused", "eager")}
            made |= {"peak MiB": peaks, "share of eager's peak": peaks["fused"] / peaks["eager"]}
        rows.append(made)
        cells = [order, f"{side}²", dtype, layout, str(threads), f"{made['times faster than eager']:.1f}"]
        compiled = made["times faster than compiled"]
        cells += ["-" if compiled is None else f"{compiled:.1f}", f"{made['share of copy bandwidth']:.0%}"]
        table.add_row(*cells, _memory(made))
    measure.write(
        options.out, "norm_relu_pool", rows, rounds=options.rounds, batch=BATCH, channels=CHANNELS
    )
    Console(width=120).print(table)


def _memory(made: dict[str, object]) -> str:
    share = made.get("share of eager's peak")
    return "-" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    main()
