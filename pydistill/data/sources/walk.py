"""What lies in a folder of images: pictures, other files, folders, and what is not looked at."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydistill.data.sources.inside import own_folder
from pydistill.errors import DataError

ENDINGS = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".webp", ".avif", ".tif",
    ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx",
))  # fmt: skip
"""Endings of picture files that are read."""
FOREIGN = frozenset((
    ".heic", ".heif", ".jxl", ".svg", ".psd", ".dcm", ".nii", ".raw", ".dng", ".cr2", ".nef", ".exr",
    ".hdr", ".npy", ".mp4", ".avi", ".mov",
))  # fmt: skip
"""Endings of images that are not read."""
_HIDDEN = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir", "__pycache__", "$recycle.bin"))


@dataclass(eq=False)
class Folder:
    """One folder, read once.

    Attributes:
        path: Where it is.
        pictures: Picture files directly in it, in order of their names.
        folders: Its folders but hidden ones, in order of their names.
        others: Other files directly in it.
        hidden: How many hidden files and folders are directly in it.
    """

    path: Path
    pictures: list[Path] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    hidden: int = 0

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.name

    def every(self) -> Iterator["Folder"]:
        """Itself and all folders below."""
        yield self
        for folder in self.folders:
            yield from folder.every()

    def all_pictures(self) -> list[Path]:
        """Pictures at any depth, in order of their paths."""
        return sorted(picture for folder in self.every() for picture in folder.pictures)

    @property
    def holds(self) -> bool:
        """Whether there is a picture at any depth."""
        return any(folder.pictures for folder in self.every())

    @property
    def is_divided(self) -> bool:
        """Whether its pictures lie in folders, none of them directly in it."""
        return not self.pictures and any(folder.holds for folder in self.folders)

    @property
    def filled(self) -> list["Folder"]:
        """Its folders that hold pictures."""
        return [folder for folder in self.folders if folder.holds]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is the system's rather than the data set's."""
    return name.startswith(".") or name.lower() in _HIDDEN


def shown(folder: Path) -> list[Path]:
    """What lies directly in a folder but hidden files, in order; nothing where it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if not is_hidden(path.name))
    except OSError:
        return []


def scan(root: Path) -> Folder:
    """All of a folder. Links are followed where they stay within it.

    Raises:
        DataError: A folder cannot be read, or a link leads out of ``root`` or in a circle.
    """
    return _scan(root, own_folder(root), ())


def _scan(path: Path, root: Path, above: tuple[Path, ...]) -> Folder:
    found, here = Folder(path), path.resolve()
    if here in above:
        raise DataError(f"{path} links to a folder it lies in: remove the link")
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        for entry in entries:
            if is_hidden(entry.name):
                found.hidden += 1
                continue
            inner = path / entry.name
            if entry.is_symlink():
                within(inner, root)
            if entry.is_dir():
                found.folders.append(_scan(inner, root, (*above, here)))
            elif entry.is_file():
                ending = inner.suffix.lower()
                (found.pictures if ending in ENDINGS else found.others).append(inner)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return found


def within(path: Path, root: Path) -> Path:
    """``path`` without links, where that lies in ``root``.

    Raises:
        DataError: It leads out of ``root``.
    """
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # links in a ring
        raise DataError(f"{path} leads nowhere: {error}") from error
    if not target.is_relative_to(root):
        raise DataError(
            f"{path} leads out of {root}, to {target}: only what lies in the data set's own folder is "
            "read; copy it there"
        )
    return target


def has_pictures(root: Path, deepest: int = 6) -> bool:
    """Whether there is a picture below ``root``; stops at the first."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: (entry.is_dir(), entry.name))
    except OSError:
        return False
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            if deepest and has_pictures(Path(entry.path), deepest - 1):
                return True
        elif Path(entry.name).suffix.lower() in ENDINGS:
            return True
    return False


def told(root: Folder, used: set[Path], read: Sequence[str]) -> list[str]:
    """Sentences on what lies below ``root`` and is not used.

    Args:
        root: The whole of the data set.
        used: The pictures that are.
        read: What was told of tables so far.
    """
    notes = []
    hidden = sum(folder.hidden for folder in root.every())
    if hidden:
        notes.append(f"{hidden} hidden files or folders are left out")
    endings = Counter(path.suffix.lower() for folder in root.every() for path in folder.others)
    foreign = {ending: count for ending, count in endings.items() if ending in FOREIGN}
    if foreign:
        listed = ", ".join(f"{count} {ending}" for ending, count in sorted(foreign.items()))
        notes.append(f"images of kinds that are not read are left out: {listed}")
    tables = [path.name for path in root.others if path.suffix.lower() in (".csv", ".tsv", ".jsonl")]
    if tables and not any("column" in note for note in read):
        notes.append(f"tables that are not read: {', '.join(map(repr, tables[:8]))}")
    spare: Counter[str] = Counter()
    for folder in root.every():
        count = sum(picture not in used for picture in folder.pictures)
        if count:
            relative = folder.path.relative_to(root.path)
            spare[relative.parts[0] if relative.parts else "."] += count
    if spare:
        listed = ", ".join(f"{count:,} in {name!r}" for name, count in sorted(spare.items())[:8])
        notes.append(f"{sum(spare.values()):,} pictures are left out: {listed}")
    return notes
