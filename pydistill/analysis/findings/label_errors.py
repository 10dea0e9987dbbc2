"""Labels that look wrong to networks that were not trained on them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pydistill.analysis.finder import Finder, Need, register
from pydistill.analysis.finding import Chart, Finding, Flag, Picture, Row
from pydistill.analysis.subject import Subject
from pydistill.engine.method import option

_SHOWN, _ROWS, _PAIRS = 10, 6, 12


@register
@dataclass(frozen=True, kw_only=True)
class LabelErrors(Finder):
    """Confident learning on out-of-fold probabilities, see :mod:`pydistill.tasks.label_doubts`.

    Where scores have the area under the margin, images are ranked by the weighted mean of their ranks by
    quality and by it; the share of flagged images in its lowest fifth is told: of wrong labels it should be
    most.

    [0] C. Northcutt, L. Jiang, I. Chuang: Confident Learning. JAIR 2021, arXiv:1911.00068.
    [1] G. Pleiss et al.: Identifying Mislabeled Data using the Area Under the Margin Ranking. NeurIPS 2020,
        arXiv:2001.10528.
    """

    name: ClassVar[str] = "label_errors"
    title: ClassVar[str] = "Label errors"
    summary: ClassVar[str] = "labels that networks which were not trained on the image call wrong"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    needs: ClassVar[Need] = "out_of_fold"
    least: ClassVar[int] = 20
    classes: ClassVar[int] = 2

    margin_weight: float = option(
        0.25, "weight of the rank by area under the margin in the ranking", low=0.0
    )

    def find(self, subject: Subject) -> Finding:
        scores, task = subject.require_scores(), subject.task
        given = torch.from_numpy(np.array(scores.out_of_fold, dtype=np.float32))
        doubts = task.label_doubts(given, subject.train.targets)
        margin = scores.value("aum") if "aum" in scores.names else None
        quality = doubts.quality
        if margin is not None and self.margin_weight:
            quality = (_ranks(quality) + self.margin_weight * _ranks(margin)) / (1 + self.margin_weight)
        flagged = doubts.flagged[quality[doubts.flagged].argsort(stable=True)]
        names, labels = task.class_names, subject.classes
        wrong = doubts.noise.clone().fill_diagonal_(0)
        share = float(wrong.sum()) / len(labels)
        values: dict[str, Any] = {
            "flagged": len(flagged),
            "estimated share of wrong labels": share,
            "confident joint, share off the diagonal": 1
            - float(doubts.joint.diagonal().sum() / doubts.joint.sum()),
            "thresholds": doubts.thresholds.tolist(),
            "commonest": _commonest(wrong, names),
        }
        if margin is not None and len(flagged):
            low = torch.quantile(margin[:: max(1, len(margin) // 1_000_000)], 0.2)
            values["flagged with a margin in the lowest fifth"] = float(
                (margin[flagged] <= low).float().mean()
            )
        flags = tuple(
            Flag(at, round(float(doubts.chance[at]), 4), "label looks wrong") for at in flagged.tolist()
        )
        told = values["commonest"][0] if values["commonest"] else None
        most = f", most often {told['label']!r} where networks see {told['seen']!r}" if told else ""
        summary = (
            f"{len(flagged):,} of {len(labels):,} labels look wrong{most}; by the images that networks "
            "are surest "
            f"of, about {100 * share:.1f} % are."
        )
        advice = None
        if len(flagged) >= max(1, len(labels) // 100):
            advice = (
                "Look at the first rows; leave these images out, or correct them (--drop label_errors)."
            )
        return self.answer(
            summary,
            values=values,
            flagged=flags,
            pictures=_pictures(flagged, labels, doubts.suggested, names),
            charts=_charts(wrong, names),
            recommendation=advice,
            image_scores=quality,
        )


def _ranks(values: Tensor) -> Tensor:
    """(N,) float32 ranks in [0, 1]."""
    found = torch.empty(len(values))
    found[values.argsort(stable=True)] = torch.linspace(0, 1, len(values))
    return found


def _commonest(wrong: Tensor, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Pairs of classes with the most wrong labels."""
    count, classes = min(_PAIRS, wrong.numel()), len(names)
    top = wrong.flatten().topk(count)
    return [
        {"label": names[at // classes], "seen": names[at % classes], "images": round(value, 1)}
        for value, at in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        if value >= 0.5
    ]


def _pictures(
    flagged: Tensor, labels: Tensor, suggested: Tensor, names: tuple[str, ...]
) -> tuple[Picture, ...]:
    pairs: dict[tuple[int, int], list[int]] = {}
    for at in flagged.tolist():
        pairs.setdefault((int(labels[at]), int(suggested[at])), []).append(at)
    largest = sorted(pairs.items(), key=lambda each: -len(each[1]))[:_ROWS]
    rows = tuple(
        Row(f"{names[label]} ({names[seen]}?)", "train", tuple(at[:_SHOWN]))
        for (label, seen), at in largest
    )
    return (Picture("Labels that look wrong, with what networks see instead", rows),) if rows else ()


def _charts(wrong: Tensor, names: tuple[str, ...]) -> tuple[Chart, ...]:
    if len(names) > 30 or not bool((wrong > 0).any()):
        return ()
    rows = tuple(map(tuple, (wrong / wrong.max()).tolist()))
    title = "Estimated wrong labels, by label (row) and what networks see (column)"
    return (Chart("heat", title, names=names, rows=rows),)
