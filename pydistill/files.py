"""Writing so that nothing is lost: a file is either the old one or the whole new one."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pydistill.errors import OutputError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk, then rename it over ``path``.

    Args:
        path: The file to make or replace. Its folder is made where it is missing.
        write: Called once with the temporary path.

    Raises:
        OutputError: The folder or file could not be written (no permission, disk full, not a folder).
            A file that stood at ``path`` before is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; what stood there before is untouched") from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be what could not be made
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """:func:`write_atomically` for bytes at hand."""
    write_atomically(path, lambda temporary: _fill(temporary, content))


def write_text(path: Path, content: str) -> None:
    """:func:`write_atomically` for UTF-8 text at hand."""
    write_bytes(path, content.encode())


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fill(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
