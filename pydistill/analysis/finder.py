"""What a finder is: one frozen dataclass, registered under its name, that looks at a data set."""

import dataclasses
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from pydistill.analysis.finding import Finding
from pydistill.analysis.subject import Subject
from pydistill.engine.method import check_options
from pydistill.errors import did_you_mean
from pydistill.tasks import TASKS

Need: TypeAlias = Literal["nothing", "scores", "out_of_fold"]
"""What a finder needs beside the data: scores of training images, or those with probabilities from networks
that were not trained on the image."""


@dataclass(frozen=True, kw_only=True)
class Finder(ABC):
    """One question that is asked of a data set, and its options.

    A subclass is a frozen dataclass whose fields are made with :func:`~pydistill.engine.method.option`; it
    is registered with :func:`register`. Same data, scores and seed: same answer.

    Class attributes:
        name: What it is called on the command line.
        title: The heading of its answer.
        summary: One line on what it tells.
        tasks: Names of the tasks that it serves.
        needs: What it needs beside the data.
        default: Whether it is asked where none is named.
        least: Training images below which it says nothing.
        classes: Classes below which it says nothing.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = tuple(TASKS)
    needs: ClassVar[Need] = "nothing"
    default: ClassVar[bool] = True
    least: ClassVar[int] = 2
    classes: ClassVar[int] = 1

    @abstractmethod
    def find(self, subject: Subject) -> Finding:
        """Look. Every random draw comes from ``subject.generator``."""

    def answer(self, summary: str, **parts: Any) -> Finding:
        """A finding of this name and title."""
        return Finding(self.name, self.title, summary, **parts)

    def config(self) -> dict[str, Any]:
        """Every option with its value, as JSON can hold it."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def refusal(self, subject: Subject) -> str | None:
        """Why it can say nothing of a data set; None: it can."""
        images, classes = len(subject.train), len(subject.task.class_names)
        if subject.task.name not in self.tasks:
            return f"it is for {', '.join(self.tasks)}, the data for {subject.task.name}"
        if classes < self.classes:
            return (
                f"it needs {self.classes} classes or more, found {classes}: {subject.task.class_names[0]!r}"
            )
        if images < self.least:
            return f"it needs {self.least} training images or more, found {images}"
        if self.needs != "nothing" and subject.scores is None:
            folds = ", folds=2" if self.needs == "out_of_fold" else ""
            return f"it needs scores of networks: pass scores=compute_scores(data{folds})"
        if self.needs == "out_of_fold" and subject.require_scores().out_of_fold is None:
            return (
                "it needs probabilities from networks that were not trained on the image: pass "
                "scores=compute_scores(data, folds=2)"
            )
        return None


_registry: dict[str, type[Finder]] = {}

F = TypeVar("F", bound=type[Finder])


def register(finder: F) -> F:
    """Class decorator: make ``finder`` known under its name."""
    if _registry.setdefault(finder.name, finder) is not finder:
        raise ValueError(f"a finding named {finder.name!r} is registered already")
    return finder


def finders() -> Mapping[str, type[Finder]]:
    """Every registered finder by name; every module of ``findings/`` is imported, so one is one file."""
    package = importlib.import_module("pydistill.analysis.findings")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registry.items()))


def make_finder(name: str, **options: Any) -> Finder:
    """A finder by name.

    Raises:
        ValueError: The name or an option is unknown (the known ones are listed), or a value out of range.
        TypeError: A value is of the wrong type.
    """
    known = finders()
    if name not in known:
        raise ValueError(
            f"unknown finding {name!r}{did_you_mean(name, known, 0.5)}; known: {', '.join(known)}"
        )
    kind = known[name]
    fields = [field.name for field in dataclasses.fields(kind)]
    for given in options:
        if given not in fields:
            raise ValueError(f"{name} has no option {given!r}; it has: {', '.join(fields) or 'none'}")
    made = kind(**options)
    check_options(made)
    return made
