"""Images that are there twice: within a split, and on both sides of a split."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill.analysis import copies
from pydistill.analysis.finder import Finder, register
from pydistill.analysis.finding import Finding, Flag, Pair, Picture, Row
from pydistill.analysis.sequences import Frames, frames
from pydistill.analysis.subject import Subject
from pydistill.engine.method import option

EXACT, NEAR, VALIDATION, LEAK = "exact copy", "near copy", "copy of a validation image", "leak"
_SHOWN, _MEMBERS = 8, 6


@register
@dataclass(frozen=True, kw_only=True)
class Duplicates(Finder):
    """Exact copies by a digest of pixels, near ones by :func:`pydistill.analysis.copies.find_copies`.

    Copies are joined to groups. Of a group's training images the first is kept and the others are flagged.
    Training images with a copy among the test images are flagged as ``leak``: they are reported, and left
    out only where that is asked for by name. It is the one finder that looks at test images.
    """

    name: ClassVar[str] = "duplicates"
    title: ClassVar[str] = "Duplicates"
    summary: ClassVar[str] = (
        "exact and near copies, within a split and across splits; still stretches of film"
    )

    tail: float = option(0.002, "share of images that may look like near copies by chance", above=0.0)

    def find(self, subject: Subject) -> Finding:
        splits = {name: split.images for name, split in subject.across_splits().items()}
        found = copies.find_copies(
            splits, lambda done, total: subject.tell("duplicates", done, total), tail=self.tail
        )
        film = frames(splits, subject.generator("frames"))
        groups = _Groups(splits, found)
        flagged = tuple(groups.flags())
        counts = groups.counts(flagged)
        if subject.task.by_class:
            counts["groups of several classes"] = groups.mixed(subject.classes)
        counts["near threshold"] = found.threshold
        return self.answer(
            _sentence(counts, film),
            values=counts | _told(film),
            flagged=flagged,
            pairs=tuple(groups.pairs()),
            pictures=(*groups.pictures(), *_film_pictures(film)),
            recommendation=_advice(counts, film),
        )


class _Groups:
    """Images of all splits, numbered through, in groups of copies."""

    def __init__(self, splits: dict[str, Tensor], found: copies.Copies) -> None:
        self.names = list(splits)
        sizes = torch.tensor([len(images) for images in splits.values()])
        self.starts = (sizes.cumsum(0) - sizes).tolist()
        self.split = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        self.found = found
        count = int(sizes.sum())
        self.group = copies.connected(count, torch.cat([found.exact, found.near]))
        self.same = copies.connected(count, found.exact)
        self.members: dict[int, list[int]] = {}
        several = torch.bincount(self.group, minlength=count)[self.group] > 1
        for at in torch.nonzero(several).flatten().tolist():
            self.members.setdefault(int(self.group[at]), []).append(at)
        self.alike = {tuple(pair): float(score) for pair, score in zip(
            found.near.tolist(), found.alike.tolist(), strict=True
        )}  # fmt: skip
        self.best: dict[int, float] = {}
        for pair, score in self.alike.items():
            for at in pair:
                self.best[at] = max(score, self.best.get(at, 0.0))

    def place(self, at: int) -> tuple[str, int]:
        split = int(self.split[at])
        return self.names[split], at - self.starts[split]

    def of(self, members: list[int], split: str) -> list[int]:
        return [at for at in members if self.names[int(self.split[at])] == split]

    def flags(self) -> list[Flag]:
        """Training and validation images, the surest first."""
        found: list[Flag] = []
        for members in self.members.values():
            for split in ("train", "validation"):
                own = self.of(members, split)
                for at in own[1:]:
                    exact = any(self.same[at] == self.same[other] for other in own if other < at)
                    found.append(self._flag(at, EXACT if exact else NEAR, exact))
            across = ((VALIDATION, "validation", False), (LEAK, "test", True))
            for reason, split, on_request in across:
                there = self.of(members, split)
                for at in self.of(members, "train") if there else ():
                    exact = any(self.same[at] == self.same[other] for other in there)
                    found.append(self._flag(at, reason, exact, on_request))
        return sorted(found, key=lambda flag: (-flag.score, flag.split, flag.position, flag.reason))

    def _flag(self, at: int, reason: str, exact: bool, on_request: bool = False) -> Flag:
        split, position = self.place(at)
        score = 1.0 if exact else min(self.best.get(at, 1.0), 1.0)
        return Flag(position, round(score, 4), reason, split, on_request)

    def pairs(self) -> list[Pair]:
        exact = [(one, other, 1.0, EXACT) for one, other in self.found.exact.tolist()]
        near = [(one, other, round(score, 4), NEAR) for (one, other), score in self.alike.items()]
        made = [
            Pair(*self.place(one), *self.place(other), score, reason)
            for one, other, score, reason in exact + near
        ]
        return sorted(made, key=lambda pair: (-pair.score, pair.reason, pair.split, pair.position))

    def counts(self, flagged: tuple[Flag, ...]) -> dict[str, Any]:
        """How many images of each split are flagged for what, and images with a copy in another split."""
        found: dict[str, Any] = {"groups": len(self.members)}
        for split in ("train", "validation"):
            for reason in (EXACT, NEAR):
                count = sum(flag.split == split and flag.reason == reason for flag in flagged)
                found[f"{split} {reason}"] = count
        for split in ("validation", "test"):
            there = [at for m in self.members.values() if self.of(m, "train") for at in self.of(m, split)]
            exact = sum(self.place(int(self.same[at]))[0] == "train" for at in there)
            found[f"{split} images that are in train"] = len(there)
            found[f"{split} images that are in train, exactly"] = exact
        return found

    def mixed(self, classes: Tensor) -> int:
        """Groups whose training images are of several classes."""
        kinds = (
            {int(classes[self.place(at)[1]]) for at in self.of(members, "train")}
            for members in self.members.values()
        )
        return sum(len(each) > 1 for each in kinds)

    def pictures(self) -> list[Picture]:
        """Groups within train, and of train and another split."""
        within = [m for m in self.members.values() if len(self.of(m, "train")) > 1]
        leaks = [m for m in self.members.values() if self.of(m, "train") and self.of(m, "test")]
        made = []
        near = [m for m in within if len({int(self.same[at]) for at in m}) > 1]
        for chosen, caption in (
            (near, "Near copies within the training images, a row a group"),
            (
                [m for m in within if m not in near],
                "Exact copies within the training images, a row a group",
            ),
            (leaks, "Test images that are among the training images, a row a group"),
        ):
            rows = []
            for members in chosen[:_SHOWN]:
                splits = ("train", "test") if chosen is leaks else ("train",)
                for split in splits:
                    at = tuple(self.place(each)[1] for each in self.of(members, split)[:_MEMBERS])
                    rows.append(Row(f"{split} {at[0]}", split, at))
            if rows:
                made.append(Picture(caption, tuple(rows)))
        return made


def _told(film: Frames) -> dict[str, Any]:
    still = [{"split": each.split, "first": each.first, "last": each.last} for each in film.still]
    shared = [
        {
            "split": each.stretch.split,
            "first": each.stretch.first,
            "last": each.stretch.last,
            "train first": each.first,
            "train last": each.last,
        }
        for each in film.shared
    ]
    return {"order": film.order, "still stretches": still, "shared stretches": shared}


def _film_pictures(film: Frames) -> list[Picture]:
    made = []
    for each in film.shared[:4]:
        run = each.stretch
        at = _spread(range(run.first, run.last + 1))
        rows = (
            Row(run.split, run.split, at),
            Row("train", "train", tuple(each.nearest[place - run.first] for place in at)),
        )
        made.append(
            Picture(f"{run.split} {_images(run.first, run.last)}, the nearest training images below", rows)
        )
    for still in sorted(film.still, key=len, reverse=True)[:2]:
        row = Row(still.split, still.split, _spread(range(still.first, still.last + 1)))
        made.append(
            Picture(f"{still.split} {_images(still.first, still.last)}: hardly anything changes", (row,))
        )
    return made


def _spread(places: range) -> tuple[int, ...]:
    """Six of them at most, evenly."""
    return tuple(places[round(at * (len(places) - 1) / (_MEMBERS - 1))] for at in range(_MEMBERS))


def _sentence(counts: dict[str, Any], film: Frames) -> str:
    parts = [
        f"{counts[f'train {EXACT}']:,} training images are exact and {counts[f'train {NEAR}']:,} near "
        "copies "
        "of others",
        f"{counts['test images that are in train']:,} test images and "
        f"{counts['validation images that are in train']:,} validation images are also among the training "
        "images",
    ]
    parts += [
        f"{each.stretch.split} {_images(each.stretch.first, each.stretch.last)} look like training "
        f"{_images(each.first, each.last)}"
        for each in film.shared
    ]
    parts += [
        f"{each.split} {_images(each.first, each.last)} are nearly the same one after the other"
        for each in film.still
        if each.split != "train"
    ]
    return "; ".join(parts) + "."


def _images(first: int, last: int) -> str:
    """A stretch in words."""
    return f"image {first}" if first == last else f"images {first} to {last}"


def _advice(counts: dict[str, Any], film: Frames) -> str | None:
    parts = []
    if (
        sum(counts[f"train {reason}"] for reason in (EXACT, NEAR))
        or counts["validation images that are in train"]
    ):
        parts.append("leave the copies out (--drop duplicates)")
    if counts["test images that are in train"]:
        parts.append(
            "scores on the test split count images that were learned: report them with that said, or leave "
            f"the training images out that are there too (--drop 'duplicates:{LEAK}')"
        )
    if film.shared:
        parts.append(
            "these images are frames of the same film on both sides of a split: scores are higher than on "
            "other films, hold whole sequences out (block_column)"
        )
    if any(each.split == "validation" for each in film.still):
        parts.append("do not choose by so uniform a validation split alone")
    return "; ".join(parts).capitalize() + "." if parts else None
