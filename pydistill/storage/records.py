"""One sealed format for what the library writes: damage of any kind is found when a file is read.

A JSON record holds ``format``, ``version``, its facts, and ``checksum``: the SHA-256 of all else in
canonical form. There is one spelling of a record, and no other is read: every byte counts, white space too.

A tensor record is a safetensors file whose metadata hold the same facts as JSON under ``pydistill``, the
last of them ``sha256``: the digest of the whole file, taken with zeros in the digest's own place.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pydistill.errors import FileFormatError
from pydistill.storage.files import write_atomically, write_text

_CHECKSUM, _FACTS, _DIGEST = "checksum", "pydistill", "sha256"
ZEROS = b"0" * 64
"""What stands in a digest's place while it is taken."""

_PLACE = re.compile(rb'\\"sha256\\": \\"(.{64})\\"}"', re.DOTALL)
"""The end of the facts, as a text inside the JSON of a header."""
_LONGEST_HEADER = 100_000_000
"""Bytes: what safetensors itself allows."""


@dataclass(frozen=True)
class Kind:
    """What a record is.

    Attributes:
        format: Its name in the file.
        version: The one version read and written.
        title: What it is called in a message, with its article: ``a network``.
        mend: What to do about one that cannot be read, an imperative.
    """

    format: str
    version: int
    title: str
    mend: str

    def check(self, facts: Any, where: Path) -> None:
        """Raise :class:`FileFormatError` unless ``facts`` are a record of this kind and version."""
        named = facts if isinstance(facts, Mapping) else {}
        if named.get("format") != self.format:
            raise FileFormatError(
                f"{where} holds no record of {self.title}: expected format {self.format}, found "
                f"{named.get('format')!r}; {self.mend}"
            )
        if named.get("version") != self.version:
            raise FileFormatError(
                f"{where} holds {self.title} of version {named.get('version')!r}, this pydistill reads "
                f"{self.version}: {self.mend}"
            )


# ---- JSON --------------------------------------------------------------------------------------------


def sealed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """``facts`` and a checksum of them.

    Raises:
        ValueError: They hold what JSON cannot (a not-a-number).
    """
    return {**facts, _CHECKSUM: _checksum(facts)}


def rendered(record: Mapping[str, Any]) -> str:
    """The one spelling of a JSON record in a file of its own."""
    return json.dumps(record, indent=2, allow_nan=False) + "\n"


def intact(record: Mapping[str, Any]) -> bool:
    """Whether a record holds the checksum of the rest of it."""
    try:
        return bool(record.get(_CHECKSUM) == _checksum(_without(record, _CHECKSUM)))
    except (ValueError, RecursionError):
        return False


def write_json(path: Path, kind: Kind, facts: Mapping[str, Any]) -> None:
    """Write a JSON record, atomically.

    Raises:
        OutputError: It could not be written; what stood there before is untouched.
    """
    write_sealed(path, {**_named(kind), **facts})


def write_sealed(path: Path, facts: Mapping[str, Any]) -> None:
    """:func:`write_json` of facts that name their format themselves."""
    write_text(path, rendered(sealed(facts)))


def read_json(path: Path, kind: Kind) -> dict[str, Any]:
    """The facts that :func:`write_json` wrote, without format, version and checksum.

    Raises:
        FileFormatError: The file is missing, damaged, was altered, or is of another kind or version.
    """
    with _reading(path, kind.title, kind.mend):
        text = _content(path)
        record = json.loads(text)
        kind.check(record, path)
        return _without(_facts_of(record, text), "format", "version")


def renamed(facts: Mapping[str, Any], earlier: Mapping[str, str]) -> dict[str, Any]:
    """``facts`` under the names that they have now, by those that they had when they were written."""
    return {earlier.get(name, name): value for name, value in facts.items()}


def read_sealed(path: Path, title: str, mend: str) -> dict[str, Any]:
    """The facts that :func:`write_sealed` wrote.

    Args:
        path: The file.
        title: What it is called in a message, with its article.
        mend: What to do about one that cannot be read, an imperative.

    Raises:
        FileFormatError: The file is missing, truncated, was altered, or holds no sealed record.
    """
    with _reading(path, title, mend):
        text = _content(path)
        return _facts_of(json.loads(text), text)


