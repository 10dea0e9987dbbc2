"""An analysis as one HTML file: no script, no font, no picture from elsewhere."""

import base64
import dataclasses
import io
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from pydistill.analysis.drawings import drawing
from pydistill.analysis.finding import Finding, Picture, Row
from pydistill.data.pictures import grid
from pydistill.data.preprocess import as_unit
from pydistill.data.real import RealData
from pydistill.html.parts import style, table, text

if TYPE_CHECKING:
    from pydistill.analysis.run import Analysis

_LISTED = 100
"""Flagged images and pairs that are listed; all are in the JSON beside the page."""
_LONGEST = 400
"""Letters of a value that a page shows."""
_CELL, _READABLE = 64, 480
_GLANCED = 10
"""Images of a finding that are shown before any words."""


def page(analysis: "Analysis", data: RealData | None) -> str:
    """The whole document.

    Args:
        analysis: What is shown.
        data: Whose images are drawn; None: they are not at hand.
    """
    title = f"{analysis.data}, before distilling"
    sections = [_section(found, data) for found in analysis.findings.values()]
    parts = [_header(analysis, title), _glance(analysis, data), _what_to_do(analysis), *sections]
    body = "\n".join([*(part for part in parts if part), _skipped(analysis), _machine(analysis)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(analysis: "Analysis", title: str) -> str:
    count, task = len(analysis.classes), analysis.task
    size = f"{analysis.images:,} training images, {count} {'class' if count == 1 else 'classes'}, {task}"
    return (
        f'<header>\n<p class="kind">Data set, analysed</p>\n<h1>{text(title)}</h1>\n'
        f'<p class="headline">{text(size)}</p>\n</header>'
    )


def _glance(analysis: "Analysis", data: RealData | None) -> str:
    """The first row of each finding's first picture, before any words."""
    if data is None:
        return ""
    figures = []
    for name, found in analysis.findings.items():
        first = next((each for each in found.pictures if each.rows), None)
        if first is not None:
            row = first.rows[0]
            few = dataclasses.replace(row, label="", positions=row.positions[:_GLANCED])
            link = f'<a href="#{text(name)}">{text(found.title)}</a>: {text(first.caption)}'
            label = f"; shown: {text(row.label)}" if row.label else ""
            image = _image([few], first.caption, data)
            figures.append(f"<figure>{image}<figcaption>{link}{label}</figcaption></figure>")
    if not figures:
        return ""
    shown = "\n".join(figures)
    return f'<section class="pictures">\n<h2>At a glance</h2>\n{shown}\n</section>'


def _what_to_do(analysis: "Analysis") -> str:
    advice = "\n".join(f"<li>{text(each)}</li>" for each in analysis.recommendation())
    links = "\n".join(
        f'<li><a href="#{text(name)}">{text(found.title)}</a>: {text(found.summary)}</li>'
        for name, found in analysis.findings.items()
    )
    return (
        f'<section id="what-to-do">\n<h2>What to do</h2>\n<ul>\n{advice}\n</ul>\n</section>\n'
        f"<section>\n<h2>What was found</h2>\n<ul>\n{links}\n</ul>\n</section>"
    )


def _section(found: Finding, data: RealData | None) -> str:
    pictures = "\n".join(_figure(each, data) for each in found.pictures)
    charts = "\n".join(shown for each in found.charts if (shown := drawing(each)))
    parts = [
        f'<p class="headline">{text(found.summary)}</p>',
        f'<p class="verdict">{text(found.recommendation)}</p>' if found.recommendation else "",
        f'<div class="pictures">\n{pictures}\n</div>' if pictures else "",
        f'<div class="curves">\n{charts}\n</div>' if charts else "",
        _flagged(found),
        _pairs(found),
        _values(found),
    ]
    inner = "\n".join(part for part in parts if part)
    return f'<section id="{text(found.name)}">\n<h2>{text(found.title)}</h2>\n{inner}\n</section>'


def _figure(picture: Picture, data: RealData | None) -> str:
    where = "; ".join(
        f"{text(row.label) or text(row.split)}: {text(row.split)} {', '.join(map(str, row.positions))}"
        for row in picture.rows
    )
    places = f"<details><summary>Positions</summary>{where}</details>"
    caption = f"<figcaption>{text(picture.caption)}.{places}</figcaption>"
    if data is None:
        return f"<figure>{caption}</figure>"
    return f"<figure>{_image(picture.rows, picture.caption, data)}{caption}</figure>"


def _image(rows: Iterable[Row], caption: str, data: RealData) -> str:
    drawn = grid([(row.label, _pixels(row, data)) for row in rows], columns=20, cell=_CELL)
    held = io.BytesIO()
    drawn.save(held, format="PNG")
    content = base64.b64encode(held.getvalue()).decode()
    size = f"width: {drawn.width}px; max-width: max(100%, {min(drawn.width, _READABLE)}px)"
    image = f'<img src="data:image/png;base64,{content}" alt="{text(caption)}" style="{size}">'
    return f'<div class="scroll" tabindex="0">{image}</div>'


def _pixels(row: Row, data: RealData) -> torch.Tensor:
    split = {"train": data.train, "validation": data.validation, "test": data.test}[row.split]
    at = torch.tensor(row.positions, dtype=torch.int64)
    return data.task.picture(as_unit(split.images[at]), split.targets[at])


def _flagged(found: Finding) -> str:
    if not found.flagged:
        return ""
    rows = [
        _cells(f"{flag.split} {flag.position}", flag.reason, f"{flag.score:.3g}")
        for flag in found.flagged[:_LISTED]
    ]
    return _details(
        f"Flagged images ({_of(len(found.flagged))})", table(("image", "reason", "score"), rows)
    )


def _pairs(found: Finding) -> str:
    if not found.pairs:
        return ""
    rows = [
        _cells(
            f"{pair.split} {pair.position}",
            f"{pair.other_split} {pair.other_position}",
            pair.reason,
            f"{pair.score:.3g}",
        )
        for pair in found.pairs[:_LISTED]
    ]
    return _details(
        f"Pairs ({_of(len(found.pairs))})", table(("image", "other image", "reason", "score"), rows)
    )


def _cells(*values: str) -> str:
    return f"<tr>{''.join(f'<td>{text(value)}</td>' for value in values)}</tr>"


def _of(count: int) -> str:
    return f"{count:,}" if count <= _LISTED else f"the first {_LISTED} of {count:,}"


def _values(found: Finding) -> str:
    return _details("Numbers", _list(found.values.items())) if found.values else ""


def _details(title: str, inner: str) -> str:
    return f"<details><summary>{text(title)}</summary>\n{inner}\n</details>"


def _list(facts: Iterable[tuple[str, Any]]) -> str:
    items = "\n".join(
        f"<div><dt>{text(name)}</dt><dd>{text(_shown(value))}</dd></div>" for name, value in facts
    )
    return f"<dl>\n{items}\n</dl>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | int):
        return str(value)
    told = json.dumps(_rounded(value))
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}..."


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _skipped(analysis: "Analysis") -> str:
    if not analysis.skipped:
        return ""
    rows = "\n".join(f"<li>{text(name)}: {text(why)}</li>" for name, why in analysis.skipped.items())
    return f"<section>\n<h2>What was not looked at</h2>\n<ul>\n{rows}\n</ul>\n</section>"


def _machine(analysis: "Analysis") -> str:
    facts = {name: value for name, value in analysis.facts.items() if name != "machine"}
    told = {"fingerprint": analysis.fingerprint[:16], **facts, **analysis.facts.get("machine", {})}
    return f"<section>\n<h2>How it was looked at</h2>\n{_list(told.items())}\n</section>"
