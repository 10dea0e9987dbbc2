"""Tables of a report's page: networks by what they were trained on, classes, what was taken for what."""

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydistill.evaluation.facts import (
    REGIME_NAMES,
    Detail,
    Regime,
    Run,
    SetFacts,
    Source,
)
from pydistill.html.parts import table, text

if TYPE_CHECKING:
    from pydistill.evaluation.report import Report
    from pydistill.evaluation.statistics import Summary

_NUMBERED = 20
"""Classes up to which a confusion matrix is a table of numbers; above, a picture."""
_CONFUSED = 10
"""Most confusions of two classes that are listed."""


def networks(report: "Report", architecture: str, regime: Regime) -> str:
    """Networks of one architecture trained with one kind of labels."""
    rows, more = [], report.other_names()
    for source in report.sources(architecture, regime):
        others, images = (
            report.others(architecture, source, regime),
            report.spread(architecture, source, regime),
        )
        found, facts = report.summary(architecture, source, regime), report.facts(source, regime)
        chosen = report.runs_of(architecture, source, regime)
        draws = len({run.draw for run in chosen})
        count = f"{found.n} on {draws} draws" if draws > 1 else str(found.n)
        spread = "" if math.isnan(found.std) else f" <small>± {100 * found.std:.1f}</small>"
        seconds = sum(run.seconds for run in chosen) / len(chosen)
        rows.append(
            f'<tr class="{source}"><th scope="row">{report.named(source)}</th>'
            f"<td{_over_images(images)}><strong>{100 * found.mean:.1f} %</strong>{spread}</td>"
            f"{''.join(_other(others.get(name)) for name in more)}<td>{count}</td><td>{_count(facts)}</td>"
            f"<td>{facts.nbytes:,} bytes</td><td>{seconds:.1f} s</td></tr>"
        )
    gain, shortfall = report.gain(architecture, regime), report.shortfall(architecture, regime)
    gaps = ((f"{report.origin} less random", gain), (f"{report.origin} less all", shortfall))
    for name, gap in gaps:
        if gap is not None:
            unclear = "" if gap.doubt is None else f' <span class="unresolved">{text(gap.doubt)}</span>'
            rows.append(
                f'<tr class="gap"><th scope="row">{name}</th>'
                f"<td><strong>{100 * gap.mean:+.1f}</strong> points</td>"
                f'<td colspan="{4 + len(more)}">95 % interval {100 * gap.low:+.1f} to '
                f"{100 * gap.high:+.1f}{unclear}"
                "</td></tr>"
            )
    head = ("trained on", report.metric, *more, "networks", "images", "size", "training, a network")
    return table(head, rows)


def selection(report: "Report") -> str:
    """The selection under each criterion, beside random ones; nothing where the set is none."""
    rows = []
    for name, each in report.selection.get("criteria", {}).items():
        side = "above" if each["value"] > each["high"] else "below" if each["value"] < each["low"] else ""
        told = f"{side} all of them" if side else '<span class="unresolved">among them</span>'
        rows.append(
            f'<tr class="distilled"><th scope="row">{text(name)}</th>'
            f"<td><strong>{each['value']:.3f}</strong></td><td>{each['random']:.3f}</td>"
            f"<td>{each['low']:.3f} to {each['high']:.3f}</td><td>{told}</td></tr>"
        )
    head = ("criterion", "this selection", "random, mean", "random, range", "against random")
    return table(head, rows) if rows else ""


def _over_images(spread: float | None) -> str:
    """What other test images would change, as a title."""
    if spread is None:
        return ""
    return f' title="± {100 * spread:.1f} over bootstrap samples of the test images, for one network"'


def _other(found: "Summary | None") -> str:
    return "<td></td>" if found is None else f"<td>{100 * found.mean:.1f} %</td>"


def classes(report: "Report", architecture: str, regime: Regime) -> str:
    """The metric class by class, a column for each source; nothing where classes were not counted."""
    sources = [
        (source, detail)
        for source in report.sources(architecture, regime)
        if (detail := _detail(report, architecture, source, regime)) is not None
    ]
    if not sources:
        return ""
    rows = []
    for at, name in enumerate(report.class_names):
        cells = [
            f"<td>{'' if value is None else f'{100 * value:.1f} %'}{_bar(source, value)}</td>"
            for source, detail in sources
            for value in [detail.classes.values[at]]
        ]
        rows.append(f'<tr><th scope="row">{text(name)}</th>{"".join(cells)}</tr>')
    head = ["class", *(report.named(source) for source, _ in sources)]
    return f"<h3>{text(report.metric)} class by class</h3>\n{table(head, rows, 'classes')}"


