"""Options made from a function's signature or a dataclass: none is missing, the help is the docstring's.

What was said is what the function is called with: an option that was left out is not passed.
"""

import argparse
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

_SECTION = re.compile(r"^(?:Args|Attributes):\n(.*?)(?:\n\S|\Z)", re.DOTALL | re.MULTILINE)
_ENTRY = re.compile(r"^(?:\w|\*)")
_ROLE = re.compile(r":\w+:`~?([^`]*)`")


@dataclass(frozen=True)
class Parameter:
    """A parameter as an option.

    Attributes:
        name: In Python.
        annotation: Its type.
        default: Its value where it is left out; ``inspect.Parameter.empty`` where it must be given.
        help: From the docstring, in plain text.
    """

    name: str
    annotation: Any
    default: Any
    help: str

    @property
    def types(self) -> tuple[Any, ...]:
        """The members of the annotation other than None."""
        union = get_origin(self.annotation) in (typing.Union, types.UnionType)
        members = get_args(self.annotation) if union else (self.annotation,)
        return tuple(member for member in members if member is not types.NoneType)

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty


def parameters(of: Callable[..., Any], skip: Collection[str] = ()) -> list[Parameter]:
    """Parameters of a function, or fields of a dataclass, but for those in ``skip`` and for ``**options``.

    Raises:
        TypeError: A parameter is not described in the docstring.
    """
    hints, told, found = typing.get_type_hints(of), descriptions(inspect.getdoc(of) or ""), []
    for name, each in inspect.signature(of).parameters.items():
        if name in skip or each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
            continue
        if name not in told:
            raise TypeError(f"{of.__name__}: the docstring does not describe {name}")
        found.append(Parameter(name, hints[name], each.default, told[name]))
    return found


def descriptions(docstring: str) -> dict[str, str]:
    """What a Google docstring says of each argument or attribute, as plain text on one line."""
    section = _SECTION.search(inspect.cleandoc(docstring))
    found: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(section[1]).splitlines() if section else ():
        if _ENTRY.match(line):
            name, _, line = line.partition(":")
        if name and not line.isspace():
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return {name: _ROLE.sub(r"\1", text).replace("``", "") for name, text in found.items()}


def add_options(
    group: Any,
    of: Callable[..., Any],
    *,
    under: str,
    skip: Collection[str] = (),
    flags: Mapping[str, str] | None = None,
    choices: Mapping[str, Sequence[str]] | None = None,
    helps: Mapping[str, str] | None = None,
    defaults: bool = True,
) -> None:
    """Give ``group`` an option for every parameter of ``of``.

    Args:
        group: A parser, or a group of one.
        of: A function or dataclass.
        under: What was said is kept in the namespace as ``UNDER.NAME``; see :func:`given_options`.
        skip: Parameters that are no options.
        flags: Names of options that are not called after their parameter: ``{"seed": "split-seed"}``.
        choices: The texts allowed.
        helps: What the help says where the docstring speaks of Python.
        defaults: Whether the help tells defaults.
    """
    for each in parameters(of, skip):
        default = each.default
        told = defaults and default is not None and not each.required and default is not False
        about = (helps or {}).get(each.name, each.help).rstrip(".")
        help = f"{about} (default {default})" if told else about
        flag = (flags or {}).get(each.name, each.name.replace("_", "-"))
        group.add_argument(
            f"--{flag}",
            dest=f"{under}.{each.name}",
            default=argparse.SUPPRESS,
            required=each.required,
            help=_uncapitalised(help).replace("%", "%%"),
            **_parsing(each, flag.upper(), (choices or {}).get(each.name)),
        )


def given_options(options: argparse.Namespace, under: str) -> dict[str, Any]:
    """What was said of the parameters that :func:`add_options` made options of, by parameter."""
    prefix = f"{under}."
    return {
        name.removeprefix(prefix): value for name, value in vars(options).items() if name.startswith(prefix)
    }


def _uncapitalised(text: str) -> str:
    """As the help of other options begins; an abbreviation keeps its capitals."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


def _parsing(each: Parameter, metavar: str, choices: Sequence[str] | None) -> dict[str, Any]:
    """How an option is read, by the parameter's type."""
    kinds = each.types
    if bool in kinds:
        return {"action": "store_true" if each.default is False else argparse.BooleanOptionalAction}
    if any(get_origin(kind) is Literal for kind in kinds):
        choices = [text for kind in kinds if get_origin(kind) is Literal for text in get_args(kind)]
    if choices is not None:
        return {"choices": tuple(choices)}
    if any(get_origin(kind) is tuple and get_args(kind) == (int, int) for kind in kinds):
        return {"type": _side_or_sides, "metavar": "N or HxW"}
    if any(get_origin(kind) is tuple and get_args(kind) == (str, ...) for kind in kinds):
        return {"action": _Each, "metavar": metavar}
    if any(get_origin(kind) is Sequence for kind in kinds):
        return {"action": _Names, "metavar": "A,B,..."}
    if str in kinds:  # also where a number may be given: the text says which it is
        return {"type": str, "metavar": metavar}
    for kind, shown in ((int, "N"), (float, "X")):
        if kind in kinds:
            return {"type": kind, "metavar": shown}
    if any(kind is os.PathLike or get_origin(kind) is os.PathLike for kind in kinds):
        return {"metavar": "PATH"}
    raise TypeError(f"cannot make an option of {each.name}: {each.annotation}")


def _side_or_sides(text: str) -> int | tuple[int, int]:
    """``32`` or ``32x48``."""
    try:
        sides = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) == 1:
        return sides[0]
    if len(sides) == 2:
        return sides[0], sides[1]
    raise argparse.ArgumentTypeError(f"expected a number of pixels or HEIGHTxWIDTH, got {text!r}")


class _Each(argparse.Action):
    """A tuple of texts: the option is given once for each."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), values))


class _Names(argparse.Action):
    """Several texts: separated by commas, or the option given once for each, which may then hold commas."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        raw = (*getattr(namespace, f"_{self.dest}", ()), values)
        setattr(namespace, f"_{self.dest}", raw)
        names = [part.strip() for part in values.split(",")] if len(raw) == 1 else list(raw)
        setattr(namespace, self.dest, names)
