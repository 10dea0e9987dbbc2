"""Which images are easy, which stay ambiguous, which are never learned."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill.analysis.finder import Finder, Need, register
from pydistill.analysis.finding import Chart, Finding, Picture, Row
from pydistill.analysis.subject import Subject
from pydistill.engine.method import option

_SHOWN, _CELLS, _SPREAD = 10, 20, 0.5
"""Images in a row; cells of the map; the largest deviation of numbers in [0, 1]."""


@register
@dataclass(frozen=True, kw_only=True)
class Difficulty(Finder):
    """The data map of training: mean and spread over epochs of the probability of the label.

    An image is *hard to learn* where the mean is below ``hard``, *ambiguous* where the spread is among the
    largest third and it is not hard, *easy* otherwise. Of masks and boxes the mean loss over epochs.

    [0] S. Swayamdipta et al.: Dataset Cartography. EMNLP 2020, arXiv:2009.10795.
    """

    name: ClassVar[str] = "difficulty"
    title: ClassVar[str] = "Difficulty"
    summary: ClassVar[str] = "easy, ambiguous and hard images by how networks learned them"
    needs: ClassVar[Need] = "scores"

    hard: float = option(
        0.3, "mean probability of the label below which an image is hard to learn", low=0.0
    )

    def find(self, subject: Subject) -> Finding:
        known = subject.require_scores().names
        return self._map(subject) if {"mean", "spread"} <= set(known) else self._losses(subject)

    def _map(self, subject: Subject) -> Finding:
        scores = subject.require_scores()
        mean, spread = scores.value("mean"), scores.value("spread")
        hard = mean < self.hard
        third = spread.sort(descending=True).values[max(0, len(spread) // 3 - 1)]
        ambiguous = ~hard & (spread >= third) & (spread > 0)
        shares = {
            "easy": float((~hard & ~ambiguous).float().mean()),
            "ambiguous": float(ambiguous.float().mean()),
            "hard": float(hard.float().mean()),
        }
        values: dict[str, Any] = {**shares, "mean": float(mean.mean()), "spread": float(spread.mean())}
        if "correctness" in scores.names:
            values["answered right, mean over epochs"] = float(scores.value("correctness").mean())
        values["by class"] = {
            name: {"mean": float(mean[member].mean()), "hard": float(hard[member].float().mean())}
            for name, member in zip(
                subject.task.class_names, subject.task.groups(subject.train.targets).members, strict=True
            )
            if len(member)
        }
        summary = (
            f"{100 * shares['easy']:.0f} % of the training images are easy, "
            f"{100 * shares['ambiguous']:.0f} % "
            f"ambiguous, {100 * shares['hard']:.1f} % are hardly learned at all."
        )
        easiest = _first(mean - spread, descending=True)
        rows = (
            Row("hardest", "train", _first(mean, descending=False)),
            Row("ambiguous", "train", _first(spread, descending=True)),
            Row("easiest", "train", easiest),
        )
        advice = None
        if shares["hard"] > 0.05:
            advice = (
                "Many images are hardly learned: see whether their labels are right before selecting by "
                "difficulty; "
                "at small budgets prefer easy and typical images to hard ones."
            )
        return self.answer(
            summary,
            values=values,
            pictures=(Picture("The hardest, most ambiguous and easiest training images", rows),),
            charts=(_cells(mean, spread),),
            recommendation=advice,
            image_scores=mean,
        )

    def _losses(self, subject: Subject) -> Finding:
        loss = subject.require_scores().value("loss")
        at = torch.tensor([0.1, 0.5, 0.9])
        low, middle, high = torch.quantile(loss[:: max(1, len(loss) // 1_000_000)], at).tolist()
        rows = (
            Row("hardest", "train", _first(loss, descending=True)),
            Row("easiest", "train", _first(loss, descending=False)),
        )
        counts = torch.histc(loss, 20)
        width = float(loss.max() - loss.min()) / 20
        places = tuple(float(loss.min()) + (step + 0.5) * width for step in range(20))
        return self.answer(
            f"The mean loss of the hardest tenth of the images is above {high:.3g}, of the easiest below "
            f"{low:.3g}; "
            f"the median is {middle:.3g}.",
            values={"10 %": low, "median": middle, "90 %": high},
            pictures=(Picture("The hardest and the easiest training images", rows),),
            charts=(
                Chart("bars", "Loss of training images, mean over epochs", "loss", "images", x=places,
                      values=tuple(counts.tolist())),
            ),
            image_scores=-loss,
        )  # fmt: skip


def _first(values: Tensor, *, descending: bool) -> tuple[int, ...]:
    return tuple(values.argsort(descending=descending, stable=True)[:_SHOWN].tolist())


def _cells(mean: Tensor, spread: Tensor) -> Chart:
    """Counts of images by mean (from left to right) and spread (upwards), roots of their shares."""
    across = (mean * _CELLS).long().clamp(0, _CELLS - 1)
    up = (spread / _SPREAD * _CELLS).long().clamp(0, _CELLS - 1)
    counts = torch.bincount((_CELLS - 1 - up) * _CELLS + across, minlength=_CELLS**2).view(_CELLS, _CELLS)
    rows = tuple(map(tuple, (counts / counts.max().clamp_min(1)).sqrt().tolist()))
    return Chart(
        "heat", "Training images by mean (left to right, 0 to 1) and spread (upwards, 0 to 0.5) of the "
        "probability of their label; the darker the more", rows=rows,
    )  # fmt: skip
