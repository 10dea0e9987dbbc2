"""Loading data sets as they are published: time, processor time and memory.

    python -m benchmarks.data.load PATH [PATH ...] [--rounds 3] [--out FILE]

``first`` decodes, and writes the cache where a source has one, in an empty folder; ``again`` reads a second
time with what the first left there. Processor seconds are those of every thread: on a machine that does
other things too they say more than wall time. The peak is that of a fresh process over what it held
before, the loaded set included.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks import measure
from pydistill.data import RealData, load_data

MODULE = "benchmarks.data.load"


def load(source: Path, cache: Path) -> RealData:
    """The data set; only tables keep a cache."""
    return load_data(source, cache=cache) if any(source.rglob("*.parquet")) else load_data(source)


def timed(source: Path, cache: Path) -> tuple[RealData, dict[str, float]]:
    """The data set, and what loading it took."""
    wall, processor = time.perf_counter(), time.process_time()
    data = load(source, cache)
    return data, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - processor}


def row(source: Path, rounds: int) -> dict[str, object]:
    """Medians over rounds for one data set, each round in a cache of its own."""
    first, again = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            data, took = timed(source, Path(cache))
            first.append(took)
            again.append(timed(source, Path(cache))[1])
    peak = measure.run_fresh(MODULE, [str(source), "--peak"])
    return {
        "data": source.name,
        "images": [len(data.train), len(data.validation), len(data.test)],
        "shape": list(data.shape),
        "first": {key: median(took[key] for took in first) for key in first[0]},
        "again": {key: median(took[key] for took in again) for key in again[0]},
        "peak_mib": peak,
    }


def peak(source: Path) -> float:
    """MiB that loading adds to this process."""
    cache = Path(tempfile.mkdtemp())
    try:
        kept: list[RealData] = []
        return measure.peak_growth(lambda: kept.append(load(source, cache)))
    finally:
        shutil.rmtree(cache)


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+", metavar="PATH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(options.sources[0])))
        return
    rows = [row(source, options.rounds) for source in options.sources]
    table = Table("data", "first, s", "of the processor", "again, s", "of the processor", "peak, MiB")
    for made in rows:
        cells = [
            f"{made[when][key]:.2f}" for when in ("first", "again") for key in ("seconds", "cpu_seconds")
        ]  # type: ignore[index]
        table.add_row(str(made["data"]), *cells, f"{made['peak_mib']:.0f}")
    Console().print(table)
    if options.out:
        measure.write(options.out, "load", rows, rounds=options.rounds)


if __name__ == "__main__":
    main()
