"""How things are shown: text from outside made safe for a terminal, durations and sizes in words."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def printable(text: object) -> str:
    r"""``text`` in which a terminal finds nothing to obey: what is not printable stands as its escape.

    Control characters (colours, cursor movements, titles), marks that turn the direction of writing,
    line ends and lone surrogates become ``\x1b``, ``\u202e``, ``\n``, ``\udc80``. All else stays, in any
    script.

    Args:
        text: Anything; it is shown as ``str`` gives it.
    """
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in str(text))


def printable_lines(text: object) -> str:
    """:func:`printable` line by line: ends of lines stay."""
    return "\n".join(map(printable, str(text).split("\n")))


def duration(seconds: float) -> str:
    """``about 2 h 10 min``; seconds below two minutes."""
    if seconds < 120:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"about {hours} h {minutes} min" if hours < 24 else f"about {hours / 24:.1f} days"


def size(count: float) -> str:
    """Bytes in the unit that fits: ``3.2 MiB``."""
    if count < 1024:
        return f"{count:.0f} bytes"
    power = min(4, (int(count).bit_length() - 1) // 10)
    scaled = count / 1024**power
    return f"{scaled:.0f} {_UNITS[power]}" if scaled >= 100 else f"{scaled:.1f} {_UNITS[power]}"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
