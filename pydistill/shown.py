"""Text that came from outside (names of classes, files, networks), made safe to show on a terminal."""


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


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
