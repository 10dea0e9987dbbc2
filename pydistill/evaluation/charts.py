"""Drawings of a report's page: every network as a dot."""

from typing import TYPE_CHECKING

from pydistill.evaluation.facts import Regime, Source
from pydistill.html.charts import SIDE, WIDTH, Axis, percentages
from pydistill.html.parts import text

if TYPE_CHECKING:
    from pydistill.evaluation.report import Report

_LINE, _TOP = 56, 6


def axis_of(report: "Report") -> Axis:
    """One axis for every network of a report, so that drawings compare."""
    return percentages([100 * run.value for run in report.runs])


def dots(report: "Report", architecture: str, regime: Regime, axis: Axis) -> str:
    """Every run as a dot, a line a source, the mean as a bar."""
    sources = report.sources(architecture, regime)
    span = WIDTH - 2 * SIDE
    bottom = _TOP + _LINE * len(sources)
    marks = []
    for tick in axis.ticks():
        x = SIDE + span * axis.share(tick)
        marks.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}">{tick:g}</text>')
    caption = f"{text(report.metric)} of each network, %"
    marks.append(f'<text class="tick" x="{WIDTH / 2:.0f}" y="{bottom + 42}">{caption}</text>')
    for line, source in enumerate(sources):
        y = _TOP + _LINE * line + 38
        mean = SIDE + span * axis.share(100 * report.summary(architecture, source, regime).mean)
        ends = f'x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 13}" y2="{y + 13}"'
        marks.append(f'<text class="name" x="{SIDE}" y="{y - 22}">{report.named(source)}</text>')
        marks.append(f'<line class="mean {source}" {ends}/>')
        draws = report.values(architecture, source, regime)
        for at, draw in enumerate(draws):
            height = y + (at - (len(draws) - 1) / 2) * min(6.0, 20 / len(draws))
            marks.extend(_dot(source, SIDE + span * axis.share(100 * v), height, v) for v in draw)
    told = f"{report.metric} of every network of {architecture}, by what it was trained on"
    box = f'<svg viewBox="0 0 {WIDTH} {bottom + 50}" role="img" aria-label="{text(told)}">'
    below = "A dot a network; the bar is the mean. Draws lie one above the other."
    return "\n".join([box, *marks, "</svg>", f'<p class="caption">{below}</p>'])


def _dot(source: Source, x: float, y: float, value: float) -> str:
    title = f"<title>{100 * value:.2f} %</title>"
    return f'<circle class="{source}" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'
