"""Looking at a data set before it is distilled: findings, a page of them, what to leave out."""

from pydistill.analysis.finder import Finder, finders, make_finder, register
from pydistill.analysis.finding import Chart, Finding, Flag, Pair, Picture, Row
from pydistill.analysis.run import Analysis, analyse

__all__ = [
    "Analysis",
    "Chart",
    "Finder",
    "Finding",
    "Flag",
    "Pair",
    "Picture",
    "Row",
    "analyse",
    "finders",
    "make_finder",
    "register",
]
