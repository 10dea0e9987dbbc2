"""Whether a mirrored image keeps its class: not where images show digits or letters.

Masks and boxes move with a mirrored image: there it is whether the classes keep their meaning.
"""

import re
from collections.abc import Iterable, Sequence

from pydistill.data.sources.base import Raw
from pydistill.data.sources.labels import some

_CHARACTERS = re.compile(
    r"digit|svhn|usps|omniglot|chars74k|letter|alphabet|handwrit|captcha|mnist|"
    r"gtsrb|traffic[-_ ]?sign|road[-_ ]?sign"
)
_OTHERS = re.compile(
    r"fashion|cifar|imagenet|stl-?10|ham10000|"
    r"(med|path|derma|oct|pneumonia|retina|breast|blood|tissue|organ[acs]?|chest)[-_]?mnist"
)
"""Looked for first: names that hold one of the words above and mean other images."""
_BESIDE = frozenset(
    (
        "data",
        "dataset",
        "datasets",
        "set",
        "raw",
        "original",
        "processed",
        "images",
        "png",
        "jpg",
        "csv",
        "npz",
        "handwritten",
        "recognizer",
        "recognition",
        "kaggle",
        "master",
        "main",
        "full",
        "cropped",
        "the",
    )
)
"""Words that stand beside a data set's name in the name of its folder."""
_SIDES = re.compile(r"\b(left|right)\b|_(left|right)\b|\b(left|right)_")
_FASHION = frozenset({"trouser", "pullover", "sneaker", "ankle boot"})
_SPELLED = frozenset(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
_COUNTS = frozenset({10, 26, 27, 36, 47, 49, 62})
"""Classes of the sets made like MNIST: digits, letters, both."""


def keeps_class_flipped(raw: Raw) -> tuple[bool, str]:
    """Whether it does, and why: by class names, by the source's own name, by its folders, by its images."""
    titles = raw.task.class_names
    if not raw.task.by_class and (sided := [title for title in titles if _SIDES.search(title.lower())]):
        return False, f"class names tell left from right, as {some(sided, 2)} do"
    if {title.lower() for title in titles} >= _FASHION:
        return True, "the classes are clothes"
    if raw.named and _are_characters(titles):
        return False, f"the class names {some(titles, 3)} are digits or letters"
    own = _by_words([raw.name, *raw.hints])
    if own is not None:
        return own
    if raw.named and len(titles) > 1:
        return True, "neither its name nor its class names speak of digits, letters or signs"
    around = _by_words(filter(_is_nothing_else, raw.folders))
    if around is not None:
        return around
    if raw.train.images.shape[1:] == (1, 28, 28):
        if len(titles) in _COUNTS:
            return (
                False,
                f"{len(titles)} classes without names in grey images of 28 x 28, as MNIST has them",
            )
        if any("ubyte" in origin for origin in raw.origins.values()):
            return False, "classes without names in grey images of 28 x 28, in files named as MNIST's are"
    return True, "nothing speaks of digits, letters or signs"


def _by_words(names: Iterable[str]) -> tuple[bool, str] | None:
    """What the nearest name that says anything says."""
    for name in names:
        low = name.lower()
        if _OTHERS.search(low) is not None:
            return True, f"it is called {name!r}"
        if _CHARACTERS.search(low) is not None:
            return False, f"{name!r} speaks of digits, letters or signs"
    return None


def _is_nothing_else(folder: str) -> bool:
    """Whether a folder is named after a data set and no more: ``mnist_png``, not ``mnist-papers``."""
    words = [word for word in re.split(r"[\W_\d]+", folder.lower()) if word]
    return all(word in _BESIDE or _CHARACTERS.search(word) or _OTHERS.search(word) for word in words)


def _are_characters(titles: Sequence[str]) -> bool:
    """Whether every class is named by one character, or a digit's word, after what all names begin with."""
    if len(titles) < 2:
        return False
    words = [
        re.sub(r"^(digit|letter|number|character|char|num|no)[\W_]*", "", t.strip().lower()) for t in titles
    ]
    return all(len(word) == 1 or word in _SPELLED for word in words) or all(
        re.fullmatch(r"\d( ?- ?\w+)?", word) is not None for word in words
    )
