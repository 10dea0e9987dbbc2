"""What an evaluation found: every run kept, summaries and intervals computed from them."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from pydistill.errors import FileFormatError
from pydistill.evaluate.statistics import Difference, Summary, difference, summarise
from pydistill.files import write_text
from pydistill.shown import printable_lines
from pydistill.typed import typed

FORMAT = 1
Source: TypeAlias = Literal["distilled", "random", "whole"]
SOURCES: tuple[Source, ...] = ("distilled", "random", "whole")


@dataclass(frozen=True)
class Run:
    """One network, trained from scratch and scored once.

    Attributes:
        architecture: Its description.
        source: What it was trained on: ``distilled``, ``random`` (a selection of real images) or ``whole``.
        draw: Which random selection, from 0; 0 elsewhere.
        seed: Which of the networks on that set, from 0. Networks of one number start from equal weights.
        value: The metric, a fraction in [0, 1], after the last step.
        loss: Training loss of its last batch.
        seconds: Wall time of its training.
        execution: ``loop`` or ``ensemble``: how it was trained; it does not change results beyond rounding.
    """

    architecture: str
    source: Source
    draw: int
    seed: int
    value: float
    loss: float
    seconds: float
    execution: str


@dataclass(frozen=True)
class TrainingSet:
    """A set that networks were trained on.

    Attributes:
        images: How many networks see: views, where stored images are packed.
        nbytes: What it takes to keep it: pixels, targets and learned rates.
        learning_rate: The first rate of training on it.
        soft: Whether its targets are probabilities rather than classes.
        factor: Views along each side of a stored image.
    """

    images: int
    nbytes: int
    learning_rate: float
    soft: bool = False
    factor: int = 1

    @property
    def stored(self) -> int:
        """How many images it takes to keep it."""
        return self.images // self.factor**2


@dataclass(frozen=True, kw_only=True)
class Report:
    """An evaluation, whole: what was measured, how, on what, and how long it took.

    Attributes:
        data: Name of the real data.
        task: Name of the task.
        metric: Name of the metric.
        runs: Every network trained.
        sets: What it was trained on, by source; a random selection stands for all of them.
        steps: Steps that every network was trained for.
        augment: The augmentation that every set was trained with.
        protocol: Every setting of the protocol.
        provenance: How the distilled set came to be.
        machine: Hardware and versions.
        seconds: Wall time of the evaluation.
        peak_memory: Bytes; see :class:`pydistill.evaluate.machine.Meter`.
        notes: What a reader should know about the figures.
        pictures: PNG files by source; not kept in JSON.
    """

    data: str
    task: str
    metric: str
    runs: tuple[Run, ...]
    sets: Mapping[str, TrainingSet]
    steps: int
    augment: str
    protocol: Mapping[str, Any]
    provenance: Mapping[str, Any]
    machine: Mapping[str, Any]
    seconds: float
    peak_memory: int
    notes: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def architectures(self) -> tuple[str, ...]:
        """The networks' descriptions, in order."""
        return tuple(dict.fromkeys(run.architecture for run in self.runs))

    def sources(self, architecture: str) -> tuple[Source, ...]:
        """What networks of ``architecture`` were trained on, the distilled set first."""
        found = {run.source for run in self.runs if run.architecture == architecture}
        return tuple(source for source in SOURCES if source in found)

    def values(self, architecture: str, source: Source) -> list[list[float]]:
        """The metric of every run, a list a draw.

        Raises:
            ValueError: There is no such run.
        """
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if (run.architecture, run.source) == (architecture, source):
                found.setdefault(run.draw, []).append(run.value)
        if not found:
            raise ValueError(
                f"no runs of {architecture} on {source}; there are: {', '.join(self._pairs())}"
            )
        return list(found.values())

    def summary(self, architecture: str, source: Source) -> Summary:
        """Mean, standard deviation and number of runs; over draws and networks where there are draws."""
        return summarise([value for values in self.values(architecture, source) for value in values])

    def gain(self, architecture: str) -> Difference | None:
        """Distilled less random with its 95 % interval; None where random was not evaluated."""
        return self._less(architecture, "random")

    def shortfall(self, architecture: str) -> Difference | None:
        """Distilled less whole data with its 95 % interval; None where whole data was not evaluated."""
        return self._less(architecture, "whole")

    def kept(self, architecture: str) -> float | None:
        """Mean on the distilled set as a fraction of the mean on whole data; None without the latter."""
        if "whole" not in self.sources(architecture):
            return None
        whole = self.summary(architecture, "whole").mean
        return self.summary(architecture, "distilled").mean / whole if whole > 0 else None

    def headline(self) -> str:
        """One sentence: the first architecture's means."""
        first, own = self.architectures[0], self.sets["distilled"]
        views = "" if own.factor == 1 else f" of {own.factor**2} views each"
        parts = [f"{own.stored} distilled images{views}: {percent(self.summary(first, 'distilled'))}"]
        if "random" in self.sources(first):
            alike = "as many" if own.factor == 1 else "as many and packed alike"
            parts.append(f"random real images, {alike}: {percent(self.summary(first, 'random'))}")
        if "whole" in self.sources(first):
            count = self.sets["whole"].images
            parts.append(f"all {count:,} images: {percent(self.summary(first, 'whole'))}")
        return "; ".join(parts) + "."

    def verdict(self, architecture: str) -> str:
        """What the figures say on distilled against random and against whole data, in words."""
        said = []
        gain, kept = self.gain(architecture), self.kept(architecture)
        if gain is not None:
            interval = f"95 % interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
            if gain.resolved:
                side = "above" if gain.mean > 0 else "below"
                said.append(f"{abs(100 * gain.mean):.1f} points {side} random ({interval})")
            else:
                said.append(f"against random {100 * gain.mean:+.1f} points, not resolved ({interval})")
        if kept is not None:
            said.append(f"{100 * kept:.1f} % of what the whole data gives at equal steps")
        return "; ".join(said)

    def text(self) -> str:
        """The report as a few lines of plain text."""
        packed = self.sets["distilled"].factor > 1
        head = ("network", "trained on", "images", *(["views"] if packed else []), self.metric, "std", "n")
        rows = [head]
        for architecture in self.architectures:
            for source in self.sources(architecture):
                found = self.summary(architecture, source)
                spread = "" if math.isnan(found.std) else f"{100 * found.std:.1f}"
                facts = self.sets[source]
                counts = (f"{facts.stored:,}", *([f"{facts.images:,}"] if packed else []))
                rows.append(
                    (architecture, source, *counts, f"{100 * found.mean:.1f} %", spread, str(found.n))
                )
        wide = [max(len(row[at]) for row in rows) for at in range(len(head))]
        lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)) for row in rows]
        verdicts = [f"{each}: {said}" for each in self.architectures if (said := self.verdict(each))]
        return printable_lines(
            "\n".join(
                [
                    self.headline(),
                    "",
                    *(line.rstrip() for line in lines),
                    "",
                    *verdicts,
                    *([self._packed()] if packed else []),
                    self._measured(),
                ]
            )
        )

    def formation(self) -> dict[str, int]:
        """How distilled and random images alike are packed: the factor, stored images and views a class."""
        factor, ipc = self.sets["distilled"].factor, int(self.provenance["ipc"])
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
            if f.name not in ("pictures", "runs", "sets")
        }
        made["format"] = FORMAT
        made["runs"] = [dataclasses.asdict(run) for run in self.runs]
        made["sets"] = {source: dataclasses.asdict(found) for source, found in self.sets.items()}
        made["formation"] = self.formation()
        made["summaries"] = [self._summary_record(architecture) for architecture in self.architectures]
        return cast("dict[str, Any]", _plain(made))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Report":
        """The report that :meth:`to_json` wrote, without pictures; summaries are computed anew.

        Raises:
            FileFormatError: Something is missing, unknown, or of another format.
        """
        if record.get("format") != FORMAT:
            raise FileFormatError(
                f"report has format {record.get('format')!r}, this version reads {FORMAT}"
            )
        names = [f.name for f in dataclasses.fields(cls) if f.name != "pictures"]
        try:
            return typed(cls, {name: record[name] for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"not a report of format {FORMAT}: {error!r}") from error

    def save(self, folder: Path | str) -> Path:
        """Write ``report.json`` and ``report.html`` into ``folder``.

        Returns:
            The path of the page.

        Raises:
            OutputError: One could not be written; one that stood there before is untouched.
        """
        from pydistill.evaluate.page import page

        folder = Path(folder)
        write_text(folder / "report.json", json.dumps(self.to_json(), indent=1) + "\n")
        write_text(folder / "report.html", page(self))
        return folder / "report.html"

    @classmethod
    def load(cls, folder: Path | str) -> "Report":
        """Read the ``report.json`` that :meth:`save` wrote.

        Raises:
            FileFormatError: It is missing, not JSON, or not a report of a known format.
        """
        path = Path(folder) / "report.json"
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise FileFormatError(f"{path} cannot be read as a report: {error}") from error
        if not isinstance(record, dict):
            raise FileFormatError(
                f"{path} is not a report: expected an object, found {type(record).__name__}"
            )
        return cls.from_json(record)

    def _less(self, architecture: str, other: Source) -> Difference | None:
        if other not in self.sources(architecture):
            return None
        ours, theirs = self.values(architecture, "distilled"), self.values(architecture, other)
        return difference(ours, theirs, seed=int(self.protocol["seed"]))

    def _pairs(self) -> Sequence[str]:
        return sorted({f"{run.architecture} on {run.source}" for run in self.runs})

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
        alike = "; random selection is packed the same way" if "random" in self.sets else ""
        return f"factor {factor}: {stored} stored images a class, trained on as {views} views{alike}"

    def _summary_record(self, architecture: str) -> dict[str, Any]:
        gain, shortfall = self.gain(architecture), self.shortfall(architecture)
        return {
            "architecture": architecture,
            "sources": {
                source: dataclasses.asdict(self.summary(architecture, source))
                for source in self.sources(architecture)
            },
            "distilled_less_random": None if gain is None else dataclasses.asdict(gain),
            "distilled_less_whole": None if shortfall is None else dataclasses.asdict(shortfall),
            "kept_of_whole": self.kept(architecture),
        }


def percent(found: Summary) -> str:
    """``82.1 % ± 0.4 (n = 3)``."""
    spread = "" if math.isnan(found.std) else f" ± {100 * found.std:.1f}"
    return f"{100 * found.mean:.1f} %{spread} (n = {found.n})"


def _plain(tree: Any) -> Any:
    """Tuples as lists and NaN as None, so that equal reports make equal, valid JSON."""
    if isinstance(tree, Mapping):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree
