"""``pydistill info``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.shown import printable


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_info)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what distill wrote")


def _info(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from pydistill import about
    from pydistill.data import DistilledData

    if options.folder is None:
        answer = about.installation()
    else:
        answer = about.distilled_set(DistilledData.load(options.folder))
    if not options.json:
        for name, value in _lines(answer):
            print(f"{printable(name):<28} {printable(value)}")
    return answer


def _lines(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        return [line for key, value in tree.items() for line in _lines(value, f"{path} {key}".strip())]
    shown = ", ".join(map(str, tree)) or "none" if isinstance(tree, list | tuple) else tree
    return [(path, "none" if shown is None else shown)]
