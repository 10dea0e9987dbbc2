"""How a distilled set came to be: the record that travels with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from pydistill.data.equality import ByContent

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None


@dataclass(frozen=True, eq=False)
class Provenance(ByContent):
    """How a distilled set came to be.

    Attributes:
        method: Name of the method.
        config: Its options; what JSON can hold (tuples become lists).
        ipc: Stored images a class, of the class that has most; 0 where an image is of no one class.
        seed: What every random draw derived from.
        data: Name of the real data.
        fingerprint: Of the real data, see :class:`~pydistill.data.real.RealData`.
        versions: Of pydistill, torch and Python.
        seconds: Wall time of distilling.
        steps: Iterations.
        preset: The named configuration, where one was asked for.
        clamp: Whether learned images were kept within the range of pixels.
        short_classes: Training images of every class that has fewer than the budget asks for, by name.
        relabelled: How a network gave the targets afterwards, where one did: kind, teacher and a digest of
            its weights, temperature; draws and their seed.
        part_of: Stored images of the set that this is a part of; None: it is whole.
        exported: What was lost where the images were read from exported pictures, see
            :class:`~pydistill.data.folder_export.Loss`; None: they are exact.
        dropped: What was left out of the real data before: the fingerprint of the data with it, how many
            images, counts by reason; empty: nothing.
        budget: What was asked for, such as ``{"ipc": 10}`` or ``{"nbytes": 300000}``; empty: ``ipc``.
    """

    method: str
    config: Mapping[str, JSON]
    ipc: int
    seed: int
    data: str
    fingerprint: str
    versions: Mapping[str, str]
    seconds: float
    steps: int
    preset: str | None = None
    clamp: bool = False
    short_classes: Mapping[str, int] = field(default_factory=dict)
    relabelled: Mapping[str, JSON] | None = None
    part_of: int | None = None
    exported: Mapping[str, JSON] | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    dropped: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(dict(self.config), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"config must hold what JSON can hold: {error}") from error
        object.__setattr__(self, "config", plain)  # so that a set read back from disk compares equal
