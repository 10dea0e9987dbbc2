"""How much there is of each class, and what occurs together."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill.analysis.finder import Finder, register
from pydistill.analysis.finding import Chart, Finding, Picture, Row
from pydistill.analysis.subject import Subject
from pydistill.engine.method import option

_SHOWN, _EACH, _MOST_ROWS = 20, 8, 12
_EVEN = 1.1
"""Ratio of the largest class to the smallest below which classes are called even."""


@register
@dataclass(frozen=True, kw_only=True)
class Classes(Finder):
    """Counts of images, pixels or objects by class.

    With shares p of K classes: imbalance is the largest share by the smallest; balance is
    ``-sum p log p / log K``, 1 where all are equal; the effective number is ``exp(-sum p log p)``, as many
    equal classes as would be as diverse. The effective number of samples of a class of n images is
    ``(1 - beta^n) / (1 - beta)``.

    [0] Y. Cui et al.: Class-Balanced Loss Based on Effective Number of Samples. CVPR 2019,
        arXiv:1901.05555, equation 2.
    """

    name: ClassVar[str] = "classes"
    title: ClassVar[str] = "Classes"
    summary: ClassVar[str] = "how much there is of each class; what occurs together; shapes of boxes"
    least: ClassVar[int] = 1

    beta: float = option(0.999, "of the effective number of samples of a class", low=0.0)

    def find(self, subject: Subject) -> Finding:
        task = subject.task
        held = task.amounts(subject.train.targets)
        total, images = held.sum(0), (held > 0).sum(0)
        facts = balance(total)
        values: dict[str, Any] = {
            "unit": task.unit,
            "names": list(task.class_names),
            "counts": total.tolist(),
            "images": images.tolist(),
            **facts,
            "effective samples": [
                round((1 - self.beta**count) / (1 - self.beta), 3) if self.beta < 1 else count
                for count in images.tolist()
            ],
        }
        charts = [_bars(task.class_names, total, f"{task.unit}s a class, training split")]
        if not task.by_class:
            charts += self._together(subject, held, values)
        order = total.argsort(descending=True, stable=True).tolist()
        most, fewest = order[0], next((at for at in reversed(order) if total[at]), order[0])
        if len(total) == 1:
            summary = f"There is one class, {task.class_names[0]!r}, with {int(total[0]):,} {task.unit}s."
        elif facts["imbalance"] < _EVEN:
            summary = f"{len(total)} classes of about {int(total.double().mean()):,} {task.unit}s each."
        else:
            summary = (
                f"{len(total)} classes; the largest, {task.class_names[most]!r}, has "
                f"{facts['imbalance']:.1f} times "
                f"as many {task.unit}s as the smallest, {task.class_names[fewest]!r} "
                f"({int(total[most]):,} and {int(total[fewest]):,})."
            )
        return self.answer(
            summary,
            values=values,
            charts=tuple(charts),
            pictures=_examples(subject, held),
            recommendation=_advice(subject, facts, total),
        )

    def _together(self, subject: Subject, held: Tensor, values: dict[str, Any]) -> list[Chart]:
        """What is of images that hold several classes."""
        task = subject.task
        here = (held > 0).double()
        joint = here.T @ here
        values["co-occurrence"] = joint.long().tolist()
        each = (held if task.unit != "pixel" else here).double().sum(1)
        what = "objects" if task.unit != "pixel" else "classes"
        values[f"{what} an image"] = {
            "least": float(each.min()),
            "mean": float(each.mean()),
            "most": float(each.max()),
        }
        share = joint / joint.diagonal().clamp_min(1)[:, None]
        charts = [
            Chart(
                "heat",
                "Images with the class of the row that also hold the class of the column",
                names=task.class_names,
                rows=tuple(map(tuple, share.tolist())),
            )
        ]
        shapes = task.shapes(subject.train.targets, subject.size)
        if shapes:
            values["boxes"] = {
                name: _quantiles(column) for name, column in shapes.items() if column.is_floating_point()
            }
            values["boxes by class"] = {
                title: _quantiles(shapes["side"][shapes["class"] == at])
                for at, title in enumerate(task.class_names)
                if bool((shapes["class"] == at).any())
            }
            charts.append(_positions(shapes["x"], shapes["y"]))
            charts.append(_lengths(shapes["side"]))
        return charts


def balance(total: Tensor) -> dict[str, float]:
    """Imbalance, balance and effective number of classes of counts (K,), see :class:`Classes`."""
    shares = total.double() / total.sum().clamp_min(1)
    entropy = float(-torch.xlogy(shares, shares).sum())
    present = total[total > 0].double()
    return {
        "imbalance": float(present.max() / present.min()) if len(present) else math.nan,
        "balance": entropy / math.log(len(total)) if len(total) > 1 else 1.0,
        "effective number": math.exp(entropy),
        "absent": float((total == 0).sum()),
    }


def _quantiles(values: Tensor) -> dict[str, float]:
    at = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)
    found = torch.quantile(values.double(), at).tolist()
    return dict(zip(("least", "10 %", "median", "90 %", "most"), [round(x, 4) for x in found], strict=True))


def _bars(names: tuple[str, ...], total: Tensor, title: str) -> Chart:
    order = total.argsort(descending=True, stable=True)
    if len(order) > _SHOWN:
        order = torch.cat([order[: _SHOWN // 2], order[-_SHOWN // 2 :]])
        title += f" (the {_SHOWN // 2} largest and smallest)"
    chosen = order.tolist()
    return Chart(
        "bars",
        title,
        names=tuple(names[at] for at in chosen),
        values=tuple(float(total[at]) for at in chosen),
    )


def _positions(x: Tensor, y: Tensor, cells: int = 8) -> Chart:
    """Centres of boxes by where they lie in their images."""
    across, down = ((each * cells).long().clamp(0, cells - 1) for each in (x, y))
    counts = torch.bincount(down * cells + across, minlength=cells**2).view(cells, cells)
    rows = tuple(map(tuple, (counts / counts.max().clamp_min(1)).tolist()))
    return Chart("heat", "Where centres of boxes lie in their images, most in the darkest cell", rows=rows)


def _lengths(sides: Tensor, bins: int = 16) -> Chart:
    logs = sides.log2()
    low, high = float(logs.min().floor()), float(logs.max().ceil())
    counts = torch.histc(logs, bins, low, max(high, low + 1))
    width = (max(high, low + 1) - low) / bins
    places = tuple(2 ** (low + (at + 0.5) * width) for at in range(bins))
    return Chart(
        "bars",
        "Sizes of boxes",
        "root of the area in pixels",
        "boxes",
        x=places,
        values=tuple(counts.tolist()),
        log=True,
    )


def _examples(subject: Subject, held: Tensor) -> tuple[Picture, ...]:
    """Images of every class, drawn."""
    rows = []
    order = held.sum(0).argsort(stable=True).tolist()
    for at in order[:_MOST_ROWS]:
        members = torch.nonzero(held[:, at] > 0).flatten()
        if len(members):
            chosen = torch.randperm(len(members), generator=subject.generator("examples", at))[:_EACH]
            positions = tuple(members[chosen].sort().values.tolist())
            rows.append(Row(subject.task.class_names[at], "train", positions))
    told = (
        "Training images of each class" if subject.task.by_class else "Training images that hold each class"
    )
    more = (
        f", the {_MOST_ROWS} smallest of {len(order)}"
        if len(order) > _MOST_ROWS
        else ", the smallest first"
    )
    return (Picture(told + more, tuple(rows)),) if rows else ()


def _advice(subject: Subject, facts: dict[str, float], total: Tensor) -> str | None:
    if facts["absent"]:
        names = [n for n, count in zip(subject.task.class_names, total.tolist(), strict=True) if not count]
        return f"Nothing can be learned of {', '.join(names[:5])}: there is none in the training images."
    if facts["imbalance"] < 3:
        return None
    if subject.task.by_class:
        return (
            "Classes are uneven: a budget by class (--ipc) gives each as many images; --short-classes "
            "keep takes "
            "what there is in small ones. Read accuracies by class beside the mean."
        )
    return (
        "Classes are uneven: prefer selections that balance them, and read values by class beside the mean."
    )
