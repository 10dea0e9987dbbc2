"""Accuracy against seconds, drawn."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#c05020", "#2060b0", "#208050", "#803080", "#907010", "#108090", "#b03070", "#606060")
WIDE, TALL, LEFT, TOP, BELOW = 860, 420, 60, 20, 60
LINE = 18
"""Pixels between one name and the next."""


def chart(sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> Image.Image:
    """A line a side, every network a dot; names stand at the right, the best on top.

    Args:
        sides: By name, points in the order of time: ``seconds``, ``mean`` and ``values``, fractions.
    """
    font = ImageFont.load_default(14)
    beside = 44 + int(max(font.getlength(name) for name in sides))
    low_edge = max(TALL - BELOW, TOP + LINE * len(sides))
    canvas = Image.new("RGB", (WIDE + beside, low_edge + BELOW), "white")
    draw = ImageDraw.Draw(canvas)
    points = [point for side in sides.values() for point in side]
    longest = max(point["seconds"] for point in points)
    values = [100 * value for point in points for value in point["values"]]
    low, high = min(values) - 1, max(values) + 1

    def place(seconds: float, value: float) -> tuple[float, float]:
        return (
            LEFT + (WIDE - LEFT) * seconds / longest,
            low_edge - (low_edge - TOP) * (100 * value - low) / (high - low),
        )

    for tick in range(int(low) // 5 * 5 + 5, int(high) + 1, 5):
        _, y = place(0, tick / 100)
        draw.line((LEFT, y, WIDE, y), fill="#dddddd")
        draw.text((LEFT - 8, y), f"{tick} %", fill="black", font=font, anchor="rm")
    for tick in range(0, int(longest) + 1, 60 if longest > 120 else 10):
        x, _ = place(tick, low / 100)
        draw.text((x, low_edge + 8), str(tick), fill="black", font=font, anchor="ma")
    middle = (LEFT + WIDE) / 2
    draw.text((middle, low_edge + 38), "seconds of distilling", fill="black", font=font, anchor="ma")
    coloured = zip(sides.items(), itertools.cycle(COLOURS))  # as many as there are
    ranked = sorted(coloured, key=lambda each: -each[0][1][-1]["mean"])
    ends = [place(side[-1]["seconds"], side[-1]["mean"]) for (_, side), _ in ranked]
    heights = apart([y for _, y in ends], TOP, low_edge)
    for ((name, side), colour), (x, y), height in zip(ranked, ends, heights, strict=True):
        draw.line([place(point["seconds"], point["mean"]) for point in side], fill=colour, width=3)
        draw.line([(x, y), (WIDE + 10, y), (WIDE + 26, height), (WIDE + 32, height)], fill=colour)
        draw.text((WIDE + 36, height), name, fill=colour, font=font, anchor="lm")
        for point in side:
            for value in point["values"]:
                x, y = place(point["seconds"], value)
                draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    return canvas


def apart(heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """Ascending heights, moved as far down and then up as names need that must not touch."""
    found: list[float] = []
    for height in heights:
        found.append(max(height, found[-1] + LINE if found else top))
    limit = bottom
    for at in reversed(range(len(found))):
        found[at] = min(found[at], limit)
        limit = found[at] - LINE
    return found
