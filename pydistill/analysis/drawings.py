"""Charts of an analysis as inline SVG."""

import math
from collections.abc import Sequence

from pydistill.analysis.finding import Chart
from pydistill.html.charts import SIDE, WIDTH, linear
from pydistill.html.parts import text

_LINE, _TALL, _LEFT, _NAME = 30, 240, 64, 24
_MOST = 40
"""Rows of a table of numbers that is drawn."""
_COLOURS = ("distilled", "random", "whole")


def drawing(chart: Chart) -> str:
    """A figure with its caption; nothing where there is nothing to draw."""
    made = {"bars": _bars, "line": _lines, "points": _points, "heat": _heat}[chart.kind](chart)
    if not made:
        return ""
    return f"<figure>\n{made}\n<figcaption>{text(chart.title)}</figcaption>\n</figure>"


def _svg(chart: Chart, height: float, marks: Sequence[str]) -> str:
    box = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{text(chart.title)}">'
    return "\n".join([box, *marks, "</svg>"])


def _bars(chart: Chart) -> str:
    if not chart.values or max(chart.values) <= 0:
        return ""
    return _columns(chart) if chart.x else _named_bars(chart)


def _named_bars(chart: Chart) -> str:
    """Lying bars, a name above each, so that long names fit a phone."""
    marks, most = [], max(chart.values)
    step = _LINE + 12
    for at, (name, value) in enumerate(zip(chart.names, chart.values, strict=True)):
        y = at * step
        wide = (WIDTH - 2 * SIDE) * value / most
        shown = name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."
        marks.append(f'<text class="name" x="{SIDE}" y="{y + 18}">{text(shown)}: {_number(value)}</text>')
        marks.append(
            f'<rect class="distilled" x="{SIDE}" y="{y + 25}" width="{max(wide, 1):.1f}" height="10"/>'
        )
    return _svg(chart, len(chart.values) * step + 4, marks)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"


def _columns(chart: Chart) -> str:
    """Standing bars over an axis of numbers."""
    most, count = max(chart.values), len(chart.values)
    wide, bottom = (WIDTH - 2 * SIDE) / count, _TALL - 50
    marks = [
        f'<rect class="distilled" x="{SIDE + at * wide + 1:.1f}" y="{bottom - tall:.1f}" '
        f'width="{max(wide - 2, 1):.1f}" height="{tall:.1f}"/>'
        for at, value in enumerate(chart.values)
        if (tall := (bottom - 12) * value / most) > 0
    ]
    for at in sorted({0, count // 2, count - 1}):
        x = SIDE + (at + 0.5) * wide
        marks.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 20}">{chart.x[at]:.3g}</text>')
    marks.append(f'<text class="tick" x="{WIDTH / 2:.0f}" y="{bottom + 42}">{text(chart.x_title)}</text>')
    return _svg(chart, _TALL, marks)


def _place(value: float, ends: tuple[float, float], log: bool) -> float:
    low, high = (math.log10(end) for end in ends) if log else ends
    at = math.log10(value) if log else value
    return (at - low) / (high - low) if high > low else 0.5


def _frame(chart: Chart, ys: Sequence[float]) -> tuple[list[str], tuple[float, float], tuple[float, float]]:
    """Axis titles and ends of both axes."""
    across = (min(chart.x), max(chart.x))
    axis = linear((min(0.0, *ys), max(ys) if max(ys) > 0 else 1.0))
    up = (axis.low, axis.high)
    bottom = _TALL - 50
    marks = []
    for tick in axis.ticks():
        y = bottom - (bottom - 20) * _place(tick, up, False)
        marks.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - SIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        marks.append(f'<text class="side" x="{_LEFT - 8}" y="{y + 4:.1f}">{tick:.3g}</text>')
    for x, tick in ((_LEFT, across[0]), (WIDTH - SIDE, across[1])):
        marks.append(f'<text class="tick" x="{x}" y="{bottom + 20}">{tick:,.6g}</text>')
    marks.append(f'<text class="tick" x="{WIDTH / 2:.0f}" y="{bottom + 42}">{text(chart.x_title)}</text>')
    return marks, across, up


def _spot(
    chart: Chart, x: float, y: float, across: tuple[float, float], up: tuple[float, float]
) -> tuple[float, float]:
    bottom = _TALL - 50
    return (
        _LEFT + (WIDTH - SIDE - _LEFT) * _place(x, across, chart.log),
        bottom - (bottom - 20) * _place(y, up, False),
    )


def _lines(chart: Chart) -> str:
    if len(chart.x) < 2 or not chart.rows:
        return ""
    marks, across, up = _frame(chart, [value for row in chart.rows for value in row])
    for at, row in enumerate(chart.rows):
        spots = (_spot(chart, x, y, across, up) for x, y in zip(chart.x, row, strict=True))
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        colour = _COLOURS[at % len(_COLOURS)]
        marks.append(f'<polyline class="curve" style="stroke: var(--{colour})" points="{drawn}"/>')
    svg = _svg(chart, _TALL, marks)
    if len(chart.names) < 2:
        return svg
    named = "; ".join(
        f'<span style="color: var(--{_COLOURS[at % len(_COLOURS)]})">{text(name)}</span>'
        for at, name in enumerate(chart.names)
    )
    return f'{svg}\n<p class="caption">{text(chart.y_title)}: {named}</p>'


def _points(chart: Chart) -> str:
    if not chart.x:
        return ""
    marks, across, up = _frame(chart, chart.values)
    for x, y in zip(chart.x, chart.values, strict=True):
        left, top = _spot(chart, x, y, across, up)
        marks.append(f'<circle class="distilled" cx="{left:.1f}" cy="{top:.1f}" r="3"/>')
    return _svg(chart, _TALL, marks)


def _heat(chart: Chart) -> str:
    if not chart.rows or len(chart.rows) > _MOST:
        return ""
    left = SIDE + (130 if chart.names else 0)
    columns = len(chart.rows[0])
    wide = min((WIDTH - left - SIDE) / columns, 40)
    marks = []
    for down, row in enumerate(chart.rows):
        y = 4 + down * wide
        if chart.names:
            name = chart.names[down]
            shown = name if len(name) <= 15 else f"{name[:12]}..."
            marks.append(
                f'<text class="side" x="{left - 8}" y="{y + wide / 2 + 5:.1f}">{text(shown)}</text>'
            )
        for across, value in enumerate(row):
            told = f"{chart.names[down]}, {chart.names[across]}: " if len(chart.names) == columns else ""
            title = f"<title>{text(told)}{value:.3g}</title>"
            marks.append(
                f'<rect class="distilled" x="{left + across * wide:.1f}" y="{y:.1f}" width="{wide:.1f}" '
                f'height="{wide:.1f}" fill-opacity="{min(max(value, 0.0), 1.0):.3f}">{title}</rect>'
            )
    frame = f'x="{left}" y="4" width="{columns * wide:.1f}" height="{len(chart.rows) * wide:.1f}"'
    marks.append(f'<rect {frame} fill="none" style="stroke: var(--line)"/>')
    return _svg(chart, 8 + len(chart.rows) * wide, marks)
