"""A parser whose errors are a line or two and name what was probably meant."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from pydistill.errors import did_you_mean
from pydistill.shown import printable


class Parser(argparse.ArgumentParser):
    """``ArgumentParser`` without abbreviations, with near names for misspelt options and choices."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.asked: Parser | None = None

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever; arguments that nobody knows are refused by the command that was asked for."""
        options, foreign = self.parse_known_args(args, namespace)
        if foreign:
            (self.asked or self).refuse(foreign)
        return options

    def refuse(self, foreign: Sequence[str]) -> NoReturn:
        """End with an error that names arguments that are not known, and options near to them."""
        known = sorted(self._option_string_actions)
        near = (did_you_mean(word.partition("=")[0], known) for word in foreign if word.startswith("--"))
        self.error(f"unrecognized arguments: {' '.join(foreign)}{''.join(dict.fromkeys(near))}")

    def error(self, message: str) -> NoReturn:
        """Two lines on the error stream, and exit code 2."""
        told = "\n".join(printable(line) for line in message.split("\n"))
        self.exit(2, f"{self.prog}: error: {told}\n{self.prog} --help tells what it takes\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"invalid choice: {value!r}{did_you_mean(str(value), known, 0.5)}; "
                f"choose from {', '.join(known)}",
            )
