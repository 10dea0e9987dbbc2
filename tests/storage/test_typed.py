"""Records become dataclasses only where every value is of its field's type."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from pydistill.storage.typed import typed


@dataclass(frozen=True)
class Leaf:
    count: int
    share: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Tree:
    name: str
    leaves: tuple[Leaf, ...]
    by_name: Mapping[str, Leaf]
    free: Mapping[str, Any]
    note: str | None = None
    shown: bool = False
    extra: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


RECORD = {
    "name": "oak",
    "leaves": [{"count": 1, "share": 0.5, "kind": "b"}],
    "by_name": {"one": {"count": 2, "share": 1}},
    "free": {"any": [1, {"x": None}]},
    "extra": {"rates": [1, 0.5]},
}


def test_every_kind_of_value_is_taken_as_its_field_declares() -> None:
    assert typed(Tree, RECORD) == Tree(
        "oak",
        (Leaf(1, 0.5, "b"),),
        {"one": Leaf(2, 1)},
        {"any": [1, {"x": None}]},
        extra={"rates": (1, 0.5)},
    )
    assert math.isnan(typed(Leaf, {"count": 1, "share": None}).share)
    assert typed(Tree, RECORD | {"note": "x"}).note == "x"
    assert typed(Tree, RECORD | {"note": None}).note is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"leaves": "text"},
        {"leaves": [{"count": "<script>", "share": 0.5}]},
        {"leaves": [{"count": True, "share": 0.5}]},
        {"leaves": [{"count": 1, "share": "0.5"}]},
        {"leaves": [{"count": 1, "share": 0.5, "kind": "c"}]},
        {"leaves": [{"count": 1, "share": 0.5, "more": 1}]},
        {"leaves": [{"count": 1}]},
        {"leaves": [3]},
        {"by_name": []},
        {"by_name": {"one": None}},
        {"note": 3},
        {"shown": 1},
        {"extra": {"rates": ["x"]}},
        {"unknown": 1},
    ],
)
def test_values_of_other_types_are_refused(change: dict) -> None:
    with pytest.raises(TypeError):
        typed(Tree, RECORD | change)
