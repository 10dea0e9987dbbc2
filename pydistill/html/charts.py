"""Drawings of a report's page, as inline SVG: every network as a dot, what was measured on the way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pydistill.evaluation.facts import Regime, Source
from pydistill.evaluation.report import Report
from pydistill.shown import printable

SOURCE_NAMES: dict[Source, str] = {
    "distilled": "distilled images",
    "random": "random real images",
    "whole": "all training images",
}
_WIDTH, _SIDE, _LINE, _TOP = 560, 24, 56, 6
_TALL, _LEFT = 200, 76
_FEW = 40
"""Points of a curve up to which each is marked by a dot."""


@dataclass(frozen=True)
class Axis:
    """Round ends and a round step.

    Attributes:
        low: The first tick.
        high: The last tick, a whole number of steps on.
        step: Between ticks.
    """

    low: float
    high: float
    step: float

    def ticks(self) -> list[float]:
        """Where ticks stand."""
        return [self.low + at * self.step for at in range(round((self.high - self.low) / self.step) + 1)]

    def share(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1."""
        return (value - self.low) / (self.high - self.low)


def percentages(values: Sequence[float]) -> Axis:
    """An axis over values in percent, with some three to eight steps; it never leaves 0 to 100."""
    low, high = max(0.0, min(values)), min(100.0, max(values))
    if high - low < 1:  # at least a point wide, within what there is
        low = min(max(0.0, (low + high) / 2 - 0.5), 99.0)
        high = low + 1
    margin = 0.02 * (high - low)
    step = _round_step((high - low) / 5)
    return Axis(
        max(0.0, math.floor((low - margin) / step) * step),
        min(100.0, math.ceil((high + margin) / step) * step),
        step,
    )


def axis_of(report: Report) -> Axis:
    """One axis for every network of a report, so that drawings compare."""
    return percentages([100 * run.value for run in report.runs])


def dots(report: Report, architecture: str, regime: Regime, axis: Axis) -> str:
    """Every run as a dot, a line a source, the mean as a bar."""
    sources = report.sources(architecture, regime)
    span = _WIDTH - 2 * _SIDE
    bottom = _TOP + _LINE * len(sources)
    marks = []
    for tick in axis.ticks():
        x = _SIDE + span * axis.share(tick)
        marks.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}">{tick:g}</text>')
    caption = f"{escape(printable(report.metric))} of each network, %"
    marks.append(f'<text class="tick" x="{_WIDTH / 2:.0f}" y="{bottom + 42}">{caption}</text>')
    for line, source in enumerate(sources):
        y = _TOP + _LINE * line + 38
        mean = _SIDE + span * axis.share(100 * report.summary(architecture, source, regime).mean)
        ends = f'x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 13}" y2="{y + 13}"'
        marks.append(f'<text class="name" x="{_SIDE}" y="{y - 22}">{SOURCE_NAMES[source]}</text>')
        marks.append(f'<line class="mean {source}" {ends}/>')
        draws = report.values(architecture, source, regime)
        for at, draw in enumerate(draws):
            height = y + (at - (len(draws) - 1) / 2) * min(6.0, 20 / len(draws))
            marks.extend(_dot(source, _SIDE + span * axis.share(100 * v), height, v) for v in draw)
    told = f"{report.metric} of every network of {architecture}, by what it was trained on"
    box = f'<svg viewBox="0 0 {_WIDTH} {bottom + 50}" role="img" aria-label="{_text(told)}">'
    below = "A dot a network; the bar is the mean. Draws lie one above the other."
    return "\n".join([box, *marks, "</svg>", f'<p class="caption">{below}</p>'])


def curve(name: str, steps: Sequence[int], values: Sequence[float | None]) -> str:
    """What was measured by iteration; nothing where it was measured less than twice.

    The axis is logarithmic where values are positive and span more than two powers of ten.
    """
    points = [
        (step, value)
        for step, value in zip(steps, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    if len(points) < 2:
        return ""
    lows = [value for _, value in points]
    logarithmic = min(lows) > 0 and max(lows) > 100 * min(lows)
    axis = _decades(lows) if logarithmic else _linear(lows)
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    span, tall, bottom = _WIDTH - _LEFT - _SIDE, _TALL - 60, _TALL - 44
    places = [
        (
            _LEFT + span * (step - first) / (last - first),
            bottom - tall * axis.share(math.log10(value) if logarithmic else value),
        )
        for step, value in points
    ]
    marks = []
    for tick in axis.ticks():
        y = bottom - tall * axis.share(tick)
        shown = f"{10**tick if logarithmic else tick:.4g}"
        marks.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="side" x="{_LEFT - 8}" y="{y + 4:.1f}">{shown}</text>')
    for x, step in ((_LEFT, first), (_WIDTH - _SIDE, last)):
        marks.append(f'<text class="tick" x="{x}" y="{bottom + 20}">{step:,}</text>')
    marks.append(f'<text class="tick" x="{_LEFT + span / 2:.0f}" y="{bottom + 38}">iteration</text>')
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks.append(f'<polyline class="curve" points="{drawn}"/>')
    if len(places) <= _FEW:
        marks += [f'<circle class="distilled" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    told = _text(f"{name} by iteration")
    box = f'<svg viewBox="0 0 {_WIDTH} {_TALL}" role="img" aria-label="{told}">'
    ends = f"from {points[0][1]:.4g} to {points[-1][1]:.4g}{', logarithmic axis' if logarithmic else ''}"
    caption = f"<figcaption>{_text(name)}: {ends}</figcaption>"
    return "\n".join(["<figure>", box, *marks, "</svg>", caption, "</figure>"])


def _linear(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    step = _round_step((high - low) / 4)
    return Axis(math.floor(low / step) * step, math.ceil(high / step) * step, step)


def _decades(values: Sequence[float]) -> Axis:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    step = max(1, math.ceil((high - low) / 4))
    return Axis(float(low), float(low + step * math.ceil((high - low) / step)), float(step))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _dot(source: Source, x: float, y: float, value: float) -> str:
    title = f"<title>{100 * value:.2f} %</title>"
    return f'<circle class="{source}" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'


def _text(text: str) -> str:
    return escape(printable(text))
