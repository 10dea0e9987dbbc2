"""Experts that a run trains for itself where no folder of experts is given: how many, and how."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from pydistill import checks
from pydistill.options import parse_options


@dataclass(frozen=True)
class OwnExperts:
    """A run's own experts, written as a short text: ``count=2,epochs=3,snapshots=8,rate=0.05``.

    Attributes:
        count: Experts.
        epochs: Of each; more where small data leave few snapshots an epoch or a segment is long.
        snapshots: An epoch, fewer where its steps are few.
        rate: Learning rate.
        momentum: Of gradient descent.

    Raises:
        ValueError: A number is out of range.
    """

    count: int = 1
    epochs: int = 3
    snapshots: int = 4
    rate: float = 0.01
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("count", "epochs", "snapshots"):
            checks.integer(f"own_experts: {name}", getattr(self, name), 1)
        checks.number("own_experts: rate", self.rate, above=0)
        checks.number("own_experts: momentum", self.momentum, low=0, below=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``option=value,...``; what is left out has its default.

        Raises:
            ValueError: An option is unknown, given twice, no number, or out of range.
        """
        kinds: dict[str, type] = {f.name: type(f.default) for f in dataclasses.fields(cls)}
        found: dict[str, Any] = {}
        for name, value in parse_options("own_experts", text, kinds).items():
            try:
                found[name] = kinds[name](value)
            except ValueError:
                kind = "an integer" if kinds[name] is int else "a number"
                raise ValueError(f"own_experts: {name} must be {kind}, got {value!r}") from None
        return cls(**found)