def _content(path: Path) -> bytes:
    _require_regular(path)
    return path.read_bytes()


def _facts_of(record: Any, text: bytes) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    if _CHECKSUM not in record:
        raise ValueError("it holds no checksum: it was altered, or written by another program or version")
    if not intact(record) or rendered(record).encode() != text:
        raise ValueError("its content does not match its checksum")
    return _without(record, _CHECKSUM)


def _named(kind: Kind) -> dict[str, Any]:
    return {"format": kind.format, "version": kind.version}


def _without(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


# ---- tensors -----------------------------------------------------------------------------------------


def write_tensors(path: Path, kind: Kind, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a tensor record, atomically.

    Args:
        path: Where to.
        kind: What it is.
        facts: What JSON can hold.
        tensors: Any strided ones, see :func:`apart`.

    Raises:
        OutputError: It could not be written; what stood there before is untouched.
    """
    metadata = {_FACTS: json.dumps({**_named(kind), **facts, _DIGEST: ZEROS.decode()})}

    def write(temporary: Path) -> None:
        try:
            save_file(apart(tensors), temporary, metadata=metadata)
        except SafetensorError as error:  # as it tells of a full disk
            raise OSError(str(error)) from error
        stamp(temporary, _place(temporary))

    write_atomically(path, write)


def read_tensors(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts, without format and version, and the tensors that :func:`write_tensors` wrote.

    Raises:
        FileFormatError: The file is missing, damaged, was altered, or is of another kind or version.
    """
    with _reading(path, kind.title, kind.mend), _opened(path) as handle:
        metadata = handle.metadata() or {}
        facts = json.loads(metadata.get(_FACTS, "{}"))
        kind.check(facts, path)
        if not is_stamped(path, _place(path)):
            raise ValueError("its content does not match its digest")
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    return _without(facts, "format", "version", _DIGEST), tensors


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values as a file of tensors takes them: on the CPU, contiguous, each in memory of its own.

    Copied is only what is not so already: a view, a part of a larger tensor, one that is given twice.
    """
    made: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage()
        if memory.data_ptr() in taken or memory.nbytes() != plain.nbytes:
            plain = plain.clone()
        taken.add(plain.untyped_storage().data_ptr())
        made[name] = plain
    return made


def _opened(path: Path) -> Any:
    _require_regular(path)
    return safe_open(path, framework="pt")


def _place(path: Path) -> int:
    """Where a tensor record's digest stands."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"its header announces {length} bytes")
        header = handle.read(length)
    places = [found.start(1) for found in _PLACE.finditer(header)]
    if len(places) != 1:
        raise ValueError("it holds no digest: it was altered, or written by another program or version")
    return 8 + places[0]


# ---- digests inside a file -----------------------------------------------------------------------------


def stamp(path: Path, place: int) -> None:
    """Write the SHA-256 of a file into it, as 64 digits at ``place``, where 64 zeros stand."""
    with path.open("rb+") as handle:
        digest = _digest_around(handle, place)
        handle.seek(place)
        handle.write(digest)


def is_stamped(path: Path, place: int) -> bool:
    """Whether the 64 digits at ``place`` are what :func:`stamp` writes."""
    with path.open("rb") as handle:
        digest = _digest_around(handle, place)
        handle.seek(place)
        return handle.read(len(ZEROS)) == digest


def _digest_around(handle: BinaryIO, place: int) -> bytes:
    handle.seek(0)
    made = hashlib.sha256(handle.read(place))
    made.update(ZEROS)
    handle.seek(place + len(ZEROS))
    while part := handle.read(1 << 20):
        made.update(part)
    return made.hexdigest().encode()


# ---- all --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reading(path: Path, title: str, mend: str) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise FileFormatError(f"{path} cannot be read as {title}: {reason}; {mend}") from error


def _require_regular(path: Path) -> None:
    """Raise on a pipe, a device or a folder: reading some of these never ends."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")


def _checksum(facts: Mapping[str, Any]) -> str:
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
