"""What can be said of a report from where it is kept: how to repeat it, and how distilling went."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydistill.engine.method import methods
from pydistill.errors import FileFormatError
from pydistill.evaluation.protocol import LATER, PROTOCOLS
from pydistill.storage.history import read_history
from pydistill.storage.run_folder import LOG

if TYPE_CHECKING:
    from pydistill.evaluation.report import Report

_LONGEST_LOG = 1 << 18
"""Bytes of a run's log that are looked at, from its end."""
_COMMAND = re.compile(r"begin: pydistill \S+: (pydistill (distill|evaluate) .*)")


def history(folder: Path | None) -> dict[str, Any]:
    """Steps and metrics of the run in ``folder``; empty where none were kept or they cannot be read."""
    if folder is None:
        return {}
    try:
        return read_history(folder) or {}
    except FileFormatError:
        return {}


def commands(folder: Path | None) -> list[str]:
    """The last command that distilled and the last that evaluated, as the run's log has them."""
    if folder is None:
        return []
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LONGEST_LOG))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = {match[2]: match[1] for line in lines if (match := _COMMAND.search(line))}
    return [found[name] for name in ("distill", "evaluate") if name in found]


def program(report: "Report") -> str:
    """Lines of Python that make the set and the report again, for whoever has the data."""
    made = report.provenance
    budget = dict(made.get("budget") or {"ipc": made["ipc"]})
    given = {**budget, "seed": made["seed"], "preset": made.get("preset")}
    given |= {"clamp": made.get("clamp"), "short_classes": "keep" if made.get("short_classes") else None}
    options = {name: value for name, value in given.items() if value not in (None, False)}
    options |= _own_options(made)
    base, changes = _protocol(report.protocol)
    lines = [
        "import pydistill",
        f"data = pydistill.load_data({made['data']!r})",
        f"small = pydistill.distill(data, {made['method']!r}, {_arguments(options)})",
        f"report = pydistill.evaluate(small, data, {', '.join([repr(base), *_pairs(changes)])})",
    ]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """A command as a shell takes it, its words quoted anew; as it is where it cannot be split."""
    try:
        return shlex.join(shlex.split(text))
    except ValueError:
        return text


def _own_options(made: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the method that its preset, or its defaults, do not give."""
    config, kind = dict(made["config"]), methods().get(str(made["method"]))
    if kind is None:
        return {name: value for name, value in config.items() if name.isidentifier()}
    preset = kind.presets.get(str(made.get("preset")), {})
    usual = kind(**preset).config()
    return {name: config[name] for name in usual if name in config and config[name] != usual[name]}


def _protocol(record: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The protocol of fewest differences by name, and the differences."""
    found = {}
    for name, protocol in PROTOCOLS.items():
        usual = {**LATER, **protocol.record()}
        found[name] = {key: record[key] for key in usual if key in record and record[key] != usual[key]}
    best = min(found, key=lambda name: len(found[name]))
    return best, found[best]


def _arguments(options: Mapping[str, Any]) -> str:
    return ", ".join(_pairs(options))


def _pairs(options: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={tuple(value) if isinstance(value, list) else value!r}" for name, value in options.items()
    ]
