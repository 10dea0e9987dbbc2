"""Accuracy against seconds, drawn."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#c05020", "#2060b0", "#208050", "#803080", "#907010", "#108090", "#b03070", "#606060")


def chart(sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> Image.Image:
    """A line a side, every network a dot.

    Args:
        sides: By name, points in the order of time: ``seconds``, ``mean`` and ``values``, fractions.
    """
    wide, tall, left, low_edge = 860, 420, 60, 360
    canvas = Image.new("RGB", (wide, tall), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    points = [point for side in sides.values() for point in side]
    longest = max(point["seconds"] for point in points)
    values = [100 * value for point in points for value in point["values"]]
    low, high = min(values) - 1, max(values) + 1

    def place(seconds: float, value: float) -> tuple[float, float]:
        return (
            left + (wide - left - 20) * seconds / longest,
            low_edge - (low_edge - 20) * (100 * value - low) / (high - low),
        )

    for tick in range(int(low) // 5 * 5 + 5, int(high) + 1, 5):
        _, y = place(0, tick / 100)
        draw.line((left, y, wide - 20, y), fill="#dddddd")
        draw.text((left - 8, y), f"{tick} %", fill="black", font=font, anchor="rm")
    for tick in range(0, int(longest) + 1, 60 if longest > 120 else 10):
        x, _ = place(tick, low / 100)
        draw.text((x, low_edge + 8), str(tick), fill="black", font=font, anchor="ma")
    draw.text(((left + wide) / 2, tall - 22), "seconds of distilling", fill="black", font=font, anchor="ma")
    labels: list[float] = []
    coloured = zip(sides.items(), itertools.cycle(COLOURS))  # as many as there are
    for (name, side), colour in sorted(coloured, key=lambda each: -each[0][1][-1]["mean"]):
        draw.line([place(point["seconds"], point["mean"]) for point in side], fill=colour, width=3)
        for point in side:
            for value in point["values"]:
                x, y = place(point["seconds"], value)
                draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        x, y = place(side[-1]["seconds"], side[-1]["mean"])
        above = all(abs(y - 22 - other) > 16 for other in labels)
        labels.append(y - 22 if above else y + 32)
        draw.text((x - 6, labels[-1]), name, fill=colour, font=font, anchor="rs")
    return canvas
