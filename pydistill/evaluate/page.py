"""A report as one HTML file: no script, no font, no picture from elsewhere."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from pydistill.evaluate.facts import Regime, Run, Source, TrainingSet
from pydistill.evaluate.report import REGIME_NAMES, Report

_LABELS: Mapping[Source, str] = {
    "distilled": "distilled images",
    "random": "random real images",
    "whole": "all training images",
}
_WIDTH, _LEFT, _RIGHT, _LINE, _TOP = 760, 150, 60, 44, 14


def page(report: Report) -> str:
    """The whole document."""
    style = files("pydistill.evaluate").joinpath("report.css").read_text()
    title = f"{report.provenance['method']} on {report.data}"
    body = "\n".join(
        [
            _header(report, title),
            *(_architecture(report, each) for each in report.architectures),
            _pictures(report),
            _notes(report),
            _facts("How it was measured", _measured(report)),
            _facts("How the set was made", _made(report)),
            _facts("Machine and versions", report.machine.items()),
            _every_run(report.runs, report.metric),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _header(report: Report, title: str) -> str:
    first = report.architectures[0]
    verdict = report.verdict(first)
    second = f'<p class="verdict">{escape(first)}: {escape(verdict)}.</p>' if verdict else ""
    return (
        f'<header>\n<p class="kind">Distilled data set, evaluated</p>\n<h1>{escape(title)}</h1>\n'
        f'<p class="headline">{escape(report.headline())}</p>\n{second}\n</header>'
    )


def _architecture(report: Report, architecture: str) -> str:
    parts = [_regime(report, architecture, regime) for regime in report.regimes(architecture)]
    return f"<section>\n<h2>{escape(architecture)}</h2>\n{chr(10).join(parts)}\n</section>"


def _regime(report: Report, architecture: str, regime: Regime) -> str:
    """Networks of one architecture trained with one kind of labels: a table and a drawing."""
    head = ("trained on", "images", "size", report.metric, "networks", "training, a network")
    rows = []
    for source in report.sources(architecture, regime):
        found, facts = report.summary(architecture, source, regime), report.facts(source, regime)
        chosen = report.runs_of(architecture, source, regime)
        draws = len({run.draw for run in chosen})
        count = f"{found.n} on {draws} draws" if draws > 1 else str(found.n)
        spread = "" if math.isnan(found.std) else f" <small>± {100 * found.std:.1f}</small>"
        seconds = sum(run.seconds for run in chosen) / len(chosen)
        rows.append(
            f'<tr class="{source}"><th scope="row">{_LABELS[source]}</th><td>{_count(facts)}</td>'
            f"<td>{_size(facts.nbytes)}</td><td><strong>{100 * found.mean:.1f} %</strong>{spread}</td>"
            f"<td>{count}</td><td>{seconds:.1f} s</td></tr>"
        )
    gain, shortfall = report.gain(architecture, regime), report.shortfall(architecture, regime)
    for name, found_gap in (("distilled less random", gain), ("distilled less all", shortfall)):
        if found_gap is not None:
            doubt = found_gap.doubt
            unclear = "" if doubt is None else f' <span class="unresolved">{escape(doubt)}</span>'
            rows.append(
                f'<tr class="gap"><th scope="row">{name}</th><td></td><td></td>'
                f"<td><strong>{100 * found_gap.mean:+.1f}</strong> points{unclear}</td>"
                f'<td colspan="2">95 % interval {100 * found_gap.low:+.1f} to '
                f"{100 * found_gap.high:+.1f}</td></tr>"
            )
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    table = f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>"
    return (
        f'{_labels(report, regime)}<div class="scroll">{table}</div>\n{_plot(report, architecture, regime)}'
    )


def _labels(report: Report, regime: Regime) -> str:
    """Which labels a table is of, where there are several kinds."""
    own = report.sets[regime].get("distilled")
    if "stored" not in report.sets or own is None:
        return ""
    told = f"{REGIME_NAMES[regime]}: {own.targets}, {own.loss}"
    return f"<h3>{escape(told)}</h3>\n"


def _count(facts: TrainingSet) -> str:
    views = "" if facts.factor == 1 else f" <small>as {facts.images:,} views</small>"
    return f"{facts.stored:,}{views}"


def _plot(report: Report, architecture: str, regime: Regime) -> str:
    """Every run as a dot, a line a source, the mean as a bar."""
    sources = report.sources(architecture, regime)
    table = {source: report.values(architecture, source, regime) for source in sources}
    values = [100 * value for draws in table.values() for draw in draws for value in draw]
    low, high, step = _axis(min(values), max(values))
    scale = (_WIDTH - _LEFT - _RIGHT) / (high - low)
    bottom = _TOP + _LINE * len(sources)
    marks = []
    for tick in range(round((high - low) / step) + 1):
        x = _LEFT + scale * tick * step
        marks.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 17}">{low + tick * step:g}</text>')
    middle, caption = (_LEFT + _WIDTH - _RIGHT) / 2, f"{escape(report.metric)} of each network, %"
    marks.append(f'<text class="tick" x="{middle:.1f}" y="{bottom + 36}">{caption}</text>')
    for line, source in enumerate(sources):
        y = _TOP + _LINE * (line + 0.5)
        mean = _LEFT + scale * (100 * report.summary(architecture, source, regime).mean - low)
        ends = f'x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 15:.1f}" y2="{y + 15:.1f}"'
        marks.append(f'<text class="name" x="{_LEFT - 12}" y="{y + 4:.1f}">{_LABELS[source]}</text>')
        marks.append(f'<line class="mean {source}" {ends}/>')
        draws = table[source]
        for at, draw in enumerate(draws):
            height = y + (at - (len(draws) - 1) / 2) * min(7.0, 24 / len(draws))
            marks.extend(_dot(source, _LEFT + scale * (100 * v - low), height, v) for v in draw)
    label = escape(f"{report.metric} of every network of {architecture}, by what it was trained on")
    box = f'<svg viewBox="0 0 {_WIDTH} {bottom + 44}" role="img" aria-label="{label}">'
    told = "A dot a network; the bar is the mean. Draws lie one above the other."
    return "\n".join([box, *marks, "</svg>", f'<p class="caption">{told}</p>'])


def _dot(source: Source, x: float, y: float, value: float) -> str:
    title = f"<title>{100 * value:.2f} %</title>"
    return f'<circle class="{source}" cx="{x:.1f}" cy="{y:.1f}" r="4">{title}</circle>'


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """Round ends and step of an axis over ``low`` to ``high``, with some four to eight steps."""
    span = max(high - low, 1.0)
    rough = span / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return (
        math.floor((low - 0.02 * span) / step) * step,
        math.ceil((high + 0.02 * span) / step) * step,
        step,
    )


def _pictures(report: Report) -> str:
    figures = []
    factor = report.facts("distilled").factor
    told = "a row a class" if factor == 1 else f"a row a class, {factor} x {factor} views in each image"
    for source, label in (("distilled", "The distilled set"), ("random", "A random selection")):
        if source in report.pictures:
            content = base64.b64encode(report.pictures[source]).decode()
            figures.append(
                f'<figure><img src="data:image/png;base64,{content}" alt="{label}: {told}">'
                f"<figcaption>{label}; {told}</figcaption></figure>"
            )
    if not figures:
        return ""
    shown = f'<div class="figures">{"".join(figures)}</div>'
    return f"<section>\n<h2>What was trained on</h2>\n{shown}\n</section>"


def _notes(report: Report) -> str:
    points = "\n".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return f"<section>\n<h2>Reading the figures</h2>\n<ul>\n{points}\n</ul>\n</section>"


def _measured(report: Report) -> Iterable[tuple[str, Any]]:
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
    yield "seed", protocol["seed"]
    yield "wall time", f"{report.seconds:.1f} s"
    yield "peak memory", _size(report.peak_memory)


def _made(report: Report) -> Iterable[tuple[str, Any]]:
    made = report.provenance
    yield "method", made["method"]
    yield from ((name.replace("_", " "), value) for name, value in report.formation().items())
    yield "real data", f"{made['data']}, fingerprint {made['fingerprint'][:16]}"
    yield "seed", made["seed"]
    yield "iterations", f"{made['steps']:,}"
    yield "wall time", f"{made['seconds']:.1f} s"
    if made.get("preset"):
        yield "preset", made["preset"]
    told = ("iterations", "factor")
    yield from ((name, value) for name, value in made["config"].items() if name not in told)
    yield "made with", ", ".join(f"{name} {version}" for name, version in made["versions"].items())


def _facts(title: str, facts: Iterable[tuple[str, Any]]) -> str:
    items = "\n".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts
    )
    return f"<section>\n<h2>{title}</h2>\n<dl>\n{items}\n</dl>\n</section>"


def _every_run(runs: Sequence[Run], metric: str) -> str:
    rows = "\n".join(
        f"<tr><td>{escape(run.architecture)}</td><td>{REGIME_NAMES[run.regime]}</td>"
        f"<td>{escape(run.source)}</td>"
        f"<td>{run.draw}</td><td>{run.seed}</td>"
        f"<td>{100 * run.value:.2f} %</td><td>{run.loss:.4f}</td><td>{run.seconds:.1f} s</td></tr>"
        for run in runs
    )
    head = ("network", "labels", "trained on", "draw", "seed", metric, "last loss", "training")
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    return (
        f"<section>\n<details><summary>Every network ({len(runs)})</summary>\n"
        f'<div class="scroll"><table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table></div>\n</details>\n</section>"
    )


def _size(count: int) -> str:
    amount, units = float(count), ("bytes", "KiB", "MiB", "GiB")
    for unit in units[:-1]:
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {units[-1]}"
