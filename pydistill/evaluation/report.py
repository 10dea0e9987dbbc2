"""What an evaluation found: every run kept, summaries and intervals computed from them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydistill.data.short import shortage
from pydistill.errors import FileFormatError
from pydistill.evaluation.facts import (
    REGIME_NAMES,
    SOURCES,
    Detail,
    Regime,
    Run,
    SetFacts,
    Source,
    source_name,
)
from pydistill.evaluation.formats import upgraded
from pydistill.evaluation.page import fragment, page
from pydistill.evaluation.statistics import Difference, Summary, difference, summarise
from pydistill.shown import printable, printable_lines
from pydistill.storage.files import write_text
from pydistill.storage.records import read_sealed, write_sealed
from pydistill.storage.typed import plain, typed

FORMAT = 2
_LATER = ("size", "selection")
"""What reports may lack."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation, whole: what was measured, how, on what, and how long it took.

    Attributes:
        data: Name of the real data.
        task: Name of the task.
        metric: Name of the metric.
        runs: Every network trained.
        sets: What they were trained on, by regime and source, the first regime being the one that headline
            and verdict are of; a random selection stands for all of them. Whole data, which is trained on
            with classes alone, stands in the first regime.
        steps: Steps that every network was trained for.
        augment: The augmentation that every set was trained with.
        protocol: Every setting of the protocol.
        provenance: How the distilled set came to be.
        machine: Hardware and versions.
        seconds: Wall time of the evaluation.
        peak_memory: Bytes; see :class:`pydistill.evaluation.machine.Meter`.
        notes: What a reader should know about the figures.
        class_names: Of the task.
        details: Answers class by class, where the task counts them.
        size: Of the distilled set, in each of the ways that a budget is given: ``images_a_class`` (fewest
            and most; where not ``by_class``, those that hold something of a class), ``images``,
            ``fraction`` of the training images, ``nbytes`` of all that it takes to keep the set; empty in
            reports written before there was this.
        selection: Where the set is of real images that a selector chose, how it stands: ``criteria`` by
            name, each with ``value``, ``random`` (the mean), ``low`` and ``high`` of ``draws`` random
            selections, in [0, 1]; distances are in the ``embedding``. Empty elsewhere, then not in JSON.
        pictures: PNG files by source; not kept in JSON.
    """

    data: str
    task: str
    metric: str
    runs: tuple[Run, ...]
    sets: Mapping[Regime, Mapping[Source, SetFacts]]
    steps: int
    augment: str
    protocol: Mapping[str, Any]
    provenance: Mapping[str, Any]
    machine: Mapping[str, Any]
    seconds: float
    peak_memory: int
    notes: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    details: tuple[Detail, ...] = ()
    size: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    def __repr__(self) -> str:
        line = printable(f"{self.provenance['method']} on {self.data}: {self.headline()}")
        return f"Report({line})"

    def _repr_html_(self) -> str:
        return fragment(self)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The networks' descriptions, in order."""
        return tuple(dict.fromkeys(run.architecture for run in self.runs))

    @property
    def origin(self) -> str:
        """What the images under evaluation are: ``distilled``, or ``selected``, real ones."""
        return "selected" if self.selection else "distilled"

    def named(self, source: Source) -> str:
        """What networks were trained on, as it is shown."""
        return source_name(source, bool(self.selection))

    def regimes(self, architecture: str) -> tuple[Regime, ...]:
        """Which labels networks of ``architecture`` were trained with, in the report's order."""
        return tuple(regime for regime in self.sets if self.sources(architecture, regime))

    def facts(self, source: Source, regime: Regime | None = None) -> SetFacts:
        """What networks were trained on, in a regime; None: in the first."""
        return self.sets[next(iter(self.sets)) if regime is None else regime][source]

    def sources(self, architecture: str, regime: Regime | None = None) -> tuple[Source, ...]:
        """What networks of ``architecture`` were trained on in a regime, the distilled set first."""
        sets = self.sets.get(self._regime(architecture, regime), {})
        return tuple(
            source
            for source in SOURCES
            if source in sets and self._of(architecture, source, sets[source].regime)
        )

    def runs_of(self, architecture: str, source: Source, regime: Regime | None = None) -> list[Run]:
        """The networks of ``architecture`` that stand for a source in a regime; None: its first regime.

        Raises:
            ValueError: There is no such run.
        """
        regime = self._regime(architecture, regime)
        facts = self.sets.get(regime, {}).get(source)
        found = [] if facts is None else self._of(architecture, source, facts.regime)
        if not found:
            known = ", ".join(self._pairs())
            raise ValueError(f"no runs of {architecture} on {source}{_used(regime)}; there are: {known}")
        return found

    def values(self, architecture: str, source: Source, regime: Regime | None = None) -> list[list[float]]:
        """The metric of every run, a list a draw.

        Raises:
            ValueError: There is no such run.
        """
        found: dict[int, list[float]] = {}
        for run in self.runs_of(architecture, source, regime):
            found.setdefault(run.draw, []).append(run.value)
        return list(found.values())

    def summary(self, architecture: str, source: Source, regime: Regime | None = None) -> Summary:
        """Mean, standard deviation and number of runs; over draws and networks where there are draws."""
        values = self.values(architecture, source, regime)
        return summarise([value for each in values for value in each])

    def others(self, architecture: str, source: Source, regime: Regime | None = None) -> dict[str, Summary]:
        """The metric's other values, by name, as :meth:`summary` has the headline."""
        runs = self.runs_of(architecture, source, regime)
        names = [name for name in runs[0].values if name != self.metric]
        return {name: summarise([run.values[name] for run in runs if name in run.values]) for name in names}

    def spread(self, architecture: str, source: Source, regime: Regime | None = None) -> float | None:
        """Standard deviation of a network's headline over bootstrap samples of the test images.

        The mean over the networks, which all answered the same images; None where it is not known.
        """
        found = [run.spread for run in self.runs_of(architecture, source, regime) if run.spread is not None]
        return sum(found) / len(found) if found else None

    def detail(self, architecture: str, source: Source, regime: Regime | None = None) -> Detail | None:
        """Answers class by class of the networks that :meth:`runs_of` gives; None where none are kept."""
        of = (architecture, source, self.runs_of(architecture, source, regime)[0].regime)
        return next((d for d in self.details if (d.architecture, d.source, d.regime) == of), None)

    def gain(self, architecture: str, regime: Regime | None = None) -> Difference | None:
        """Distilled less random, both in one regime, with its 95 % interval; None without random."""
        return self._less(architecture, "random", regime)

    def shortfall(self, architecture: str, regime: Regime | None = None) -> Difference | None:
        """Distilled less whole data with its 95 % interval; None where that is not in the regime."""
        return self._less(architecture, "whole", regime)

    def kept(self, architecture: str, regime: Regime | None = None) -> float | None:
        """Mean on the distilled set as a fraction of the mean on whole data; None without the latter."""
        if not {"distilled", "whole"} <= set(self.sources(architecture, regime)):
            return None
        whole = self.summary(architecture, "whole", regime).mean
        return self.summary(architecture, "distilled", regime).mean / whole if whole > 0 else None

    def headline(self) -> str:
        """The first architecture's means: with class labels, then as the set is stored."""
        first = self.architectures[0]
        shown = [each for each in self.regimes(first) if "distilled" in self.sources(first, each)]
        return " ".join(self._means(first, regime) for regime in shown)

    def verdict(self, architecture: str, regime: Regime | None = None) -> str:
        """What the figures say on distilled against random and against whole data, in words."""
        parts = []
        gain, kept = self.gain(architecture, regime), self.kept(architecture, regime)
        if gain is not None:
            interval = f"95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
            if gain.doubt is None:
                side = "above" if gain.mean > 0 else "below"
                parts.append(f"{abs(100 * gain.mean):.1f} points {side} random ({interval})")
            else:
                parts.append(f"against random {100 * gain.mean:+.1f} points, {gain.doubt} ({interval})")
        if kept is not None:
            parts.append(f"{100 * kept:.1f} % of what the whole data gives at equal steps")
        return "; ".join(parts)

    def text(self) -> str:
        """The report as a few lines of plain text."""
        packed, several = self.facts("distilled").factor > 1, "stored" in self.sets
        head = ("network", *(["labels"] if several else []), "trained on", "images")
        more = self.other_names()
        head = (*head, *(["views"] if packed else []), self.metric, "std", "n", *more)
        shown = [(each, regime) for each in self.architectures for regime in self.regimes(each)]
        rows = [head]
        for architecture, regime in shown:
            for source in self.sources(architecture, regime):
                found, facts = self.summary(architecture, source, regime), self.facts(source, regime)
                spread = "" if math.isnan(found.std) else f"{100 * found.std:.1f}"
                others = self.others(architecture, source, regime)
                counts = (f"{facts.stored:,}", *([f"{facts.images:,}"] if packed else []))
                used: Regime = "classes" if source == "whole" else regime  # whole data has no other labels
                labels = (REGIME_NAMES[used],) if several else ()
                rows.append(
                    (
                        architecture,
                        *labels,
                        source,
                        *counts,
                        f"{100 * found.mean:.1f} %",
                        spread,
                        str(found.n),
                        *(f"{100 * others[name].mean:.1f} %" if name in others else "" for name in more),
                    )
                )
        wide = [max(len(row[at]) for row in rows) for at in range(len(head))]
        lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)) for row in rows]
        verdicts = [
            f"{each}{_used(regime)}: {parts}"
            for each, regime in shown
            if (parts := self.verdict(each, regime))
        ]
        return printable_lines(
            "\n".join(
                [
                    self.headline(),
                    "",
                    *(line.rstrip() for line in lines),
                    "",
                    *verdicts,
                    *([self.size_text()] if self.size else []),
                    *([self.selection_text()] if self.selection else []),
                    *([self._packed()] if packed else []),
                    *([short] if (short := self.shortage()) else []),
                    self._measured(),
                ]
            )
        )

    def size_text(self) -> str:
        """The set's size in the four ways that a budget is given."""
        low, high = self.size["images_a_class"]
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        what = "images a class" if self.size.get("by_class", True) else "images hold each class"
        return (
            f"{each} {what}, {self.size['images']:,} in all, {100 * self.size['fraction']:.3g} % "
            f"of the training images, {self.size['nbytes']:,} bytes"
        )

    def selection_text(self) -> str:
        """The selection under each criterion, with the range of random ones."""
        parts = (
            f"{name} {each['value']:.3f} ({each['low']:.3f} to {each['high']:.3f})"
            for name, each in self.selection["criteria"].items()
        )
        return f"{', '.join(parts)}; in brackets {self.selection['draws']} random selections"

    def shortage(self) -> str:
        """Which classes have fewer images than were asked for, as a clause; empty where none has."""
        short, ipc = self.provenance.get("short_classes") or {}, int(self.provenance["ipc"])
        return shortage(short, ipc, self.facts("distilled").factor)

    def formation(self) -> dict[str, int]:
        """How distilled and random images alike are packed: the factor, stored images and views a class.

        Nothing but the factor where an image is of no one class.
        """
        if not self.size.get("by_class", True):
            return {"factor": self.facts("distilled").factor}
        factor, ipc = self.facts("distilled").factor, int(self.provenance["ipc"])
        return {
            "factor": factor,
            "stored_images_a_class": ipc,
            "views_a_class": ipc * factor**2,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures, with summaries and formation, as JSON holds it; NaN becomes None."""
        made = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("pictures", "runs", "sets", "details")
            and (f.name != "selection" or self.selection)
        }
        made["format"] = FORMAT
        made["runs"] = [dataclasses.asdict(run) for run in self.runs]
        made["sets"] = {
            regime: {source: dataclasses.asdict(found) for source, found in sources.items()}
            for regime, sources in self.sets.items()
        }
        made["details"] = [dataclasses.asdict(detail) for detail in self.details]
        made["formation"] = self.formation()
        made["summaries"] = [
            self._summary_record(architecture, regime)
            for architecture in self.architectures
            for regime in self.regimes(architecture)
        ]
        return cast("dict[str, Any]", plain(made))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Report":
        """The report that :meth:`to_json` wrote, without pictures; summaries are computed anew.

        Raises:
            FileFormatError: Something is missing, unknown, or of another format.
        """
        form = record.get("format")
        if form not in (1, FORMAT):
            raise FileFormatError(f"report has format {form!r}, this version reads 1 and {FORMAT}")
        names = [f.name for f in dataclasses.fields(cls) if f.name != "pictures"]
        try:
            known = upgraded(record) if form == 1 else record
            return typed(cls, {name: known[name] for name in names if name not in _LATER or name in known})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(f"not a report of format {form}: {error!r}") from error

    def save(self, folder: Path | str) -> Path:
        """Write ``report.json`` and ``report.html`` into ``folder``.

        Returns:
            The path of the page.

        Raises:
            OutputError: One could not be written; one that stood there before is untouched.
        """
        folder = Path(folder)
        write_sealed(folder / "report.json", self.to_json())
        write_text(folder / "report.html", page(self, folder))
        return folder / "report.html"

    @classmethod
    def load(cls, folder: Path | str) -> "Report":
        """Read the ``report.json`` that :meth:`save` wrote.

        Raises:
            FileFormatError: It is missing, was altered, or is not a report of a known format.
        """
        path = Path(folder) / "report.json"
        record = read_sealed(path, "a report", "evaluate the set again")
        try:
            return cls.from_json(record)
        except FileFormatError as error:
            raise FileFormatError(f"{path}: {error}") from error

    def _of(self, architecture: str, source: Source, regime: Regime | None = None) -> list[Run]:
        return [
            run
            for run in self.runs
            if (run.architecture, run.source) == (architecture, source) and regime in (None, run.regime)
        ]

    def _regime(self, architecture: str, regime: Regime | None) -> Regime:
        """The one asked for, else the first that the architecture has, else the report's first."""
        if regime is not None:
            return regime
        found = {run.regime for run in self._of(architecture, "distilled")}
        return next((each for each in self.sets if each in found), next(iter(self.sets)))

    def _less(self, architecture: str, other: Source, regime: Regime | None) -> Difference | None:
        if not {"distilled", other} <= set(self.sources(architecture, regime)):
            return None
        ours = self.values(architecture, "distilled", regime)
        theirs = self.values(architecture, other, regime)
        return difference(ours, theirs, seed=int(self.protocol["seed"]))

    def _means(self, architecture: str, regime: Regime) -> str:
        own, sources = self.facts("distilled", regime), self.sources(architecture, regime)
        views = "" if own.factor == 1 else f" of {own.factor**2} views each"
        labels = "" if "stored" not in self.sets else f" with {own.targets}, {own.loss}"
        head = f"{own.stored} {self.named('distilled')}{views}{labels}"
        if regime == "stored":
            head = f"As stored, {head}"
        parts = [f"{head}: {percent(self.summary(architecture, 'distilled', regime))}"]
        if "random" in sources:
            alike = "as many" if own.factor == 1 else "as many and packed alike"
            used = ", used alike" if regime == "stored" else ""
            random = percent(self.summary(architecture, "random", regime))
            parts.append(f"random real images, {alike}{used}: {random}")
        if "whole" in sources:
            count = self.facts("whole", regime).images
            parts.append(f"all {count:,} images: {percent(self.summary(architecture, 'whole', regime))}")
        return "; ".join(parts) + "."

    def _pairs(self) -> Sequence[str]:
        return sorted({f"{run.architecture} on {run.source}{_used(run.regime)}" for run in self.runs})

    def _measured(self) -> str:
        memory = self.peak_memory / 2**20
        trained = [run for run in self.runs if run.architecture in self.protocol["architectures"]]
        networks = (
            f"{self.steps} steps a network, {len(trained)} networks" if trained else "no network trained"
        )
        rest = len(self.runs) - len(trained)
        others = f", {rest} {'runs' if rest > 1 else 'run'} as the set was learned" if rest else ""
        return (
            f"{networks}{others}, scored on {self.protocol['split']}; "
            f"{self.seconds:.0f} s, peak memory {memory:,.0f} MiB"
        )

    def _packed(self) -> str:
        factor, stored, views = self.formation().values()
        alike = (
            "; random selection is packed the same way"
            if "random" in next(iter(self.sets.values()))
            else ""
        )
        return f"factor {factor}: {stored} stored images a class, trained on as {views} views{alike}"

    def other_names(self) -> list[str]:
        """Every value of the metric but the headline."""
        names = (name for run in self.runs for name in run.values if name != self.metric)
        return list(dict.fromkeys(names))

    def _summary_record(self, architecture: str, regime: Regime) -> dict[str, Any]:
        gain, shortfall = self.gain(architecture, regime), self.shortfall(architecture, regime)
        return {
            "architecture": architecture,
            "regime": regime,
            "sources": {
                source: {
                    **dataclasses.asdict(self.summary(architecture, source, regime)),
                    "others": {
                        name: dataclasses.asdict(found)
                        for name, found in self.others(architecture, source, regime).items()
                    },
                    "std_over_test_images": self.spread(architecture, source, regime),
                }
                for source in self.sources(architecture, regime)
            },
            "distilled_less_random": None if gain is None else gain.record(),
            "distilled_less_whole": None if shortfall is None else shortfall.record(),
            "kept_of_whole": self.kept(architecture, regime),
        }


def _used(regime: Regime) -> str:
    return ", as stored" if regime == "stored" else ""


def percent(found: Summary) -> str:
    """``82.1 % ± 0.4 (n = 3)``."""
    spread = "" if math.isnan(found.std) else f" ± {100 * found.std:.1f}"
    return f"{100 * found.mean:.1f} %{spread} (n = {found.n})"
