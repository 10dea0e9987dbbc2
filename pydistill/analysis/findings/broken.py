"""Images and targets that carry little or nothing."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.analysis.finder import Finder, register
from pydistill.analysis.finding import Chart, Finding, Flag, Picture, Row
from pydistill.analysis.neighbours import grey
from pydistill.analysis.subject import Subject
from pydistill.data.real import Split
from pydistill.engine.method import option

_CHUNK, _LEVELS = 2048, 16
_SHOWN = 20
_SIGMA = 1.4826
"""Standard deviation of a normal distribution by its median absolute deviation."""


@register
@dataclass(frozen=True, kw_only=True)
class Broken(Finder):
    """Blank, dark, bright, blurred images and those of little information; targets that mean nothing.

    Of every grey image: mean, standard deviation, entropy of a histogram of 16 levels, and the variance of
    its Laplacian (sharpness). An image is *constant* where the standard deviation is below ``constant``;
    *dark* or *bright* where its 99th or 1st percentile is beyond ``dark`` or ``bright``, *of little
    information*, or *blurred*, where its entropy, or the logarithm of its sharpness, is ``deviations``
    robust standard deviations below the median of the training images. What the task finds wrong with
    targets comes from :meth:`pydistill.tasks.Task.doubtful`.
    """

    name: ClassVar[str] = "broken"
    title: ClassVar[str] = "Broken images and targets"
    summary: ClassVar[str] = "blank, dark, bright or blurred images; empty boxes and masks"
    least: ClassVar[int] = 1

    constant: float = option(
        0.01, "standard deviation of pixels in [0, 1] below which an image is blank", low=0.0
    )
    dark: float = option(0.12, "99th percentile of pixels below which an image is dark", low=0.0)
    bright: float = option(0.88, "1st percentile of pixels above which an image is bright", low=0.0)
    deviations: float = option(
        6.0,
        "robust standard deviations from the median from which an image is unlike the others",
        above=0.0,
    )

    def find(self, subject: Subject) -> Finding:
        facts = image_facts(subject.train.images)
        usual = {name: _usual(facts[name]) for name in ("entropy", "sharpness")}
        flagged = self._images("train", facts, usual)
        flagged += self._images("validation", image_facts(subject.validation.images), usual)
        for name, split in (("train", subject.train), ("validation", subject.validation)):
            flagged += _targets(subject, name, split)
        flagged.sort(key=lambda flag: (-flag.score, flag.split, flag.position, flag.reason))
        counts: dict[str, int] = {}
        for flag in flagged:
            key = f"{flag.split}: {flag.reason}"
            counts[key] = counts.get(key, 0) + 1
        left_out = [note for note in subject.notes if "left out" in note]
        ours = [flag for flag in flagged if flag.split == "train"]
        names = sorted({flag.reason for flag in ours})
        told = ", ".join(f"{sum(f.reason == name for f in ours):,} {name}" for name in names)
        count = len({flag.position for flag in ours})
        summary = f"{count:,} of {len(subject.train):,} training images look broken" + (
            f" ({told})."
            if count
            else ": none is blank, dark, bright or blurred beyond what is usual here."
        )
        if left_out:
            summary += f" In reading the source: {'; '.join(left_out)}."
        pictures = tuple(
            Picture(f"Training images that are {name}", (Row(name, "train", tuple(at[:_SHOWN])),))
            for name in names
            if (at := [flag.position for flag in ours if flag.reason == name])
        )
        return self.answer(
            summary,
            values={"flagged": counts, "left out in reading": left_out, "usual": usual},
            flagged=tuple(flagged),
            pictures=pictures,
            charts=(_histogram("Brightness of training images", facts["mean"]),),
            recommendation="Look at them, and leave them out where they carry nothing (--drop broken)."
            if ours
            else None,
            image_scores=facts["sharpness"],
        )

    def _images(
        self, split: str, facts: dict[str, Tensor], usual: dict[str, tuple[float, float]]
    ) -> list[Flag]:
        blank = facts["spread"] < self.constant
        found = [
            (blank, "blank", torch.ones_like(facts["mean"])),
            (~blank & (facts["high"] < self.dark), "dark", 1 - facts["high"]),
            (~blank & (facts["low"] > self.bright), "bright", facts["low"]),
        ]
        taken = blank | found[1][0] | found[2][0]
        for name, reason in (("entropy", "of little information"), ("sharpness", "blurred")):
            middle, spread = usual[name]
            depth = (middle - facts[name]) / max(spread, 1e-6)
            found.append(
                (~taken & (depth > self.deviations), reason, 1 - self.deviations / (2 * depth.clamp_min(1)))
            )
            taken = taken | found[-1][0]
        return [
            Flag(at, round(float(score[at]), 4), reason, split)
            for which, reason, score in found
            for at in torch.nonzero(which).flatten().tolist()
        ]


def image_facts(images: Tensor) -> dict[str, Tensor]:
    """(N,) float32 of images (N, C, H, W), by name, of grey pixels in [0, 1].

    ``mean``; ``spread``, the largest standard deviation of a channel; ``low`` and ``high``, the 1st and the
    99th percentile; ``entropy`` in bits of a histogram of 16 levels; ``sharpness``, the natural logarithm
    of the variance of the Laplacian.
    """
    parts: dict[str, list[Tensor]] = {}
    for part in torch.split(images, _CHUNK):
        pixels = grey(part)
        rows = pixels.flatten(1)
        ordered = rows.sort(1).values
        last = rows.shape[1] - 1
        level = (rows * _LEVELS).long().clamp(0, _LEVELS - 1)
        shares = (
            torch.zeros(len(rows), _LEVELS).scatter_add_(1, level, torch.ones_like(rows)) / rows.shape[1]
        )
        own = part.flatten(2).float() / (255 if part.dtype == torch.uint8 else 1)
        found = {
            "mean": rows.mean(1),
            "spread": own.std(2, correction=0).amax(1),
            "low": ordered[:, round(0.01 * last)],
            "high": ordered[:, round(0.99 * last)],
            "entropy": -torch.xlogy(shares, shares).sum(1) / torch.log(torch.tensor(2.0)),
            "sharpness": _laplacian(pixels).flatten(1).var(1, correction=0).add(1e-8).log(),
        }
        for name, value in found.items():
            parts.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in parts.items()}


def _laplacian(pixels: Tensor) -> Tensor:
    """Sum of the four neighbours less four times the pixel, inside the edge; all of it where it is thin."""
    if min(pixels.shape[1:]) < 3:
        return pixels - pixels.mean((1, 2), keepdim=True)
    inner = pixels[:, 1:-1, 1:-1]
    around = pixels[:, :-2, 1:-1] + pixels[:, 2:, 1:-1] + pixels[:, 1:-1, :-2] + pixels[:, 1:-1, 2:]
    return around - 4 * inner


def _usual(values: Tensor) -> tuple[float, float]:
    middle = values.median()
    return float(middle), float(_SIGMA * (values - middle).abs().median())


def _targets(subject: Subject, name: str, split: Split) -> list[Flag]:
    doubtful = subject.task.doubtful(split.targets, subject.size)
    return [
        Flag(at, 1.0, reason, name)
        for reason, which in doubtful.items()
        for at in torch.nonzero(which).flatten().tolist()
    ]


def _histogram(title: str, values: Tensor, bins: int = 20) -> Chart:
    counts = torch.histc(values, bins, 0, 1)
    edges = [(at + 0.5) / bins for at in range(bins)]
    return Chart("bars", title, "mean of pixels", "images", x=tuple(edges), values=tuple(counts.tolist()))
