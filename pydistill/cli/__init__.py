"""The command line: events become progress bars, results tables, errors exit codes.

Exit codes: 0 done, 1 a fault of pydistill itself, 2 a wrong argument, 3 unusable data, 4 a file or state
that cannot be read or written, 5 a loss that is not finite, 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from pydistill._version import __version__
from pydistill.cli import distill, evaluate, experts, info
from pydistill.cli.common import console
from pydistill.errors import DataError, DivergenceError, PydistillError
from pydistill.method import methods
from pydistill.shown import printable_lines

USAGE, DATA, FILES, DIVERGED, INTERRUPTED = 2, 3, 4, 5, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is returned, never raised (but for ``--help`` and misuse)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(_method_asked_for(given)).parse_args(given)
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


def _method_asked_for(given: Sequence[str]) -> str | None:
    """The method named in the arguments, so that its own options can be parsed and shown in the help."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--method")
    found: str | None = finder.parse_known_args(list(given))[0].method
    return found if found in methods() else None


def _parser(method: str | None) -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="pydistill", description="Dataset distillation.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"pydistill {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    distill.add(commands, method)
    evaluate.add(commands)
    experts.add(commands)
    info.add_methods(commands)
    info.add_info(commands)
    return top
