"""``pydistill methods``."""

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pydistill.catalogue import summaries
from pydistill.cli.common import console


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_methods)


def _methods(options: argparse.Namespace, screen: Console) -> list[dict[str, Any]]:
    if options.json:
        return _in_full()
    table = Table("method", "family", "what it does", "source")
    for each in summaries():
        table.add_row(each.name, each.family, each.summary, each.citation)
    console().print(table)
    return []


def _in_full() -> list[dict[str, Any]]:
    """With options and presets, for which the methods themselves are imported."""
    import dataclasses

    from pydistill.method import methods

    return [
        {
            "name": name,
            "family": kind.family,
            "summary": kind.summary,
            "citation": kind.citation,
            "options": {field.name: field.default for field in dataclasses.fields(kind)},
            "presets": {preset: dict(chosen) for preset, chosen in kind.presets.items()},
        }
        for name, kind in methods().items()
    ]
