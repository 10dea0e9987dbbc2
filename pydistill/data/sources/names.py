"""Names of splits: one table and one way of reading names, whatever kind of source they stand in."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pydistill.errors import DataError

_WORDS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "trainval": "train",
    "val": "validation",
    "vali": "validation",
    "valid": "validation",
    "validate": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "t10k": "test",
    "eval": "eval",
    "evaluation": "eval",
    "publictest": "public",
    "privatetest": "private",
}
"""Words for a split. ``eval`` is the test split unless another name is; a public test beside a private one
is the validation split."""

_NEUTRAL = frozenset(
    (
        "set",
        "sets",
        "data",
        "dataset",
        "datasets",
        "image",
        "images",
        "img",
        "imgs",
        "picture",
        "pictures",
        "photo",
        "photos",
        "file",
        "files",
        "folder",
        "split",
        "splits",
        "label",
        "labels",
        "list",
        "x",
        "y",
    )
)
"""Words that say nothing about which split it is."""

_ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class Named:
    """What a name says of a split.

    Attributes:
        split: ``"train"``, ``"validation"``, ``"test"``, or ``"eval"``, ``"public"``, ``"private"``.
        rest: The other words, which all names of one set of splits share (``seg_train``, ``seg_test``).
    """

    split: str
    rest: str


def read_name(name: str) -> Named | None:
    """What ``name`` says of a split, or None: case, separators, numbers at a word's end do not matter."""
    words = _words(name)
    whole = "".join(words)
    if whole in _WORDS:
        return Named(_WORDS[whole], "")
    found = [word for word in words if word in _WORDS]
    if len(found) != 1:
        return None
    rest = [word for word in words if word not in _WORDS and word not in _NEUTRAL]
    return Named(_WORDS[found[0]], "_".join(rest))


def split_words(name: str) -> tuple[set[str], set[str]]:
    """The words of ``name`` that name a split, and its other words."""
    words = _words(name)
    whole = "".join(words)
    found = {whole} if whole in _WORDS else {word for word in words if word in _WORDS}
    return found, {word for word in words if word} - found


def assign(names: Iterable[str], where: str) -> dict[str, str]:
    """Which of ``names`` stands for which split, training first; names of no split are left out.

    A name with other words in it counts only where no plain one does, and only beside a training split with
    the same other words.

    Raises:
        DataError: Two names stand for one split.
    """
    read = {name: named for name in names if (named := read_name(name)) is not None}
    plain = {name: named.split for name, named in read.items() if not named.rest}
    chosen = _distinct(plain, where)
    rests = [name for name, named in read.items() if named.rest and named.split == "train"]
    if "train" not in chosen and rests:
        shared = {read[name].rest for name in rests}
        composed = {name: named.split for name, named in read.items() if named.rest in shared}
        chosen = {**_distinct(composed, where), **chosen}
    return {split: chosen[split] for split in _ORDER if split in chosen}


def _distinct(found: dict[str, str], where: str) -> dict[str, str]:
    """One name a split, with ``eval``, ``public`` and ``private`` resolved."""
    by_split: dict[str, list[str]] = {}
    for name, split in found.items():
        by_split.setdefault(split, []).append(name)
    if "private" in by_split and "public" in by_split:
        by_split.setdefault("validation", []).extend(by_split.pop("public"))
    for name in ("public", "private"):
        if name in by_split:
            by_split.setdefault("test", []).extend(by_split.pop(name))
    if "eval" in by_split:
        as_what = "validation" if "test" in by_split else "test"
        by_split.setdefault(as_what, []).extend(by_split.pop("eval"))
    for split, several in by_split.items():
        if len(several) > 1:
            shown = " and ".join(repr(name) for name in sorted(several))
            raise DataError(
                f"{where}: {shown} both stand for the {split} split: keep one, or rename what is no split"
            )
    return {split: several[0] for split, several in by_split.items()}


def _words(name: str) -> list[str]:
    """Lower-case words of a name: ``trainingSet`` and ``Training_set2`` are ``training``, ``set``."""
    words = []
    for word in re.split(r"[\W_]+", name):
        inner = [word] if word.lower() in _WORDS else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", word).split()
        for part in map(str.lower, inner):
            words += _parts(_known(part))
    return words


def _known(word: str) -> str:
    """``word`` as the table has it: without numbers at its end, without the ending of a plural."""
    plain = word if word in _WORDS else word.rstrip("0123456789")
    single = plain.removesuffix("s")
    return single if len(single) > 3 and single in _WORDS else plain


def _parts(word: str) -> list[str]:
    """``trainset`` is ``train``, ``set``, and ``xtrain`` is ``x``, ``train``; else a word stays whole."""
    for known in sorted(_WORDS, key=len, reverse=True):
        before, middle, after = word.partition(known)
        if middle and (not before or before in _NEUTRAL) and (not after or after in _NEUTRAL):
            return [part for part in (before, middle, after) if part]
    return [word] if word else []
