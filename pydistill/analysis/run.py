"""``analyse``: every finding of a data set, kept as JSON and as one page."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydistill import checks
from pydistill.analysis.advice import recommend
from pydistill.analysis.finder import Finder, finders, make_finder
from pydistill.analysis.finding import Finding
from pydistill.analysis.page import page
from pydistill.analysis.subject import Subject
from pydistill.data.drop import Drop
from pydistill.data.real import RealData
from pydistill.engine.method import check_options
from pydistill.errors import FileFormatError
from pydistill.evaluation.machine import Meter, describe
from pydistill.events import Event, Notice
from pydistill.machine import resolve_device
from pydistill.modes import plain_modes
from pydistill.scores.store import Scores
from pydistill.storage.files import write_text
from pydistill.storage.records import Kind, read_json, read_tensors, write_json, write_tensors
from pydistill.storage.typed import plain

RECORD = Kind("pydistill.analysis", 1, "an analysis", "analyse the data again")
ROOT, PAGE, SCORES = "analysis.json", "analysis.html", "analysis.safetensors"


@dataclass(frozen=True)
class Analysis:
    """What was found of a data set.

    Attributes:
        findings: By name, in the order that they are shown.
        skipped: Why others were not asked, by name.
        data: What the data is called.
        fingerprint: Of the data.
        task: Of the data, by name.
        images: Training images.
        classes: Names of the classes.
        facts: ``machine`` with versions, ``seconds`` of each finding, ``peak memory`` in bytes, ``seed``,
            and ``options`` of each finding.
    """

    findings: Mapping[str, Finding]
    skipped: Mapping[str, str]
    data: str
    fingerprint: str
    task: str
    images: int
    classes: tuple[str, ...]
    facts: Mapping[str, Any]
    _source: RealData | None = field(default=None, compare=False, repr=False)

    def recommendation(self) -> tuple[str, ...]:
        """What to do, a sentence each: clean, then method, budget and preset to distil with, and why."""
        return recommend(self.findings, self.task, self.images, self.classes, self.facts.get("seconds"))

    def drop(self, *names: str) -> Drop:
        """Training images to leave out.

        Args:
            *names: Findings, as ``duplicates``, or one reason of a finding, as ``duplicates:leak``. None:
                all that is flagged but for what is left out on request alone, such as leaks.

        Raises:
            ValueError: A finding is not here or has no such reason.
        """
        reasons = {}
        for name in names or tuple(self.findings):
            found, _, reason = name.partition(":")
            chosen = self._flagged(found, reason)
            if chosen or names:
                reasons[name] = tuple(sorted(chosen))
        return Drop(self.fingerprint, reasons)

    def drop_record(self) -> Drop:
        """:meth:`drop` of every finding."""
        return self.drop()

    def _flagged(self, name: str, reason: str) -> set[int]:
        if name not in self.findings:
            why = f": {self.skipped[name]}" if name in self.skipped else ""
            raise ValueError(
                f"the analysis has no finding {name!r}{why}; it has: {', '.join(self.findings)}"
            )
        flags = self.findings[name].flagged
        known = sorted({flag.reason for flag in flags})
        if reason and reason not in known:
            raise ValueError(
                f"{name} flags nothing as {reason!r}; it flags: {', '.join(known) or 'nothing'}"
            )
        return {
            flag.position
            for flag in flags
            if flag.split == "train" and (flag.reason == reason if reason else not flag.on_request)
        }

    def text(self) -> str:
        """Findings and recommendation in a few lines."""
        lines = [f"{self.data}: {self.images:,} training images, {len(self.classes)} classes, {self.task}"]
        lines += [f"{found.title}: {found.summary}" for found in self.findings.values()]
        lines += [f"{name}: not looked at, {why}" for name, why in self.skipped.items()]
        return "\n".join([*lines, "What to do:", *(f"- {each}" for each in self.recommendation())])

    def to_json(self) -> dict[str, Any]:
        """All but scores of images, as JSON holds it."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.compare}
        findings = {name: found.to_json() for name, found in self.findings.items()}
        made: dict[str, Any] = plain({**own, "findings": findings})
        return {**made, "recommendation": list(self.recommendation())}

    def page(self) -> str:
        """One HTML document; pictures are in it where the data is at hand, as after :func:`analyse`."""
        return page(self, self._source)

    def save(self, folder: Path | str) -> Path:
        """Write ``analysis.json``, ``analysis.html`` and, of scores of images, ``analysis.safetensors``.

        Returns:
            The page.

        Raises:
            OutputError: It could not be written.
        """
        folder = Path(folder)
        scores = self.image_scores
        if scores:
            write_tensors(folder / SCORES, RECORD, {"fingerprint": self.fingerprint}, scores)
        write_text(folder / PAGE, self.page())
        write_json(folder / ROOT, RECORD, self.to_json())
        return folder / PAGE

    @property
    def image_scores(self) -> dict[str, Tensor]:
        """(N,) float32 by finding, of those that have a number for every training image."""
        found = {name: each.image_scores for name, each in self.findings.items()}
        return {name: scores.float() for name, scores in found.items() if scores is not None}

    @classmethod
    def load(cls, folder: Path | str) -> "Analysis":
        """What :meth:`save` wrote.

        Raises:
            FileFormatError: There is none, or it is damaged.
        """
        folder = Path(folder)
        if not (folder / ROOT).exists():
            raise FileFormatError(
                f"{folder} holds no analysis: make one with pydistill analyse DATA --out {folder}"
            )
        facts = read_json(folder / ROOT, RECORD)
        scores: dict[str, Tensor] = {}
        if (folder / SCORES).exists():
            of, scores = read_tensors(folder / SCORES, RECORD)
            if of.get("fingerprint") != facts.get("fingerprint"):
                raise FileFormatError(
                    f"{folder / SCORES} is of other data than {ROOT} beside it; {RECORD.mend}"
                )
        try:
            facts.pop("recommendation")
            findings = {
                name: Finding.from_json(each, scores.get(name))
                for name, each in facts.pop("findings").items()
            }
            classes = tuple(facts.pop("classes"))
            return cls(findings=findings, classes=classes, **facts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileFormatError(
                f"{folder / ROOT} holds no usable analysis: {error}; {RECORD.mend}"
            ) from error


@plain_modes()
def analyse(
    data: RealData,
    scores: Scores | None = None,
    *,
    findings: Sequence[str | Finder] | None = None,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
) -> Analysis:
    """Look at a data set before distilling it.

    Args:
        data: What :func:`pydistill.load_data` gives. Test images are looked at for copies across splits
            alone.
        scores: Of its training images, see :func:`pydistill.scores.compute_scores`; with ``folds=2`` or
            more for label errors. None: findings that need them are skipped.
        findings: Names of findings, or configured ones; None: all that can be told of this data.
        seed: Every draw derives from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        on_event: Told of every :data:`~pydistill.events.Event`.

    Raises:
        ValueError: A finding is unknown, or named and cannot be told of this data (one class, too few
            images, another task, no scores); or the scores are of other data.
    """
    checks.integer("seed", seed, 0)
    where = resolve_device(device)
    if scores is not None:
        scores.require(data)
    subject = Subject(data, scores, seed, where, on_event)
    named = findings is not None
    chosen = _chosen(findings)
    found: dict[str, Finding] = {}
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    with Meter(torch.device("cpu")) as meter:
        for at, finder in enumerate(chosen):
            why = finder.refusal(subject)
            if why is not None and named:
                raise ValueError(f"finding {finder.name}: {why}")
            if why is not None:
                skipped[finder.name] = why
                if on_event is not None:
                    on_event(Notice(f"{finder.name} is skipped: {why}"))
                continue
            subject.tell("analyse", at, len(chosen), finder.name)
            begun = time.perf_counter()
            found[finder.name] = finder.find(subject)
            seconds[finder.name] = round(time.perf_counter() - begun, 3)
        subject.tell("analyse", len(chosen), len(chosen))
    facts = {
        "machine": describe(where),
        "seconds": seconds,
        "peak memory": meter.peak_memory,
        "seed": seed,
        "options": {finder.name: finder.config() for finder in chosen if finder.name in found},
        "scores": None if scores is None else scores.training.record(),
    }
    return Analysis(
        findings=found,
        skipped=skipped,
        data=data.name,
        fingerprint=data.fingerprint,
        task=data.task.name,
        images=len(data.train),
        classes=data.task.class_names,
        facts=plain(facts),
        _source=data,
    )


_ORDER = (
    "distillability",
    "duplicates",
    "label_errors",
    "broken",
    "classes",
    "difficulty",
    "redundancy",
    "complexity",
)


def _chosen(findings: Sequence[str | Finder] | None) -> list[Finder]:
    """Configured finders in the order that they are shown, each once."""
    if isinstance(findings, str):
        raise TypeError(f"findings are a list of names, got the text {findings!r}")
    if findings is None:
        made = [make_finder(name) for name, kind in finders().items() if kind.default]
    else:
        made = [make_finder(each) if isinstance(each, str) else each for each in findings]
        if not made:
            raise ValueError(f"expected at least one finding, of {', '.join(finders())}")
    for finder in made:
        check_options(finder)
    once = {finder.name: finder for finder in made}
    place = {name: at for at, name in enumerate(_ORDER)}
    return sorted(once.values(), key=lambda finder: (place.get(finder.name, len(_ORDER)), finder.name))
