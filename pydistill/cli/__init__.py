"""The command line: events become progress bars, results tables, errors exit codes.

Exit codes: 0 done, 1 a fault of pydistill itself, 2 a wrong argument, 3 unusable data, 4 a file or state
that cannot be read or written, 5 a loss that is not finite, 128 and the number of the signal that ended it
(130 by SIGINT, 143 by SIGTERM, 129 by SIGHUP).
"""

import argparse
import contextlib
import importlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from pydistill._version import __version__
from pydistill.cli.common import console, short_lines
from pydistill.cli.parser import Parser
from pydistill.cli.stopping import Signals, StoppedError
from pydistill.errors import DataError, DivergenceError, PydistillError
from pydistill.shown import printable_lines

COMMANDS = {
    "analyse": (
        "Look at a data set before distilling it: copies, wrong labels, balance, difficulty, redundancy; "
        "one page "
        "of them with what to do."
    ),
    "scores": (
        "Train networks on the real data and keep what they make of every training image: how hard it is, "
        "how surely it is learned, where it lies among the others. Selectors and the analysis take them. "
        "The same command goes on where it was stopped."
    ),
    "distill": "Distil a data set into a few images a class.",
    "evaluate": "Train fresh networks on a distilled set and score them.",
    "experts": (
        "Train networks on the real data and keep their weights along the way, for mtt, tesla and datm. "
        "The same command goes on where it was stopped, and adds to what is there. Under torchrun the "
        "experts are shared out among the ranks."
    ),
    "export": "Write a distilled set for other tools: a folder of PNG, or one exact parquet file.",
    "methods": "List the methods.",
    "info": "Tell versions, what the extension was built with or why it is absent; or what a set holds.",
    "completion": "Print a script with which a shell completes commands, options and methods.",
}
"""Each command and what it does: module ``pydistill.cli.NAME``, imported when the command is asked for."""

USAGE, DATA, FILES, DIVERGED = 2, 3, 4, 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is returned, never raised (but for ``--help`` and misuse)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with Signals() as signals:
        try:
            return _run(given, signals)
        except StoppedError as stop:
            return _say(str(stop), stop.code)
        except OSError:
            if signals.caught is None:
                raise
            return 128 + signals.caught  # the terminal is gone: there is nobody to tell


def _run(given: Sequence[str], signals: Signals) -> int:
    try:
        options = _parser(given).parse_args(given, argparse.Namespace(signals=signals, given=given))
        screen = console(stderr=True, quiet=getattr(options, "json", False))
        with _warnings_as_lines():
            answer = options.run(options, screen)
    except (ValueError, TypeError) as error:
        return _fail(error, USAGE)
    except DataError as error:
        return _fail(error, DATA)
    except DivergenceError as error:
        return _fail(error, DIVERGED)
    except PydistillError as error:
        return _fail(error, FILES)
    if options.json:
        print(json.dumps(answer, indent=2))
    if signals.caught is not None:
        raise StoppedError(signals.caught, "the command had done its work by then")
    return 0


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """The package's own warnings as a line each, without the place in its sources that they come from."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if category.__module__.startswith("pydistill."):
                print(printable_lines(message), file=sys.stderr)
            else:
                usual(message, category, *place, **more)

        warnings.showwarning = show
        yield


def _fail(error: Exception, code: int) -> int:
    return _say(short_lines(str(error)), code)


def _say(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(f"pydistill: {printable_lines(text)}", file=sys.stderr, flush=True)
    return code


def _parser(given: Sequence[str]) -> Parser:
    """Every command by name; options of the one asked for alone, since some take seconds of imports."""
    top = Parser(prog="pydistill", description="Dataset distillation.")
    top.add_argument("--version", action="version", version=f"pydistill {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    asked = next((word for word in given if not word.startswith("-")), None)
    for name, about in COMMANDS.items():
        parser = commands.add_parser(name, help=about, description=about)
        if name == asked:
            top.asked = parser
            parser.add_argument(
                "--json", action="store_true", help="print the result as JSON, and no progress"
            )
            importlib.import_module(f"pydistill.cli.{name}").add(parser, given)
    return top
