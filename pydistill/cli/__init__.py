"""The command line: events become progress bars, results tables, errors exit codes.

Exit codes: 0 done, 1 a fault of pydistill itself, 2 a wrong argument, 3 unusable data, 4 a file or state
that cannot be read or written, 5 a loss that is not finite, 130 interrupted.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from pydistill._version import __version__
from pydistill.cli.common import console
from pydistill.errors import DataError, DivergenceError, PydistillError
from pydistill.shown import printable_lines

COMMANDS = {
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
}
"""Each command and what it does: module ``pydistill.cli.NAME``, imported when the command is asked for."""

USAGE, DATA, FILES, DIVERGED, INTERRUPTED = 2, 3, 4, 5, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is returned, never raised (but for ``--help`` and misuse)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(given).parse_args(given)
    screen = console(stderr=True, quiet=getattr(options, "json", False))
    try:
        answer = options.run(options, screen)
    except (ValueError, TypeError) as error:
        return _fail(error, USAGE)
    except DataError as error:
        return _fail(error, DATA)
    except DivergenceError as error:
        return _fail(error, DIVERGED)
    except PydistillError as error:
        return _fail(error, FILES)
    except KeyboardInterrupt:
        return _fail(f"interrupted{options.again}", INTERRUPTED)
    if options.json:
        print(json.dumps(answer, indent=2))
    return 0


def _fail(error: object, code: int) -> int:
    print(f"pydistill: {printable_lines(error)}", file=sys.stderr)
    return code


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """Every command by name; options of the one asked for alone, since some take seconds of imports."""
    top = argparse.ArgumentParser(prog="pydistill", description="Dataset distillation.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"pydistill {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    asked = next((word for word in given if not word.startswith("-")), None)
    for name, about in COMMANDS.items():
        parser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        if name == asked:
            parser.add_argument(
                "--json", action="store_true", help="print the result as JSON, and no progress"
            )
            parser.set_defaults(again="")
            importlib.import_module(f"pydistill.cli.{name}").add(parser, given)
    return top
