"""The folder of a run: found writable before any work, left as it was where nothing came of the run."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydistill.errors import OutputError
from pydistill.storage.files import clear_leftovers
from pydistill.storage.records import Kind, read_json, write_json

CHECKPOINT = "checkpoint.safetensors"
PREPARATION = "preparation.safetensors"
"""What was trained before the first iteration, until there is a checkpoint."""
RESULT = "distilled.json"
RUN = "run.json"
"""What a run is: its identity and the version that began it."""

RECORD = Kind("pydistill.run", 1, "a description of a run", "replace the run (--overwrite)")

LOG = "run.log"
"""A line for every beginning and end of a command on the run."""

_OF_NO_USE_ALONE = (RUN, LOG, "history.json", "data.json")


def prepare(folder: Path, *, resume: bool, overwrite: bool) -> Path:
    """The checkpoint's path in ``folder``, made and found writable before any work is done.

    Raises:
        ValueError: It holds a run already and neither ``resume`` nor ``overwrite`` was asked for.
        OutputError: It cannot be written.
    """
    path = folder / CHECKPOINT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error
    require_free(folder, resume=resume, overwrite=overwrite)
    return path


def require_free(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise ``ValueError`` where ``folder`` holds a run that is neither taken up nor replaced."""
    taken = any((folder / name).exists() for name in (CHECKPOINT, PREPARATION, RESULT))
    if taken and not (resume or overwrite):
        raise ValueError(
            f"{folder} holds a run already: resume it (--resume), replace it (--overwrite) "
            "or name another folder"
        )


@contextlib.contextmanager
def left_as_found(folder: Path | None, own: Collection[str] = _OF_NO_USE_ALONE) -> Iterator[None]:
    """Whatever ends the work inside before anything was kept, take away the folders that it made.

    Args:
        folder: Where results go; None: nowhere.
        own: Files that are of no use by themselves. A folder that holds anything else stays.
    """
    missing = [] if folder is None else [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        if folder is not None and folder in missing:
            with contextlib.suppress(OSError):  # what is not empty stays, and what was never made
                _clear(folder, own)
                for each in missing:
                    each.rmdir()
        raise


def _clear(folder: Path, own: Collection[str]) -> None:
    held = list(folder.iterdir())
    if all(path.name in own for path in held):
        for path in held:
            path.unlink()


def write_run(folder: Path, facts: dict[str, Any]) -> None:
    """Say what the run in ``folder`` is.

    Raises:
        OutputError: It could not be written.
    """
    write_json(folder / RUN, RECORD, facts)


def read_run(folder: Path) -> dict[str, Any]:
    """What :func:`write_run` said; empty where a run of an earlier version said nothing.

    Raises:
        FileFormatError: The file is damaged.
    """
    path = folder / RUN
    return read_json(path, RECORD) if path.exists() else {}
