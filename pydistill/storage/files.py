"""Writing so that nothing is lost: a file is either the old one or the whole new one.

What is being written stands in a folder of its own beside its place, locked by whoever writes it. The
system takes the lock back from a process that was killed: such a folder that nobody holds locked is a
left-over, and the next write into the folder around it removes it.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from pydistill.errors import OutputError

_ENDING, _LOCK = "pydistill-partial", "lock.pydistill"
_PARTIAL = re.compile(rf"\..*\.[0-9a-f]{{16}}\.{_ENDING}", re.DOTALL)
_SHOWN = 40
"""Letters of a name that its writer's folder repeats: names have a longest length."""


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a temporary file near ``path``, flush it to disk, then rename it over ``path``.

    Left-overs of writers that were killed in that folder are removed.

    Args:
        path: The file to make or replace. Its folder is made where it is missing.
        write: Called once with the temporary path.

    Raises:
        OutputError: The folder or file could not be written (no permission, disk full, not a folder).
            A file that stood at ``path`` before is left as it was.
    """
    try:
        with partial(path) as temporary:
            write(temporary)
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; what stood there before is untouched") from error


@contextlib.contextmanager
def partial(path: Path) -> Iterator[Path]:
    """Where to make a file or folder that is then renamed to ``path``; what is left there goes in the end.

    It lies in a folder of its own beside ``path``, where what other libraries make on the way lies too.

    Raises:
        OSError: It cannot be made.
    """
    if "\0" in str(path):
        raise OSError("a path holds no NUL")
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent)
    own, handle = _locked(path)
    try:
        yield own / path.name
    finally:
        _remove(own)
        os.close(handle)


def clear_leftovers(folder: Path) -> None:
    """Remove what writers left in ``folder`` that were killed; nothing that is being written, nothing else.

    What cannot be looked at or removed stays, without an error.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PARTIAL.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _clear(Path(entry.path))


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; a path that none can have (too long, with a NUL) names none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def write_bytes(path: Path, content: bytes) -> None:
    """:func:`write_atomically` for bytes at hand."""
    write_atomically(path, lambda temporary: _fill(temporary, content))


def write_text(path: Path, content: str) -> None:
    """:func:`write_atomically` for text at hand, as UTF-8; lone surrogates, which it lacks, as escapes."""
    write_bytes(path, content.encode(errors="backslashreplace"))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _fill(path: Path, content: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(content)


def _locked(path: Path) -> tuple[Path, int]:
    """A new folder for one writer, and the handle that holds its lock."""
    while True:
        own = path.with_name(f".{path.name[:_SHOWN]}.{secrets.token_hex(8)}.{_ENDING}")
        own.mkdir()
        try:
            handle = os.open(own / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            continue  # another process took it for a left-over before it was locked
        with contextlib.suppress(OSError):  # a file system without locks: left-overs stay there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if own.exists():
            return own, handle
        os.close(handle)


def _clear(own: Path) -> None:
    """Remove it where nobody holds its lock; a folder without lock goes only where it is empty."""
    with contextlib.suppress(OSError):
        try:
            handle = os.open(own / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            own.rmdir()
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(own)
        finally:
            os.close(handle)


def _remove(own: Path) -> None:
    """Remove a writer's folder, its lock last; what cannot be removed now, the next write removes."""
    with contextlib.suppress(OSError):
        for path in own.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink()
        shutil.rmtree(own, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
