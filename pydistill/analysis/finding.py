"""What is found of a data set: sentences, numbers, images and pairs that are meant, charts as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from torch import Tensor

from pydistill.storage.typed import plain, typed

ChartKind: TypeAlias = Literal["bars", "line", "points", "heat"]


@dataclass(frozen=True)
class Flag:
    """An image that something is wrong with, or that another image stands for.

    Attributes:
        position: In its split, from 0.
        score: How sure it is, larger is surer; comparable within a finding alone.
        reason: In a word or two; the same for images that are flagged for the same thing.
        split: ``train`` or ``validation``.
        on_request: It is left out by ``drop`` only where its reason is named.
    """

    position: int
    score: float
    reason: str
    split: str = "train"
    on_request: bool = False


@dataclass(frozen=True)
class Pair:
    """Two images that belong together.

    Attributes:
        split: Of the first image.
        position: Of the first image in its split.
        other_split: Of the second image.
        other_position: Of the second image.
        score: How alike they are; 1 is the same.
        reason: In a word or two.
    """

    split: str
    position: int
    other_split: str
    other_position: int
    score: float
    reason: str


@dataclass(frozen=True)
class Row:
    """Images in a row of a picture.

    Attributes:
        label: At the left of them.
        split: That they are of.
        positions: In that split.
    """

    label: str
    split: str
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """Which images to show; they are drawn when a page is made.

    Attributes:
        caption: What is to be seen, a sentence.
        rows: The images.
    """

    caption: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Chart:
    """A drawing as data.

    Attributes:
        kind: ``bars`` (of ``values`` by ``names``), ``line`` (one through ``x`` and each row of ``rows``,
            by ``names``), ``points`` (``x`` against ``values``) or ``heat`` (``rows`` of numbers, ``names``
            at their left, the first row at the top).
        title: What is drawn.
        x_title: Of the axis from left to right.
        y_title: Of the other.
        names: Of bars, lines or rows.
        x: Places from left to right.
        values: A number a bar or point.
        rows: Numbers of lines or of a table.
        log: Whether the axis from left to right is logarithmic.
    """

    kind: ChartKind
    title: str
    x_title: str = ""
    y_title: str = ""
    names: tuple[str, ...] = ()
    x: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    rows: tuple[tuple[float, ...], ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Finding:
    """What one finder found.

    Attributes:
        name: Of the finder.
        title: As a heading.
        summary: One sentence in plain words.
        values: Numbers by name, as JSON holds them.
        flagged: Images that ``drop`` may leave out, the surest first.
        pairs: Images that belong together, the most alike first.
        pictures: Which images to show.
        charts: Drawings.
        recommendation: What to do about it, in plain words; None: nothing.
        image_scores: (N,) float32, a number for every training image, where there is one.
    """

    name: str
    title: str
    summary: str
    values: Mapping[str, Any] = field(default_factory=dict)
    flagged: tuple[Flag, ...] = ()
    pairs: tuple[Pair, ...] = ()
    pictures: tuple[Picture, ...] = ()
    charts: tuple[Chart, ...] = ()
    recommendation: str | None = None
    image_scores: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", plain(self.values))  # so that one read back compares equal

    def to_json(self) -> dict[str, Any]:
        """All but ``image_scores``, as JSON holds it."""
        facts = {name: getattr(self, name) for name in _FIELDS}
        return {**facts, **{name: [_record(each) for each in facts[name]] for name in _RECORDS}}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], image_scores: Tensor | None = None) -> "Finding":
        """The inverse of :meth:`to_json`.

        Raises:
            TypeError: A value is of another type than its field.
        """
        return replace(typed(_Stored, facts).finding(), image_scores=image_scores)


@dataclass(frozen=True)
class _Stored:
    """The fields of a finding that JSON holds."""

    name: str
    title: str
    summary: str
    values: Mapping[str, Any]
    flagged: tuple[Flag, ...]
    pairs: tuple[Pair, ...]
    pictures: tuple[Picture, ...]
    charts: tuple[Chart, ...]
    recommendation: str | None

    def finding(self) -> Finding:
        return Finding(**vars(self))


_FIELDS = tuple(_Stored.__dataclass_fields__)
_RECORDS = ("flagged", "pairs", "pictures", "charts")


def _record(each: Any) -> dict[str, Any]:
    """A record without fields that are as they usually are: thousands of them stay short."""
    return {
        name: plain(
            [_record(row) for row in value] if name == "rows" and isinstance(each, Picture) else value
        )
        for name, field_ in each.__dataclass_fields__.items()
        if (value := getattr(each, name)) != field_.default
    }
