"""How many directions the images vary in, and how well nearness tells their class."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill.analysis.finder import Finder, register
from pydistill.analysis.finding import Chart, Finding
from pydistill.analysis.neighbours import nearest
from pydistill.analysis.subject import Subject
from pydistill.engine.method import option


@register
@dataclass(frozen=True, kw_only=True)
class Complexity(Finder):
    """Intrinsic dimension by two neighbours, error of the nearest neighbour, effective rank.

    On at most ``most`` images, drawn. The effective rank is ``exp(-sum s log s)`` of the singular values of
    centred features as shares s ([1]).

    [0] E. Facco, M. d'Errico, A. Rodriguez, A. Laio: Estimating the intrinsic dimension of datasets by a
        minimal neighborhood information. Scientific Reports 2017.
    [1] O. Roy, M. Vetterli: The effective rank. EUSIPCO 2007.
    """

    name: ClassVar[str] = "complexity"
    title: ClassVar[str] = "Complexity"
    summary: ClassVar[str] = "intrinsic dimension, error of the nearest neighbour, effective rank"
    least: ClassVar[int] = 20

    most: int = option(10_000, "images that are looked at", low=20)

    def find(self, subject: Subject) -> Finding:
        kind, rows = subject.embedding
        at = subject.sample(self.most, "complexity")
        rows = rows[at]
        away, places = nearest(rows, 2)
        dimension = two_neighbours(away)
        singular = torch.linalg.svdvals((rows - rows.mean(0)).double())
        rank = effective_rank(singular)
        values: dict[str, Any] = {
            "embedding": kind,
            "images looked at": len(rows),
            "intrinsic dimension": dimension,
            "effective rank": rank,
            "features": rows.shape[1],
        }
        told = ""
        advice = None
        if subject.task.by_class and len(subject.task.class_names) > 1:
            own = subject.classes[at]
            wrong = own[places[:, 0]] != own
            error = float(wrong.float().mean())
            values["error of the nearest neighbour"] = error
            values["error by class"] = {
                name: float(wrong[own == index].float().mean())
                for index, name in enumerate(subject.task.class_names)
                if bool((own == index).any())
            }
            told = f"; the nearest image is of another class for {100 * error:.0f} %"
            if error > 0.4:
                advice = "Classes overlap where images are compared as they are: allow more images a class."
        shares = (singular.square() / singular.square().sum().clamp_min(1e-12)).cumsum(0)[:64]
        steps = tuple(map(float, range(1, len(shares) + 1)))
        return self.answer(
            f"The images vary in about {dimension:.0f} directions (effective rank {rank:.0f} of "
            f"{rows.shape[1]} features){told}.",
            values=values,
            charts=(
                Chart(
                    "line",
                    "Variance in the first components",
                    "components",
                    "share of the variance",
                    ("variance",),
                    steps,
                    rows=(tuple(shares.tolist()),),
                ),
            ),
            recommendation=advice,
        )


def two_neighbours(away: Tensor, kept: float = 0.9) -> float:
    """Intrinsic dimension ([0] of :class:`Complexity`, equation 5) of distances (N, 2) to two neighbours.

    The slope through the origin of -log(1 - F(mu)) by log mu, mu the ratio of both distances, F its
    empirical distribution, of the smallest nine tenths of the ratios. Images with a copy are left out; nan
    where fewer than two others are left.
    """
    apart = away[away[:, 0] > 0].double()
    ratios = (apart[:, 1] / apart[:, 0]).log().sort().values
    count = len(ratios)
    used = math.floor(count * kept)
    x, y = ratios[:used], -torch.log1p(-torch.arange(1, used + 1, dtype=torch.float64) / count)
    power = float((x * x).sum())
    return float((x * y).sum()) / power if used > 1 and power > 0 else math.nan


def effective_rank(singular: Tensor) -> float:
    """``exp`` of the entropy of singular values as shares; 0 where all are 0."""
    total = float(singular.sum())
    if total <= 0:
        return 0.0
    shares = singular / total
    return math.exp(-float(torch.xlogy(shares, shares).sum()))
