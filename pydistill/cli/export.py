"""``pydistill export``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.cli.data_options import RECIPE, RECORD, recorded
from pydistill.shown import printable
from pydistill.storage.records import write_json


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_export)
    parser.add_argument("folder", type=Path, metavar="DIR", help="what distill wrote")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="a new folder for PNG files, or a file that ends in .parquet"
    )
    parser.add_argument(
        "--scale",
        choices=("clamp", "range"),
        default="clamp",
        help="of PNG: pixels outside the range of a picture are clamped, or each picture is stretched to "
        "its own range, which export.json undoes (default %(default)s)",
    )


def _export(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from pydistill.data import DistilledData

    distilled, out = DistilledData.load(options.folder), options.out
    answer: dict[str, Any] = {"folder": str(options.folder), "out": str(out), "loss": None}
    if out.suffix == ".parquet":
        distilled.export_parquet(out)
        told = f"wrote {out}: {len(distilled.images)} images, exactly"
    else:
        recipe = recorded(options.folder)
        loss = distilled.export_folder(out, options.scale)
        if recipe:  # so that the pictures can be evaluated as the set itself can
            write_json(out / RECIPE, RECORD, recipe)
        answer["loss"] = loss.record()
        told = f"wrote {len(distilled.images)} pictures to {out}: {loss.text()}"
        told += f"\nscore them: pydistill evaluate {out}"
    if not options.json:
        for line in told.split("\n"):
            print(printable(line))
    return answer
