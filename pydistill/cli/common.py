"""What commands share: a screen, bars from events, what is said of a command that a signal ends."""

import argparse
import contextlib
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from pydistill import events
from pydistill.cli.stopping import Signals, StoppedError
from pydistill.shown import duration, printable, printable_lines

if TYPE_CHECKING:
    from pydistill.cli.forecast import Forecast

_MANY = 1000
"""Iterations that are announced."""

_TIMED, _LOOKED_AT, _WORTH_SAYING = 5, 1.0, 60.0
"""Iterations and seconds after which a run's length is known, and how long it is where that is said."""

_LONG, _WIDTH = 250, 100
_BETWEEN_PARTS = re.compile(r"; (?![^()]*\))")
_WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
"""Of messages on the error stream: longer ones are broken into lines of that width, never within a word."""


def console(**settings: Any) -> Console:
    """A screen that shows text as it is: ``a[/b]`` and ``:x:`` are no markup and no emoji."""
    return Console(markup=False, emoji=False, **settings)


def say(screen: Console, text: str) -> None:
    """Print lines, without breaking long ones; what a terminal would obey is shown escaped."""
    screen.print(printable_lines(text), soft_wrap=True)


def short_lines(text: str) -> str:
    """A long message with each part of it (between semicolons outside brackets) on lines of its own."""
    lines = []
    for line in text.split("\n"):
        if len(line) <= _LONG:
            lines.append(line)
            continue
        first, *rest = _BETWEEN_PARTS.split(line)
        parts = [first, *(f"  {part}" for part in rest)]
        lines += [textwrap.fill(part, _WIDTH, subsequent_indent="    ", **_WHOLE_WORDS) for part in parts]
    return "\n".join(lines)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """The option to be told what a command will take instead of running it."""
    about = "time a few steps, tell steps, time, memory and disk of the whole, and write nothing"
    parser.add_argument("--dry-run", action="store_true", help=about)


def foretell(screen: Console, forecast: "Forecast", folder: Path) -> dict[str, Any]:
    """Say what a command will take; what ``--json`` prints of it."""
    say(screen, "\n".join([*forecast.lines(folder), "nothing was written (--dry-run)"]))
    return {"dry run": True, **forecast.record()}


@dataclass
class _Spent:
    """Time that iterations took."""

    count: int = 0
    seconds: float = 0.0
    announced: bool = False


class Listener:
    """Draws one bar a stage from events, and ends a run between two iterations where a signal asks for it.

    Attributes:
        done: (iterations done, iterations in all) of a run, once it has started.
        hint: Said behind the number of iterations as a run starts.
    """

    def __init__(self, screen: Console, signals: Signals | None = None, hint: str = "") -> None:
        self.signals = signals or Signals()
        self.done: tuple[int, int] | None = None
        self.hint, self.spent = hint, _Spent()
        self.bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=screen,
        )
        self.stages: dict[str, Any] = {}

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Notice(text):
                say(self.bar.console, text)
            case events.Step(index, total, metrics, seconds):
                note = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
                self._show("distil", index, total, note)
                self.done = (index, total)
                self._foresee(total - index, seconds)
                self.signals.check()
            case events.Started(index, total):
                self.done = (index, total)
                self.signals.deferred = True
                if self.hint or total - index >= _MANY:
                    say(self.bar.console, f"{total - index:,} iterations to come{self.hint}")
            case events.Snapshot():
                self.signals.deferred = False
            case events.Progress(stage, done, total, detail):
                self._show(stage, done, total, detail)

    def _foresee(self, left: int, seconds: float) -> None:
        """Say once, after the first few iterations, what the others will take, where that is long."""
        spent = self.spent
        spent.count, spent.seconds = spent.count + 1, spent.seconds + seconds
        if not spent.announced and spent.count >= _TIMED and spent.seconds >= _LOOKED_AT:
            spent.announced = True
            to_come = left * spent.seconds / spent.count
            if to_come >= _WORTH_SAYING:
                say(self.bar.console, f"{duration(to_come)} to come, by the first {spent.count} iterations")

    def _show(self, stage: str, done: int, total: int, note: str) -> None:
        if stage not in self.stages:
            self.stages[stage] = self.bar.add_task(printable(stage), total=total, note="")
        self.bar.update(self.stages[stage], completed=done, total=total, note=printable(note))


def same_command(options: argparse.Namespace, *, resumed: bool = False) -> str:
    """The command that was given, as one types it; with ``resumed`` the one that goes on."""
    words = (
        [word for word in options.given if word not in ("--resume", "--overwrite")]
        if resumed
        else (options.given)
    )
    return shlex.join(["pydistill", *words, *(["--resume"] if resumed else [])])


@contextlib.contextmanager
def advised(advice: str) -> Iterator[None]:
    """Let a signal that ends the work inside say what was kept and how to go on."""
    try:
        yield
    except StoppedError as stop:
        raise StoppedError(stop.number, advice) from stop
