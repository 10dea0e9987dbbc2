"""Arguments and options checked in one way; messages name what was expected and what was found."""

import math
from collections.abc import Iterable
from numbers import Real


def integer(name: str, value: object, low: int | None = None) -> None:
    """Refuse what is no integer, or one below ``low``.

    Args:
        name: Of the argument, for the message; with its owner where that is not plain: ``pool: size``.
        value: What was given. A boolean is no integer.
        low: The smallest value allowed.

    Raises:
        TypeError: It is no integer.
        ValueError: It is below ``low``.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if low is not None and value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def number(
    name: str,
    value: object,
    *,
    low: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse what is no finite number, or one out of range.

    Args:
        name: Of the argument, for the message.
        value: What was given.
        low: The smallest value allowed.
        above: What it must exceed.
        below: What it must stay under.

    Raises:
        TypeError: It is no number.
        ValueError: It is not finite, or out of range.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    found = float(value)
    if low is not None and below is not None:
        if not low <= found < below:
            raise ValueError(f"{name} must be within [{low:g}, {below:g}), got {value}")
    elif low is not None and not found >= low:
        raise ValueError(f"{name} must be at least {low:g}, got {value}")
    elif above is not None and not found > above:
        raise ValueError(f"{name} must be above {above:g}, got {value}")
    if not math.isfinite(found):
        raise ValueError(f"{name} must be finite, got {value}")


def choice(name: str, value: object, known: Iterable[str]) -> None:
    """Refuse what is none of some texts; they are listed.

    Raises:
        ValueError: It is none of them.
    """
    texts = tuple(known)
    if value not in texts:
        raise ValueError(f"{name} must be one of {', '.join(texts)}; got {value!r}")
