"""``pydistill methods``."""

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from pydistill.cli.common import console
from pydistill.engine.catalogue import Summary, summaries


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_methods)


def _methods(options: argparse.Namespace, screen: Console) -> list[dict[str, Any]]:
    if options.json:
        return _in_full()
    screen = console()
    if not screen.is_terminal:  # columns for programs: nothing wrapped, nothing cut
        rows = [_row(each) for each in summaries()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
            print("  ".join(cells).rstrip())
        return []
    wrapped = (Column(title, overflow="fold") for title in ("family", "tasks", "what it does", "source"))
    table = Table(Column("method", no_wrap=True), *wrapped)
    for each in summaries():
        table.add_row(*_row(each))
    screen.print(table)
    return []


def _row(method: Summary) -> tuple[str, str, str, str, str]:
    tasks = ", ".join(method.tasks)
    return method.name, method.family, tasks, method.summary, method.citation


def _in_full() -> list[dict[str, Any]]:
    """With options and presets, for which the methods themselves are imported."""
    import dataclasses

    from pydistill.engine.method import methods

    return [
        {
            "name": name,
            "family": kind.family,
            "tasks": list(kind.tasks),
            "summary": kind.summary,
            "citation": kind.citation,
            "options": {field.name: field.default for field in dataclasses.fields(kind)},
            "presets": {preset: dict(chosen) for preset, chosen in kind.presets.items()},
        }
        for name, kind in methods().items()
    ]
