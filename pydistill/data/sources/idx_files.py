"""Which IDX files in a folder are images and labels of which split."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydistill.data.sources.labels import some
from pydistill.data.sources.names import assign
from pydistill.data.sources.walk import shown
from pydistill.errors import DataError

_NAME = re.compile(
    r"(?P<before>.*?)(?P<split>[a-z0-9]+)[-_](?P<part>images?|labels?)[-._]idx(?P<axes>\d)[-._]ubyte(?P<end>\.gz)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Found:
    """Files of one set of splits.

    Attributes:
        variant: What stands before the split in their names (``emnist-letters``), or nothing.
        pairs: Images and labels of every split.
        mapping: A file that tells the character of each label, or None.
    """

    variant: str
    pairs: dict[str, tuple[Path, Path]]
    mapping: Path | None


def holds_idx(folder: Path) -> bool:
    """Whether there are IDX files of training images in ``folder``."""
    return any(match.group("part").lower().startswith("image") for _, match in _matches(folder))


def find(folder: Path, subset: str | None) -> Found:
    """The files of the set in ``folder``, or of one of several, told by the name before the split.

    Raises:
        DataError: There are several sets and none is asked for, or images or labels lack their companion.
    """
    variants: dict[str, dict[str, dict[str, Path]]] = {}
    for path, match in _matches(folder):
        part = "images" if match.group("part").lower().startswith("image") else "labels"
        splits = variants.setdefault(match.group("before").strip("-_. "), {})
        splits.setdefault(match.group("split"), {}).setdefault(part, path)
    if subset is not None:
        variants = {name: parts for name, parts in variants.items() if _means(name, subset)}
        if len(variants) != 1:
            raise DataError(f"{folder} has no one set of IDX files called {subset!r}")
    if len(variants) > 1:
        raise DataError(
            f"{folder} holds several sets of IDX files, {some(sorted(variants))}: give subset=, one of them"
        )
    variant, splits = next(iter(variants.items()))
    pairs: dict[str, tuple[Path, Path]] = {}
    for split, word in assign(splits, str(folder)).items():
        files = splits[word]
        if len(files) < 2:
            lacking = "labels" if "images" in files else "images"
            raise DataError(f"{folder} has no {word}-{lacking}-idx file beside its companion")
        pairs[split] = files["images"], files["labels"]
    if "train" not in pairs:
        raise DataError(f"{folder} has no IDX files of a training split, only {some(sorted(splits))}")
    mapping = folder / f"{variant}-mapping.txt"
    return Found(variant, pairs, mapping if variant and mapping.is_file() else None)


def characters(mapping: Path) -> dict[int, str]:
    """The character of each label: lines of a label and the codes of its characters.

    Raises:
        DataError: A line is no label with codes.
    """
    try:
        lines = [line.split() for line in mapping.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {int(label): chr(int(code)) for label, code, *_ in lines}
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{mapping} cannot be read as labels with codes of characters: {error}") from error


def _means(name: str, subset: str) -> bool:
    return subset.lower() in (name.lower(), re.split(r"[-_.]", name.lower())[-1])


def _matches(folder: Path) -> Iterable[tuple[Path, re.Match[str]]]:
    """Files by name; of one file in two forms the plain one comes first. Also where each has a folder."""
    for inner in shown(folder):
        match = _NAME.fullmatch(inner.name)
        if match is None:
            continue
        path = inner / inner.name if inner.is_dir() else inner
        if path.is_file():
            yield path, match
