"""``pydistill methods`` and ``pydistill info``."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pydistill.cli.common import command, console
from pydistill.method import methods
from pydistill.shown import printable


def add_methods(commands: Any) -> None:
    """The parser of ``methods``."""
    command(commands, "methods", "List the methods.", _methods)


def add_info(commands: Any) -> None:
    """The parser of ``info``."""
    what = "Tell versions, and what the extension was built with or why it is absent; or what a set holds."
    parser = command(commands, "info", what, _info)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what distill wrote")


def _methods(options: argparse.Namespace, screen: Console) -> list[dict[str, Any]]:
    table = Table("method", "family", "what it does", "source")
    rows = []
    for name, kind in methods().items():
        table.add_row(name, kind.family, kind.summary, kind.citation)
        rows.append(
            {
                "name": name,
                "family": kind.family,
                "summary": kind.summary,
                "citation": kind.citation,
                "options": {field.name: field.default for field in dataclasses.fields(kind)},
                "presets": {preset: dict(chosen) for preset, chosen in kind.presets.items()},
            }
        )
    if not options.json:
        console().print(table)
    return rows


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
