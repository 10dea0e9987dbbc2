"""Parts of pages: text from outside made safe, tables, style."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from pydistill.shown import printable


def style() -> str:
    """The style sheet of every page."""
    return files("pydistill.html").joinpath("style.css").read_text()


def text(value: object) -> str:
    """Whatever it is, as a page shows it and does not obey it."""
    return escape(printable(value))


def table(head: Iterable[str], rows: Sequence[str], kind: str = "") -> str:
    """A table that scrolls sideways where it is wider than the screen; ``rows`` are made already."""
    titles = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
    name = f' class="{kind}"' if kind else ""
    body = "\n".join(rows)
    return (
        f'<div class="scroll" tabindex="0"><table{name}>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )
