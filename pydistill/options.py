"""Options in a short text, as networks, pools and kernels have them: ``name:option=value,option=value``."""

import re
from collections.abc import Collection

from pydistill.errors import did_you_mean

_COMMA = re.compile(r",(?![^()]*\))")
"""One that does not stand in parentheses."""


def parse_options(owner: str, text: str, known: Collection[str]) -> dict[str, str]:
    """Values by option, as they were written, from what stands behind the colon.

    Args:
        owner: Whose options they are, for messages.
        text: ``option=value,option=value``, or nothing; a value may hold commas within parentheses.
        known: The options there are.

    Raises:
        ValueError: An option is unknown (the known ones are listed), given twice or without a value.
    """
    found: dict[str, str] = {}
    for part in filter(None, _COMMA.split(text)):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if option not in known:
            raise ValueError(
                f"{owner} has no option {option!r}{did_you_mean(option, known)}; "
                f"it has: {', '.join(known) or 'none'}"
            )
        if not equals or option in found:
            raise ValueError(f"{owner}: expected {option}=VALUE once, found {text!r}")
        found[option] = value
    return found
