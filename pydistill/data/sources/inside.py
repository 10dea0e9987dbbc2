"""Files of a data set, read only where they are its own: regular ones inside its folder."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from pydistill.errors import DataError


def own_folder(root: Path) -> Path:
    """The folder that files of the data set at ``root`` may lie in: ``root`` itself, links followed.

    In the hub's cache (``datasets--.../snapshots/<commit>``) files are links to ``blobs`` beside the
    snapshots: there it is the folder of the whole cached data set.
    """
    found = root.resolve()
    found = found if found.is_dir() else found.parent
    for folder in (found, *found.parents):
        if folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir():
            return folder.parent.parent
    return found


def read_inside(path: Path | str, roots: Sequence[Path], title: str = "") -> bytes:
    """The content of a regular file inside one of ``roots``; a link is followed where it leads to one.

    Nothing else is opened: no file elsewhere, no device, no pipe.

    Args:
        path: Relative to the first of ``roots``, or absolute.
        roots: What :func:`own_folder` gave; none: anywhere, but a regular file all the same.
        title: What holds the path, for messages.

    Raises:
        DataError: It is no such file or cannot be read; the message names it.
    """
    name = f"{title or path}"
    try:
        whole = Path(*roots[:1], path).resolve()
        if roots and not any(whole.is_relative_to(root) for root in roots):
            raise DataError(
                f"{name}: it leads to {whole}, outside the data set's own folder {roots[0]}, and is not "
                "opened: copy the file there"
            )
        handle = os.open(whole, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise DataError(f"{name}: {whole} is no regular file, and is not read")
            return file.read()
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL; RuntimeError: links in a ring
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise DataError(f"{name} cannot be read: {reason}") from error
