"""``siamese_augment`` against the plain-torch transforms one after the other: time and peak memory.

    python -m benchmarks.kernels.siamese_augment [--rounds 7] [--quick] [--out FILE]

Ten rows of parameters, a tenth of the images each, as a distillation step has them. ``all``: every row has
all six transforms active; ``apart``: each row has one of them, which is what the methods draw. The plain
side is what ``Augmentation.apply_images`` runs without the extension, shortcuts for equal rows included.
Backward means forward and backward; the cotangent is at hand instead of a loss around it. The sides take
turns in one process; medians over rounds. The peak is that of a fresh process a side, warmed by a tiny
call, over what it held before.
"""

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import measure
from pydistill import ops
from pydistill.augment import TRANSFORMS, Augmentation
from pydistill.seeds import generator

ROWS = 10
COUNTS = (2560, 100)
SHAPES = {"3x32x32": (3, 32, 32), "1x28x28": (1, 28, 28)}
MODES = ("all", "apart")
ORDERS = ("forward", "backward")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
VARIANTS = (("3x32x32", "float32"), ("3x32x32", "bfloat16"), ("1x28x28", "float32"))
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
SIDES = {"fused": contextlib.nullcontext, "plain": ops.reference_only}
Case = tuple[int, str, str, str, str]


def work(side: str, order: str, case: Case) -> Callable[[], object]:
    """What is timed: the augmentation alone, the same images and parameters in every process."""
    count, shape, mode, dtype, layout = case
    augmentation = Augmentation(tuple(TRANSFORMS), "all" if mode == "all" else "single")
    size = SHAPES[shape][1:]
    drawn = augmentation.sample(ROWS, generator(0, "rows", mode), together=False, size=size)
    if mode == "all":
        drawn.column("flip")[:] = 1  # else half of the rows have five
    parameters = drawn.rows(torch.arange(ROWS).repeat_interleave(count // ROWS))
    # Filled in place: memory that a copy leaves free would hide what a side takes.
    images = torch.empty(count, *SHAPES[shape], dtype=DTYPES[dtype], memory_format=LAYOUTS[layout])
    images = images.normal_(generator=generator(0, "images")).to(measure.DEVICE)
    cotangent = torch.ones_like(images)

    def forward() -> object:
        with torch.no_grad(), SIDES[side]():
            return augmentation.apply_images(images, parameters)

    def backward() -> object:
        leaf = images.detach().requires_grad_()
        with SIDES[side]():
            return torch.autograd.grad(augmentation.apply_images(leaf, parameters), leaf, cotangent)

    return {"forward": forward, "backward": backward}[order]


def row(order: str, threads: int, rounds: int, case: Case) -> dict[str, object]:
    """One line of the table."""
    torch.set_num_threads(threads)
    repeats = rounds if case[0] > COUNTS[-1] else 10 * rounds  # short calls are noisy
    seconds = measure.interleave({side: work(side, order, case) for side in SIDES}, repeats)
    middle = {side: measure.median(times) for side, times in seconds.items()}
    keys = ("images", "shape", "mode", "dtype", "layout")
    return {
        "order": order,
        **dict(zip(keys, case, strict=True)),
        "threads": threads,
        "seconds": middle,
        "times faster than plain": middle["plain"] / middle["fused"],
    }


def peak(side: str, order: str, case: Case) -> float:
    """MiB over what the inputs take, in a fresh process."""
    wanted = json.dumps([side, order, case])
    return float(measure.run_fresh("benchmarks.kernels.siamese_augment", ["--peak-of", wanted]))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="2,560 x 3 x 32 x 32 float32 alone")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/siamese_augment.json"))
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        side, order, case = json.loads(options.peak_of)
        run = work(side, order, case)
        work(side, order, (ROWS, *case[1:]))()
        print(json.dumps(measure.peak_growth(run)))
        return

    most = torch.get_num_threads()
    grid = [
        (order, threads, (count, shape, mode, dtype, layout))
        for count in (COUNTS[:1] if options.quick else COUNTS)
        for shape, dtype in (VARIANTS[:1] if options.quick else VARIANTS)
        for mode in MODES
        for layout in (LAYOUTS if shape == "3x32x32" else ("nchw",))
        for threads in measure.threads(all_only=options.quick or (shape, dtype) != VARIANTS[0])
        for order in ORDERS
    ]
    table = Table("pass", "images", "mode", "dtype", "layout", "threads", "ms", "x plain", "memory")
    rows = []
    for order, threads, case in grid:
        made = row(order, threads, options.rounds, case)
        share = "-"
        if threads == most and case[0] == COUNTS[0]:
            peaks = {side: peak(side, order, case) for side in SIDES}
            made |= {"peak MiB": peaks, "share of plain's peak": peaks["fused"] / peaks["plain"]}
            share = f"{peaks['fused'] / peaks['plain']:.0%}"
        rows.append(made)
        count, shape, mode, dtype, layout = case
        milliseconds = f"{1e3 * made['seconds']['fused']:.2f}"  # type: ignore[index]
        ratio = f"{made['times faster than plain']:.1f}"
        table.add_row(
            order, f"{count} x {shape}", mode, dtype, layout, str(threads), milliseconds, ratio, share
        )
    measure.write(options.out, "siamese_augment", rows, rounds=options.rounds, parameter_rows=ROWS)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
