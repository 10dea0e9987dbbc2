"""How much of a data set its other images stand for."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.analysis.finder import Finder, register
from pydistill.analysis.finding import Chart, Finding, Picture, Row
from pydistill.analysis.neighbours import nearest
from pydistill.analysis.subject import Subject
from pydistill.engine.method import option
from pydistill.selection.k_center import farthest_first

_CLOSE, _ROWS, _SHOWN = 0.25, 8, 10
"""Share of the median distance of two images below which one stands for the other."""


@register
@dataclass(frozen=True, kw_only=True)
class Redundancy(Finder):
    """Distances to the nearest image, and the radius within which a subset of each size covers the others.

    On at most ``most`` images, drawn. A distance is in units of the median distance of two images; the
    radius of a subset is the largest distance of an image from it, of subsets chosen farthest first and at
    random.
    """

    name: ClassVar[str] = "redundancy"
    title: ClassVar[str] = "Redundancy"
    summary: ClassVar[str] = "how close images are to others; how small a subset covers them"
    least: ClassVar[int] = 10

    most: int = option(5000, "images that are looked at", low=10)
    largest: int = option(1000, "images of the largest subset", low=2)

    def find(self, subject: Subject) -> Finding:
        kind, rows = subject.embedding
        at = subject.sample(self.most, "redundancy")
        rows = rows[at]
        unit = _median_distance(rows, subject.generator("redundancy", "pairs"))
        away = nearest(rows, 1)[0][:, 0] / unit
        share = float((away < _CLOSE).float().mean())
        sizes = _sizes(min(self.largest, len(rows) - 1))
        chosen = farthest_first(rows, sizes[-1])
        order = torch.randperm(len(rows), generator=subject.generator("redundancy", "random"))
        covered, drawn = (
            [float(nearest(rows, 1, rows[which[:size]])[0].max() / unit) for size in sizes]
            for which in (chosen, order)
        )
        quantiles = torch.quantile(away, torch.tensor([0.1, 0.5, 0.9])).tolist()
        half = next((size for size, radius in zip(sizes, covered, strict=True) if radius <= 0.5), None)
        within = (
            f"{half:,} images cover all others"
            if half
            else f"not even {sizes[-1]:,} images cover all others"
        )
        closest = away.argsort(stable=True)
        rarest = tuple(at[closest.flip(0)[:_SHOWN]].tolist())
        return self.answer(
            f"{100 * share:.0f} % of the images have another within a quarter of the usual distance; "
            f"{within} within "
            f"half of it.",
            values={
                "embedding": kind,
                "images looked at": len(rows),
                "share with a close image": share,
                "distance to the nearest": dict(zip(("10 %", "median", "90 %"), quantiles, strict=True)),
                "subset sizes": sizes,
                "radius, farthest first": covered,
                "radius, random": drawn,
            },
            pictures=(
                Picture(
                    "Images far from all others, and those that a subset chosen farthest first begins with",
                    (
                        Row("rarest", "train", rarest),
                        Row("covering", "train", tuple(at[chosen[:_SHOWN]].tolist())),
                    ),
                ),
            ),
            charts=(
                Chart(
                    "line",
                    "Radius of coverage by images in the subset",
                    "images in the subset",
                    "radius, usual distance of two images = 1",
                    ("farthest first", "random"),
                    tuple(map(float, sizes)),
                    rows=(tuple(covered), tuple(drawn)),
                    log=True,
                ),
            ),
            recommendation=(
                "Many images stand for others: a selection that stands for all (--method "
                "facility_location, k_means) can be far smaller than the whole."
                if share > 0.5
                else None
            ),
        )


def _median_distance(rows: Tensor, generator: torch.Generator) -> float:
    first, second = (torch.randint(len(rows), (20_000,), generator=generator) for _ in range(2))
    apart = (rows[first] - rows[second]).norm(dim=1)[first != second]
    middle = float(apart.median()) if len(apart) else 0.0
    return middle if middle > 0 else 1.0


def _sizes(largest: int) -> list[int]:
    """1, 2, 5, 10, ... up to the largest."""
    steps = [factor * 10**power for power in range(7) for factor in (1, 2, 5)]
    return [*(step for step in steps if step < largest), largest]
