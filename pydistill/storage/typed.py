"""Dataclasses from JSON, every value checked against the type that its field declares."""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def typed(kind: type[T], record: Mapping[str, Any]) -> T:
    """The dataclass ``kind`` with the values of ``record``, and so for dataclasses inside it.

    None where a number with a fraction is due is a not-a-number, since JSON has none; lists become tuples
    where a field is a tuple.

    Args:
        kind: A dataclass whose fields are numbers, texts, literals, tuples, mappings, dataclasses, unions
            of these, or ``Any``.
        record: As JSON gives it.

    Raises:
        TypeError: A value is of another type than its field, or a field is missing or unknown.
        ValueError: A value is refused by the dataclass itself.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"expected an object with the fields of {kind.__name__}, found {record!r:.80}")
    hints = get_type_hints(kind)
    unknown = sorted(set(record) - set(hints))
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {unknown[0]!r}")
    return kind(**{name: _value(hints[name], value, name) for name, value in record.items()})


def plain(tree: Any) -> Any:
    """Tuples as lists and NaN as None: equal facts make equal, valid JSON, and :func:`typed` reads it."""
    if isinstance(tree, Mapping):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if hint is float:
        return _number(value, where)
    if origin is tuple and isinstance(value, list | tuple) and inner[1:] == (...,):
        return tuple(_value(inner[0], each, f"{where}[{at}]") for at, each in enumerate(value))
    if origin is Literal:
        fits = value in inner
    elif origin in (Union, types.UnionType):
        return _one_of(inner, value, where)
    elif isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {
            _value(inner[0], key, where): _value(inner[1], each, f"{where}.{key}")
            for key, each in value.items()
        }
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return typed(hint, value)
    else:
        fits = type(value) is hint
    if not fits:
        raise TypeError(f"{where}: expected {_name(hint)}, found {value!r:.80}")
    return value


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{where}: expected a number, found {value!r:.80}")
    return value


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    for hint in hints:
        if hint is not type(None):
            try:
                return _value(hint, value, where)
            except TypeError:
                continue
    raise TypeError(f"{where}: expected {' or '.join(map(_name, hints))}, found {value!r:.80}")


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
