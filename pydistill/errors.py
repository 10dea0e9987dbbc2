"""Errors about files and states. Wrong arguments raise ``ValueError`` or ``TypeError`` instead.

A message names what was expected, what was found and, where there is one, the fix.
"""


class PydistillError(Exception):
    """Base of every error that is about a file or a state rather than about an argument."""


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
