"""What a distillation method is: one frozen dataclass, registered under its name.

A method file reads like its paper. Its dataclass fields are its configuration: from them come the
command line's flags, the help, the record kept with a result and the contract tests. All that a method
remembers between steps lies in a :data:`State`, a plain tree of tensors and numbers, so that a run can
be written down after any step and taken up again with the same result.
"""

import dataclasses
import importlib
import pkgutil
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, get_args, get_origin

import torch
from torch import Tensor

from pydistill import checks
from pydistill.data.recipe import Recipe
from pydistill.engine.families import FAMILIES, USUAL_TASKS
from pydistill.engine.preparation import Interim, Telling
from pydistill.engine.problem import Problem
from pydistill.errors import did_you_mean
from pydistill.machine import AUTO, PRECISIONS, resolve_precision, slow_precision
from pydistill.options import parse_options

State: TypeAlias = dict[str, Any]
"""What a method remembers: nested dicts and lists of tensors, numbers, texts, booleans and None."""

Family: TypeAlias = Literal[
    "selection",
    "performance matching",
    "distribution matching",
    "parameter matching",
    "decoupled",
]


@dataclass(frozen=True)
class Synthetic:
    """What a method has learned so far.

    Attributes:
        images: (M, C, H, W) float32 network input.
        targets: (M, ...) as the task defines them, hard or soft.
        augment: The augmentation to train with; None: the data's usual one.
        learning_rate: The rate to train with, where the method learned one.
        factor: Views along each side of a stored image, see :mod:`pydistill.data.formation`.
        recipe: What else was learned or decided.
        origin: (M,) the group (class) that each image was made for; needed where targets are learned.
        weights: (M,) at least 0 and of mean 1, by how much the loss of each image counts in every training
            on the set; None: all alike.
        indices: (M * factor**2,) int64 positions in the training split, where images are real ones.
    """

    images: Tensor
    targets: Tensor
    augment: str | None = None
    learning_rate: float | None = None
    factor: int = 1
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    origin: Tensor | None = None
    weights: Tensor | None = None
    indices: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A distillation method and its configuration.

    A subclass is a frozen dataclass whose fields are made with :func:`option`; it is final (nothing
    overrides a concrete method) and registered with :func:`register`.

    Class attributes:
        name: What it is called on the command line.
        family: One of the field's families.
        citation: Authors, title, venue, arXiv number.
        summary: One line.
        tasks: Names of the tasks that it serves; another is refused before anything is drawn.
        presets: Named configurations, ``quick`` (minutes on a CPU) and ``paper`` among them.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    citation: ClassVar[str]
    summary: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = USUAL_TASKS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {}, "paper": {}}

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many times :meth:`step` is called; 0 for a method that only selects."""

    @abstractmethod
    def start(self, problem: Problem) -> State:
        """The state before the first step.

        A method that trains networks first has it from :meth:`prepare`, by
        :func:`~pydistill.engine.preparation.unheard`.
        """

    def prepare(self, problem: Problem, interim: Interim) -> Telling[State]:
        """:meth:`start` as a run calls it: what is trained first is told epoch by epoch and kept.

        Args:
            problem: What the method works on.
            interim: Where to find what an earlier call of the same run had trained, and to keep it.
        """
        yield from ()
        return self.start(problem)

    @abstractmethod
    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        """Do iteration ``index``, changing ``state`` in place.

        Every random draw comes from ``problem.generator(..., index)``; nothing is remembered outside
        ``state``.

        Returns:
            What was measured, by name; scalars.
        """

    @abstractmethod
    def result(self, problem: Problem, state: State) -> Synthetic:
        """The set as it stands in ``state``."""

    def config(self) -> dict[str, Any]:
        """Every option with its value, as JSON can hold it."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def deciding(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Those options of ``config`` that decide a result: all but what only bounds memory."""
        bounding = {f.name for f in dataclasses.fields(cls) if f.metadata.get("memory")}
        return {name: value for name, value in config.items() if name not in bounding}


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    selectors: bool = False,
    memory: bool = False,
) -> Any:
    """A configuration field with its help, its bound and its choices; :func:`check_options` enforces them.

    Args:
        default: Its value where none is given.
        help: One line for ``--help``.
        low: The smallest value allowed.
        above: A value that must be exceeded.
        below: With ``low``, a value that it must stay under.
        choices: The texts allowed.
        selectors: What :func:`parse_selector` takes is allowed beside ``choices``.
        memory: It decides how much memory a run takes and no result beyond rounding: a run may be taken up
            with another value of it.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "low": low,
            "above": above,
            "below": below,
            "choices": choices,
            "selectors": selectors,
            "memory": memory,
        },
    )


def option_types(method: type[Any]) -> dict[str, tuple[type, bool]]:
    """The scalar type of each option of a dataclass and whether it may be None, by field name."""
    hints = typing.get_type_hints(method)
    found = {}
    for f in dataclasses.fields(method):
        hint = hints[f.name]
        members = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
        concrete = [member for member in members if member is not types.NoneType]
        found[f.name] = (concrete[0], len(concrete) < len(members))
    return found


def check_options(method: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` naming the first option of the wrong type, range or choice.

    Args:
        method: A method, or another dataclass with a ``name`` whose fields are made with :func:`option`.
    """
    kinds = option_types(type(method))
    for f in dataclasses.fields(method):
        value = getattr(method, f.name)
        kind, optional = kinds[f.name]
        if value is None and optional:
            continue
        accepted = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{method.name}: {f.name} must be {kind.__name__}, got {value!r}")
        bounds = {key: f.metadata.get(key) for key in ("low", "above", "below")}
        choices = f.metadata.get("choices")
        name = f"{method.name}: {f.name}"
        if kind in (int, float):
            checks.number(name, value, **bounds)
        if f.metadata.get("selectors") and value not in (choices or ()):
            parse_selector(str(value), name, choices or ())
        elif choices is not None:
            checks.choice(name, value, choices)


