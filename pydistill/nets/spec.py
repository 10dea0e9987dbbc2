"""Networks described as text: ``convnet:width=64,norm=batch``. A new network is one file in this folder.

A network's options are the fields of a frozen dataclass, registered under its name. The text and the
dataclass are two forms of one thing: ``parse(str(spec)) == spec``.
"""

import dataclasses
import importlib
import pkgutil
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from pydistill.errors import did_you_mean
from pydistill.options import parse_options

if TYPE_CHECKING:
    from pydistill.nets.base import Network

Shape: TypeAlias = tuple[int, int, int]
"""Channels, height and width of an image."""


@dataclass(frozen=True)
class Spec(ABC):
    """A network and its options, before it knows its images.

    A subclass is a frozen dataclass with integer options of at least 1 and ``Literal`` options, each with
    a default, of an integer's also None; whatever else its options must fulfil it checks in :meth:`make`.

    Class attributes:
        name: What the network is called.
        summary: One line, with the paper it comes from.
        tasks: Names of the tasks that its outputs are for.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    def __post_init__(self) -> None:
        """Check every option against its type.

        Raises:
            TypeError: An integer option is not an integer.
            ValueError: An integer option is below 1, or a choice is not among those there are.
        """
        for option, kind in _option_kinds(type(self)).items():
            value, choices = getattr(self, option), _choices(kind)
            if value is None and not choices and kind is not int:
                continue
            if choices and value not in choices:
                raise ValueError(
                    f"{self.name}: {option} must be one of {', '.join(choices)}, "
                    f"found {value!r}{did_you_mean(str(value), choices)}"
                )
            if not choices and (not isinstance(value, int) or isinstance(value, bool)):
                raise TypeError(f"{self.name}: {option} must be an integer, found {value!r}")
            if not choices and value < 1:
                raise ValueError(f"{self.name}: {option} must be at least 1, found {value}")

    def __str__(self) -> str:
        """The shortest text that :func:`parse` turns into this."""
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}:{','.join(changed)}" if changed else self.name

    @property
    @abstractmethod
    def smallest(self) -> int:
        """The least height and width of an image, in pixels."""

    @abstractmethod
    def make(self, shape: Shape, outputs: int) -> "Network":
        """The module, its parameters not yet drawn; ``build`` is what callers use."""

    def check(self, shape: Shape, outputs: int) -> None:
        """Refuse images and outputs the network cannot have.

        Raises:
            ValueError: ``shape`` is not three positive integers, the image is too small, or ``outputs`` is
                below 1.
        """
        if len(shape) != 3 or not all(isinstance(side, int) and side >= 1 for side in shape):
            raise ValueError(
                f"{self}: shape must be (channels, height, width), each at least 1, found {shape}"
            )
        if min(shape[1:]) < self.smallest:
            raise ValueError(
                f"{self} needs images of at least {self.smallest}x{self.smallest} pixels, found "
                f"{shape[1]}x{shape[2]}; use a network that pools less, or enlarge the images"
            )
        if outputs < 1:
            raise ValueError(f"{self}: outputs must be at least 1, found {outputs}")


_registry: dict[str, type[Spec]] = {}

S = TypeVar("S", bound=type[Spec])


def register(spec: S) -> S:
    """Class decorator: make a network known under its name."""
    if _registry.setdefault(spec.name, spec) is not spec:
        raise ValueError(f"a network named {spec.name!r} is registered already")
    return spec


def architectures() -> Mapping[str, type[Spec]]:
    """Every registered network by name; imports every module of this folder."""
    package = importlib.import_module("pydistill.nets")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"pydistill.nets.{module.name}")
    return dict(sorted(_registry.items()))


def parse(text: str) -> Spec:
    """``name`` or ``name:option=value,option=value`` to a spec.

    Raises:
        ValueError: The network, an option or a value is unknown (the known ones are listed), or an option
            is given twice.
    """
    name, _, rest = text.strip().partition(":")
    known = architectures()
    if name not in known:
        raise ValueError(f"unknown network {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    kind = known[name]
    kinds = _option_kinds(kind)
    options = {
        option: value if _choices(kinds[option]) else _integer(name, option, value)
        for option, value in parse_options(name, rest, kinds).items()
    }
    return kind(**options)


def _option_kinds(spec: type[Spec]) -> dict[str, Any]:
    """The type of each option by name."""
    hints = typing.get_type_hints(spec)
    return {field.name: hints[field.name] for field in dataclasses.fields(spec)}


def _choices(kind: Any) -> tuple[str, ...]:
    """What an option may be; none where it is an integer, be it one that may be left open."""
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def _integer(name: str, option: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name}: {option} must be an integer, found {value!r}") from None
