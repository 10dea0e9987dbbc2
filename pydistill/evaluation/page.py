"""A report as one HTML file: no script, no font, no picture from elsewhere."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydistill.evaluation import origins, tables
from pydistill.evaluation.charts import axis_of, dots
from pydistill.evaluation.facts import REGIME_NAMES, Regime
from pydistill.html.charts import Axis, curve
from pydistill.html.parts import style, text

if TYPE_CHECKING:
    from pydistill.evaluation.report import Report

_CURVES = 6
"""Most metrics whose course is drawn."""
_READABLE = 540
"""Pixels that a picture of ten images in a row is wide at least."""


def page(report: "Report", folder: Path | None = None) -> str:
    """The whole document.

    Args:
        report: What is shown.
        folder: The run's, whose log and history are shown too; None: there is none.
    """
    title = f"{report.provenance['method']} on {report.data}"
    axis = axis_of(report)
    body = "\n".join(
        [
            _header(report, title),
            _pictures(report),
            *(_architecture(report, each, axis) for each in report.architectures),
            _classes(report),
            _selection(report),
            _notes(report),
            _course(folder),
            _again(report, folder),
            _facts("How it was measured", _measured(report)),
            _facts("How the set was made", _made(report)),
            _facts("Machine and versions", report.machine.items()),
            _every_run(report),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def fragment(report: "Report") -> str:
    """Headline, tables and pictures, for a notebook."""
    shown = [
        f"<h4>{text(each)}, {REGIME_NAMES[regime]}</h4>{tables.networks(report, each, regime)}"
        for each in report.architectures
        for regime in report.regimes(each)
    ]
    title = f"{report.provenance['method']} on {report.data}"
    head = f"<strong>{text(title)}</strong><p>{text(report.headline())}</p>"
    return f"<div>{head}{''.join(shown)}{_pictures(report)}</div>"


def _header(report: "Report", title: str) -> str:
    first = report.architectures[0]
    verdict = report.verdict(first)
    verdicts = [f"{first}: {verdict}."] if verdict else []
    short = report.shortage()
    verdicts += [f"Not every class is full: {short}."] if short else []
    kind = "Selected images, evaluated" if report.selection else "Distilled data set, evaluated"
    lines = "\n".join(f'<p class="verdict">{text(each)}</p>' for each in verdicts)
    return (
        f'<header>\n<p class="kind">{kind}</p>\n<h1>{text(title)}</h1>\n'
        f'<p class="headline">{text(report.headline())}</p>\n{lines}\n</header>'
    )


def _pictures(report: "Report") -> str:
    figures = []
    factor = report.facts("distilled").factor
    told = "a row a class" if factor == 1 else f"a row a class, {factor} x {factor} views in each image"
    if not report.size.get("by_class", True):
        told = "what was to be learned is drawn in"
    for source, label in (("distilled", f"The {report.origin} set"), ("random", "A random selection")):
        if source in report.pictures:
            figures.append(
                f'<figure><div class="scroll" tabindex="0">{_picture(report.pictures[source], label, told)}'
                f"</div><figcaption>{label}; {told}</figcaption></figure>"
            )
    if not figures:
        return ""
    return f'<section class="pictures">\n<h2>What was trained on</h2>\n{"".join(figures)}\n</section>'


def _picture(file: bytes, label: str, told: str) -> str:
    """A picture as wide as the column lets it be, up to a third more than its own size.

    Where the column is narrower it shrinks no further than to a width at which its images can be told.
    """
    own = int.from_bytes(file[16:20], "big") or _READABLE  # where a PNG file holds its width
    size = f"width: min(100%, {own * 4 // 3}px); min-width: {min(own, _READABLE)}px"
    content = base64.b64encode(file).decode()
    return f'<img src="data:image/png;base64,{content}" alt="{label}: {told}" style="{size}">'


def _architecture(report: "Report", architecture: str, axis: Axis) -> str:
    parts = [
        f"{_labels(report, regime)}{tables.networks(report, architecture, regime)}\n"
        f"{dots(report, architecture, regime, axis)}"
        for regime in report.regimes(architecture)
    ]
    return f"<section>\n<h2>{text(architecture)}</h2>\n{chr(10).join(parts)}\n</section>"


def _labels(report: "Report", regime: Regime) -> str:
    """Which labels a table is of, where there are several kinds."""
    own = report.sets[regime].get("distilled")
    if "stored" not in report.sets or own is None:
        return ""
    return f"<h3>{text(f'{REGIME_NAMES[regime]}: {own.targets}, {own.loss}')}</h3>\n"


def _classes(report: "Report") -> str:
    """Class by class, the first network opened."""
    parts: list[str] = []
    for architecture in report.architectures:
        for regime in report.regimes(architecture):
            found = tables.classes(report, architecture, regime)
            if found:
                used = f", {REGIME_NAMES[regime]}" if "stored" in report.sets else ""
                opened = "" if parts else " open"
                parts.append(
                    f"<details{opened}><summary>{text(architecture)}{used}</summary>\n{found}\n"
                    f"{tables.confusion(report, architecture, regime)}\n</details>"
                )
    return f"<section>\n<h2>Class by class</h2>\n{chr(10).join(parts)}\n</section>" if parts else ""


def _selection(report: "Report") -> str:
    """What the chosen images are like, beside as many random ones."""
    found = tables.selection(report)
    if not found:
        return ""
    told = (
        f"Each from 0 to 1; random are {report.selection['draws']} selections of as many images. Distances "
        f"are in the embedding {report.selection['embedding']}, whichever the images were chosen in."
    )
    return (
        "<section>\n<h2>The selection under all criteria, beside random's</h2>\n"
        f"<p>{text(told)}</p>\n{found}\n</section>"
    )


def _notes(report: "Report") -> str:
    points = "\n".join(f"<li>{text(note)}</li>" for note in report.notes)
    return f"<section>\n<h2>Reading the figures</h2>\n<ul>\n{points}\n</ul>\n</section>"


def _course(folder: Path | None) -> str:
    """What distilling measured on its way."""
    found = origins.history(folder)
    metrics = found.get("metrics", {})
    names = sorted(metrics, key=lambda name: (name != "loss", name))[:_CURVES]
    drawn = [shown for name in names if (shown := curve(name, found["steps"], metrics[name]))]
    if not drawn:
        return ""
    told = f'<div class="curves">{"".join(drawn)}</div>'
    return f"<section>\n<h2>While it was distilled</h2>\n{told}\n</section>"


def _again(report: "Report", folder: Path | None) -> str:
    """What to type to have it again."""
    parts = []
    typed = origins.commands(folder)
    if typed:
        parts.append(f"<p>The commands, as they were given:</p>\n{_code(chr(10).join(typed))}")
    parts.append(f"<p>The same in Python:</p>\n{_code(origins.program(report))}")
    return f"<section>\n<h2>To make it again</h2>\n{chr(10).join(parts)}\n</section>"


def _code(lines: str) -> str:
    shown = "\n".join(map(text, lines.split("\n")))
    return f'<div class="scroll" tabindex="0"><pre><code>{shown}</code></pre></div>'


def _measured(report: "Report") -> Iterable[tuple[str, Any]]:
    protocol = report.protocol
    yield "scored on", f"{protocol['split']} split, whole, once a network"
    yield "steps a network", f"{report.steps:,}"
    yield "batch size", protocol["batch_size"]
    optimiser = f"{protocol['optimiser']}, learning rate {protocol['learning_rate']:g}"
    momentum = f", momentum {protocol['momentum']:g}" if protocol["optimiser"] == "sgd" else ""
    yield "optimiser", f"{optimiser}{momentum}, weight decay {protocol['weight_decay']:g}"
    for regime, sources in report.sets.items():
        own = sources["distilled"].learning_rate if "distilled" in sources else protocol["learning_rate"]
        if own != protocol["learning_rate"]:
            yield f"learning rate on distilled, {REGIME_NAMES[regime]}", f"{own:g} (learned)"
    yield "schedule", protocol["schedule"]
    yield "precision", protocol.get("precision", "float32")
    yield "augmentation", report.augment
    if "mix" in protocol:
        yield "images mixed by", protocol["mix"]
    if "average" in protocol:
        yield "weights averaged with a decay of", f"{protocol['average']:g}"
    yield "seed", protocol["seed"]
    yield "wall time", f"{report.seconds:.1f} s"
    yield "peak memory", f"{report.peak_memory:,} bytes"


def _made(report: "Report") -> Iterable[tuple[str, Any]]:
    made = report.provenance
    yield "method", made["method"]
    yield from ((name.replace("_", " "), value) for name, value in report.formation().items())
    if report.size:
        yield "size", report.size_text()
    if short := report.shortage():
        yield "classes that are short", short
    if made.get("part_of") is not None:
        yield "part of a set of", f"{made['part_of']:,} stored images"
    if made.get("clamp"):
        yield "pixels", "kept within the range of a picture while they were learned"
    yield "real data", f"{made['data']}, fingerprint {made['fingerprint'][:16]}"
    if dropped := made.get("dropped"):
        reasons = ", ".join(f"{name} {count:,}" for name, count in dropped["reasons"].items())
        yield "training images left out before", f"{dropped['images']:,} ({reasons})"
    yield "seed", made["seed"]
    yield "iterations", f"{made['steps']:,}"
    yield "wall time", f"{made['seconds']:.1f} s"
    if made.get("preset"):
        yield "preset", made["preset"]
    told = ("iterations", "factor")
    yield from ((name, value) for name, value in made["config"].items() if name not in told)
    yield "made with", ", ".join(f"{name} {version}" for name, version in made["versions"].items())


def _facts(title: str, facts: Iterable[tuple[str, Any]]) -> str:
    items = "\n".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts)
    return f"<section>\n<h2>{escape(title)}</h2>\n<dl>\n{items}\n</dl>\n</section>"


def _every_run(report: "Report") -> str:
    runs = report.runs
    return (
        f"<section>\n<details><summary>Every network ({len(runs)})</summary>\n"
        f"{tables.every_run(runs, report.metric)}\n</details>\n</section>"
    )