def require_task(method: Method, problem: Problem) -> None:
    """Raise ``ValueError`` where a method does not serve the data's task."""
    name = problem.task.name
    if name not in method.tasks:
        others = [each for each, kind in methods().items() if name in kind.tasks]
        raise ValueError(
            f"{method.name} is for {', '.join(method.tasks)}, the data {problem.data.name!r} for {name}: "
            f"{'use ' + ', '.join(others) if others else 'no method is'}"
        )


def with_native_precision(
    method: Method, device: torch.device, earlier: Mapping[str, Any] | None = None
) -> Method:
    """``method`` with precisions instead of ``auto``: what is recorded is what was computed in.

    Args:
        method: As it was asked for.
        device: Whose native precision is taken.
        earlier: Options of the run that is taken up: it goes on in the precision that it began in.
    """
    chosen = {
        f.name: (earlier or {}).get(f.name, resolve_precision(AUTO, device))
        for f in dataclasses.fields(method)
        if f.metadata.get("choices") == (AUTO, *PRECISIONS) and getattr(method, f.name) == AUTO
    }
    return dataclasses.replace(method, **chosen) if chosen else method


def notices(method: Method, device: torch.device) -> list[str]:
    """What there is to say of a method's options before it starts: precisions that are emulated."""
    told = (
        slow_precision(getattr(method, f.name), device)
        for f in dataclasses.fields(method)
        if f.metadata.get("choices") == (AUTO, *PRECISIONS)
    )
    return [text for text in told if text is not None]


_registry: dict[str, type[Method]] = {}

M = TypeVar("M", bound=type[Method])


def register(method: M) -> M:
    """Class decorator: make ``method`` known under its name."""
    if _registry.setdefault(method.name, method) is not method:
        raise ValueError(f"a method named {method.name!r} is registered already")
    return method


def methods() -> Mapping[str, type[Method]]:
    """Every registered method by name.

    Every module of a family's folder is imported, so that a new method is one file.
    """
    for family in FAMILIES:
        package = importlib.import_module(f"pydistill.{family}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"pydistill.{family}.{module.name}")
    return dict(sorted(_registry.items()))


def make_method(name: str, preset: str | None = None, **options: Any) -> Method:
    """A method by name: a preset's options, overridden by those given.

    Raises:
        ValueError: The name, the preset or an option is unknown (the known ones are listed), or a value
            is out of range.
        TypeError: A value is of the wrong type.
    """
    known = methods()
    if name not in known:
        raise ValueError(
            f"unknown method {name!r}{did_you_mean(name, known, 0.5)}; known: {', '.join(known)}"
        )
    kind = known[name]
    if preset is not None and preset not in kind.presets:
        near = did_you_mean(preset, kind.presets, 0.5)
        raise ValueError(f"{name} has no preset {preset!r}{near}; it has: {', '.join(kind.presets)}")
    fields = [f.name for f in dataclasses.fields(kind)]
    for given in options:
        if given not in fields:
            raise ValueError(
                f"{name} has no option {given!r}{did_you_mean(given, fields, 0.5)}; "
                f"it has: {', '.join(fields) or 'none'}"
            )
    made = kind(**{**(kind.presets[preset] if preset else {}), **options})
    check_options(made)
    return made


def selectors() -> Mapping[str, type[Method]]:
    """Those methods by name that choose real images: they have ``select(problem)``."""
    return {name: kind for name, kind in methods().items() if hasattr(kind, "select")}


def parse_selector(text: str, owner: str = "a selector", others: Collection[str] = ()) -> Method:
    """A method that selects, from ``name`` or ``name:option=value,...``.

    Args:
        text: What was given. The option ``factor`` is none here: whoever packs the images decides it.
        owner: Whose value it is, for messages.
        others: What else would have been understood.

    Raises:
        ValueError: The name or an option is unknown, or a value is no such value or out of range.
    """
    name, _, rest = text.partition(":")
    known = selectors()
    if name not in known:
        listed = f"{', '.join(others)}, or a selector: " if others else ""
        raise ValueError(
            f"{owner} must be one of {listed}{', '.join(known)}; got {text!r}"
            f"{did_you_mean(name, [*others, *known], 0.5)}"
        )
    kinds = {option: kind for option, kind in option_types(known[name]).items() if option != "factor"}
    given = parse_options(name, rest, kinds)
    return make_method(
        name,
        **{option: _read(f"{name}: {option}", value, *kinds[option]) for option, value in given.items()},
    )


def _read(name: str, text: str, kind: type, optional: bool) -> Any:
    """An option's value from its text."""
    if optional and text == "none":
        return None
    if kind is bool:
        checks.choice(name, text, ("true", "false"))
        return text == "true"
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {kind.__name__}, got {text!r}") from None
