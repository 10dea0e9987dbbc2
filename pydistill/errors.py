"""Errors about files and states. Wrong arguments raise ``ValueError`` or ``TypeError`` instead.

A message names what was expected, what was found and, where there is one, the fix.
"""

import difflib
from collections.abc import Iterable

from pydistill.shown import printable_lines


class PydistillError(Exception):
    """Base of every error that is about a file or a state rather than about an argument.

    Its text names what was found, which others wrote: what a terminal would obey in it is shown escaped.
    """

    def __str__(self) -> str:
        return printable_lines(super().__str__())


class DataError(PydistillError):
    """A data set is missing, unreadable or holds what no method can use (NaN pixels, an empty class)."""


class FileFormatError(PydistillError):
    """A file written by pydistill is truncated, was altered, or is of a version unknown here."""


class CheckpointError(PydistillError):
    """A checkpoint belongs to another method, configuration, data set or seed than the run at hand."""


class OutputError(PydistillError):
    """An output could not be written; what stood there before is untouched."""


class DivergenceError(PydistillError):
    """A loss or a parameter is no longer finite; the last good state is kept."""


class SingularKernelError(DivergenceError):
    """A kernel matrix cannot be solved for, whatever the precision and within what may be added to it."""


class MissingExtraError(PydistillError, ImportError):
    """A package that an extra brings is needed and not installed; the message names the extra."""


class ExtensionWarning(RuntimeWarning):
    """An operator runs in plain torch because its compiled kernel is not there; said once a process."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`` (did you mean 'x'?)`` for the known word nearest to a misspelt one; empty where none is near.

    Args:
        word: What was given.
        known: What would have been understood.
        cutoff: How alike they must be, from 0 to 1.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {close[0]!r}?)" if close else ""
