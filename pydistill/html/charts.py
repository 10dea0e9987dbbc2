"""Drawings of pages as inline SVG: axes with round steps, what was measured step by step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydistill.html.parts import text

WIDTH, SIDE = 560, 24
"""Of a drawing, and of its margins at the left and the right."""
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


def linear(values: Sequence[float]) -> Axis:
    """An axis over values, with some four or five steps."""
    low, high = min(values), max(values)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    step = _round_step((high - low) / 4)
    return Axis(math.floor(low / step) * step, math.ceil(high / step) * step, step)


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
    axis = _decades(lows) if logarithmic else linear(lows)
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    span, tall, bottom = WIDTH - _LEFT - SIDE, _TALL - 60, _TALL - 44
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
        marks.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="side" x="{_LEFT - 8}" y="{y + 4:.1f}">{shown}</text>')
    for x, step in ((_LEFT, first), (WIDTH - SIDE, last)):
        marks.append(f'<text class="tick" x="{x}" y="{bottom + 20}">{step:,}</text>')
    marks.append(f'<text class="tick" x="{_LEFT + span / 2:.0f}" y="{bottom + 38}">iteration</text>')
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks.append(f'<polyline class="curve" points="{drawn}"/>')
    if len(places) <= _FEW:
        marks += [f'<circle class="distilled" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    told = text(f"{name} by iteration")
    box = f'<svg viewBox="0 0 {WIDTH} {_TALL}" role="img" aria-label="{told}">'
    ends = f"from {points[0][1]:.4g} to {points[-1][1]:.4g}{', logarithmic axis' if logarithmic else ''}"
    caption = f"<figcaption>{text(name)}: {ends}</figcaption>"
    return "\n".join(["<figure>", box, *marks, "</svg>", caption, "</figure>"])


def _decades(values: Sequence[float]) -> Axis:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    step = max(1, math.ceil((high - low) / 4))
    return Axis(float(low), float(low + step * math.ceil((high - low) / step)), float(step))


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