def confusion(report: "Report", architecture: str, regime: Regime) -> str:
    """What networks trained on the distilled set took for what."""
    if "distilled" not in report.sources(architecture, regime):
        return ""
    detail = _detail(report, architecture, "distilled", regime)
    if detail is None or detail.classes.confusion is None:
        return ""
    matrix, names = detail.classes.confusion, report.class_names
    shown = _numbers(matrix, names) if len(names) <= _NUMBERED else _heat(matrix)
    plural = "networks" if detail.networks > 1 else "network"
    trained = f"{detail.networks} {plural} trained on {report.named('distilled')}"
    told = f"A row a class, a column what {trained} said."
    return (
        f"<h3>What was taken for what</h3>\n{shown}\n<p class='caption'>{told}</p>\n{_worst(detail, names)}"
    )


def every_run(runs: Sequence[Run], metric: str) -> str:
    """Each network in a row."""
    rows = [
        f"<tr><td>{text(run.architecture)}</td><td>{REGIME_NAMES[run.regime]}</td>"
        f"<td>{text(run.source)}</td><td>{run.draw}</td><td>{run.seed}</td>"
        f"<td>{100 * run.value:.2f} %</td><td>{run.loss:.4f}</td><td>{run.seconds:.1f} s</td></tr>"
        for run in runs
    ]
    head = ("network", "labels", "trained on", "draw", "seed", metric, "last loss", "training")
    return table(head, rows)


def _detail(report: "Report", architecture: str, source: Source, regime: Regime) -> Detail | None:
    """Answers class by class, where they are of the classes that the report names."""
    found, count = report.detail(architecture, source, regime), len(report.class_names)
    if found is None or len(found.classes.values) != count:
        return None
    matrix = found.classes.confusion
    square = matrix is None or (len(matrix) == count and all(len(row) == count for row in matrix))
    return found if square else None


def _count(facts: SetFacts) -> str:
    views = "" if facts.factor == 1 else f" <small>as {facts.images:,} views</small>"
    return f"{facts.stored:,}{views}"


def _bar(source: str, value: float | None) -> str:
    if value is None:
        return ""
    wide = f"{100 * min(max(value, 0.0), 1.0):.1f}"
    return (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{source}" width="{wide}" height="4"/></svg>'
    )


def _numbers(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    rows = []
    for at, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        total = max(sum(counts), 1)
        cells = [
            f'<td class="{"right" if at == column else "wrong"}" '
            f'style="--share:{100 * count / total:.0f}%">{count:,}</td>'
            for column, count in enumerate(counts)
        ]
        rows.append(f'<tr><th scope="row">{text(name)}</th>{"".join(cells)}</tr>')
    return table(["", *names], rows, "confusion")


def _heat(matrix: Sequence[Sequence[int]]) -> str:
    import torch

    from pydistill.data.pictures import to_picture

    counts = torch.tensor(matrix, dtype=torch.float32)
    share = counts / counts.sum(1, keepdim=True).clamp_min(1)
    file = io.BytesIO()
    to_picture(1 - share.sqrt()[None]).save(file, format="PNG")
    content = base64.b64encode(file.getvalue()).decode()
    told = "Shares of answers, a row a class and a column an answer; the darker, the more"
    return f'<img class="heat" src="data:image/png;base64,{content}" alt="{told}">'


def _worst(detail: Detail, names: Sequence[str]) -> str:
    """The commonest confusions, in words."""
    matrix = detail.classes.confusion or ()
    pairs = sorted(
        (
            (count / max(sum(counts), 1), name, names[column])
            for at, (name, counts) in enumerate(zip(names, matrix, strict=True))
            for column, count in enumerate(counts)
            if column != at and count
        ),
        key=lambda pair: -pair[0],
    )[:_CONFUSED]
    if not pairs:
        return ""
    items = "".join(
        f"<li>{text(said)} for {100 * share:.1f} % of {text(name)}</li>" for share, name, said in pairs
    )
    return f"<p>Most often said in place of the class:</p>\n<ol>{items}</ol>"
