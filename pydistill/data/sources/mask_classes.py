"""The values of masks to one numbering of classes: which are void, what classes are called."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill.data.sources.base import Options
from pydistill.data.sources.labels import shortened, some
from pydistill.data.sources.masks import MaskSplit, Values
from pydistill.errors import DataError
from pydistill.tasks import Segmentation
from pydistill.tasks.masks import VOID

_UNNAMED = frozenset(
    (
        "void", "ignore", "ignored", "ignoreregion", "unlabeled", "unlabelled", "unlabeledarea", "dontcare",
        "donotcare", "unknown", "outofroi", "notclassified",
    )
)  # fmt: skip
"""Names, without case and punctuation, of what is no class. A background is one: it is scored."""
_MARKS = (VOID, 65_535)
"""Values that mark void wherever they have no name."""


@dataclass(frozen=True)
class Known:
    """A data set whose masks are numbers that its files do not name.

    Attributes:
        title: What messages call it.
        name: What the source's name looks like.
        classes: What the values from 0 on stand for.
        void: Values that are no class, beside 255.
    """

    title: str
    name: re.Pattern[str]
    classes: tuple[str, ...]
    void: tuple[int, ...] = ()


KNOWN = (
    Known(
        "CamVid with SegNet's 11 classes",
        re.compile(r"cam[-_ ]?vid"),
        (
            "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
            "Pedestrian", "Bicyclist",
        ),
        (11,),
    ),
    Known(
        "Pascal VOC",
        re.compile(r"pascal[-_ ]?voc|voc(devkit)?[-_ ]?20(07|08|09|10|11|12)"),
        (
            "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
            "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
            "train", "tvmonitor",
        ),
    ),
)  # fmt: skip
"""Sets known by the source's name, where all its masks hold no other values than theirs."""


@dataclass(frozen=True)
class Masks:
    """Masks that every split agrees on.

    Attributes:
        targets: (N, H, W) uint8 of every split: class indices, 255 where void.
        task: The classes.
        named: Whether the class names are the source's own.
        notes: What was decided, a sentence each.
    """

    targets: dict[str, Tensor]
    task: Segmentation
    named: bool
    notes: tuple[str, ...]


def understand_masks(
    splits: Mapping[str, MaskSplit],
    values: Values,
    options: Options,
    own: Mapping[int, str] | None = None,
    called: Sequence[str] = (),
) -> Masks:
    """One numbering of classes for the masks of all splits.

    A value is void where ``options.void`` says so, or where that is not given it is called so; besides 255,
    65535 and what is below 0, unless it has a name. A set in :data:`KNOWN` brings names and void values.
    Where 0 and 255 are the only values, both are classes; where ``options.void`` is empty, all values are.
    What is not void is a class: as names number them, or without names in the values' order.

    Args:
        splits: The masks.
        values: What codes stand for.
        options: ``class_names`` and ``void`` that the caller gave.
        own: What the source calls the values.
        called: Names of the source, for :data:`KNOWN`.

    Raises:
        DataError: A value has no class, there are fewer than two classes, or names do not fit.
    """
    seen = sorted(values.seen)
    notes: list[str] = []
    guessed = None if own is not None else _known(called, seen, options)
    names = dict(own) if own is not None else None
    by_name = names is not None
    if guessed is not None:
        names = dict(enumerate(guessed.classes))
    elif names is None and options.class_names is not None:
        names = _numbered(options.class_names, seen, options.void)
    void = _void(options.void, names, seen, guessed, notes)
    kept = [value for value in (seen if names is None else sorted(names)) if value not in void]
    if names is not None:
        _require_named(splits, values, names, void)
        titles = tuple(names[value] for value in kept)
        if (own is not None or guessed is not None) and options.class_names is not None:
            titles, by_name = _renamed(options.class_names, titles), False
    else:
        titles = options.class_names or tuple(f"class {value}" for value in kept)
    if len(kept) < 2:
        raise DataError(
            f"masks hold {len(kept)} classes beside void, their values being {some(seen)}: two or more are "
            "needed to tell apart; void= says which values are no class ('none': all are classes)"
        )
    if len(set(titles)) < len(titles):
        twice = next(title for title in titles if titles.count(title) > 1)
        raise DataError(f"two classes are called {twice!r}: give class_names, a name a class")
    if kept != list(range(len(kept))):
        notes.append(f"mask values {some(kept)} are classes 0 to {len(kept) - 1} in that order")
    if guessed is not None and options.class_names is None:
        notes.append(
            f"class names are a guess, by the source's name: {guessed.title}; class_names= decides "
            "otherwise"
        )
    table = torch.full((256,), VOID, dtype=torch.uint8)
    index = {value: at for at, value in enumerate(kept)}
    for code, value in enumerate(values.seen):
        table[code] = index.get(value, VOID)
    targets = {split: _looked_up(table, found.codes) for split, found in splits.items()}
    return Masks(targets, Segmentation(titles), by_name, tuple(notes))


def _looked_up(table: Tensor, codes: Tensor) -> Tensor:
    """Codes as classes, an image at a time: an index takes eight bytes a pixel."""
    made = torch.empty_like(codes)
    for at, mask in enumerate(codes):
        made[at] = table[mask.long()]
    return made


def _known(called: Sequence[str], seen: Sequence[int], options: Options) -> Known | None:
    """The set that the source is named after, where what the masks hold and the caller says fits it."""
    asked = options.void
    for known in KNOWN:
        void = (
            {*known.void, *_MARKS} if asked is None else {each for each in asked if isinstance(each, int)}
        )
        fits = set(seen) <= {*range(len(known.classes)), *void}
        counted = options.class_names is None or len(options.class_names) == len(known.classes)
        if fits and counted and any(known.name.search(name.lower()) for name in called):
            return known
    return None


def _numbered(
    names: tuple[str, ...], seen: Sequence[int], void: tuple[int | str, ...] | None
) -> dict[int, str]:
    """The caller's names by value: from 0 on; from 1 on where 0 is void or unused; two for 0 and 255."""
    if list(seen) == [0, VOID] and len(names) == 2:
        return {0: names[0], VOID: names[1]}
    kept = [value for value in seen if value not in (void or ()) and value not in _MARKS]
    if kept and kept[0] >= 1 and kept[-1] == len(names):
        return dict(enumerate(names, 1))
    return dict(enumerate(names))


def _void(
    asked: tuple[int | str, ...] | None,
    names: Mapping[int, str] | None,
    seen: Sequence[int],
    guessed: Known | None,
    notes: list[str],
) -> set[int]:
    """Values that are no class; which and why is added to ``notes``."""
    called = names or {}
    if asked == ():
        notes.append("no mask value is void, as asked for")
        return set()
    reasons: dict[int, str] = {}
    if asked is not None:
        reasons = {value: "as asked for" for each in asked for value in _values_of(each, called)}
    else:
        reasons = {v: f"called {name!r}" for v, name in called.items() if _plain(name) in _UNNAMED}
        if guessed is not None:
            why = f"a guess, by the source's name: {guessed.title}"
            reasons |= {value: why for value in guessed.void if value in seen}
    unnamed = [value for value in seen if value not in called and value not in reasons]
    reasons |= {value: "below 0" for value in unnamed if value < 0}
    if list(seen) == [0, VOID] and VOID in unnamed:
        notes.append("masks hold 0 and 255 alone: both are classes, 255 is not void")
    else:
        reasons |= {value: "as most masks have it" for value in unnamed if value in _MARKS}
    if reasons:
        told = ", ".join(f"{value} ({why})" for value, why in sorted(reasons.items()))
        decided = "" if asked is not None else "; void= decides otherwise"
        notes.append(f"void, neither learned nor scored, is mask value {told}{decided}")
    elif names is None:
        notes.append(
            f"all mask values, {some(seen)}, are classes and none is void: void= names those that are not"
        )
    return set(reasons)


def _values_of(each: int | str, names: Mapping[int, str]) -> set[int]:
    """The values that the caller calls void: a number, or the name of a class."""
    if isinstance(each, int):
        return {each}
    alike = {value for value, name in names.items() if each == name}
    if alike:
        return alike
    raise DataError(f"void={each!r} is no number, nor the name of a class: {some(list(names.values()))}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _require_named(
    splits: Mapping[str, MaskSplit], values: Values, names: Mapping[int, str], void: set[int]
) -> None:
    """Refuse a value that has neither a name nor is void, naming the first mask that holds it."""
    unknown = [value for value in values.seen if value not in names and value not in void]
    if not unknown:
        return
    value = min(unknown)
    code = values.seen.index(value)
    for found in splits.values():
        held = [at for at, mask in enumerate(found.codes) if bool((mask == code).any())]
        if held:
            raise DataError(
                f"{found.titles[held[0]]}: mask value {value} has no class: the {len(names)} names are of "
                f"values {min(names)} to {max(names)}; say that it is void (void={value}, on the command "
                f"line --void {value}), or name every class (class_names=)"
            )


def _renamed(given: tuple[str, ...], titles: tuple[str, ...]) -> tuple[str, ...]:
    if len(given) != len(titles):
        raise DataError(
            f"{len(given)} class names given, but the source has {len(titles)} classes beside void: "
            f"{some(titles)}"
        )
    return given


def tell_masks(targets: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Share of the pixels of every class, images that hold it, and the share of void.

    Args:
        targets: (N, H, W) uint8 training masks.
        names: A name a class.
    """
    each = torch.stack([torch.bincount(mask.flatten().long(), minlength=256) for mask in targets])
    pixels, images = each.sum(0), (each > 0).sum(0)
    total, void = int(pixels.sum()), int(pixels[VOID])
    shares = [
        f"{name!r} {_percent(int(pixels[at]), max(total - void, 1))} ({int(images[at]):,})"
        for at, name in enumerate(names)
    ]
    told = [
        "shares of the training pixels that have a class (training images that hold it): "
        + ", ".join(shortened(shares)),
        f"{_percent(void, total)} of all training pixels are void",
    ]
    lacking = [name for at, name in enumerate(names) if not images[at]]
    if lacking:
        told.append(
            f"{len(lacking)} of {len(names)} classes have no pixel in the training images, and cannot be "
            f"learned: {some(lacking)}"
        )
    return tuple(told)


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.3g} %" if share < 10 else f"{share:.1f} %"
