"""How large a distilled set may be: images a class, images in all, a share of the data, or bytes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias, get_args

from pydistill import checks

Kind: TypeAlias = Literal["ipc", "images", "fraction", "nbytes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OPTIONS: Mapping[Kind, str] = {
    "ipc": "--ipc N (images a class)",
    "images": "--images N (in all)",
    "fraction": "--fraction 1% (of the training images)",
    "nbytes": "--bytes 300kB",
}
"""What a budget is called on the command line."""

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_BYTES = re.compile(r"([0-9][0-9_.]*)\s*([kmg]i?)?b?", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """One of four ways to say how many images are stored.

    Attributes:
        kind: ``ipc``: images of each class; ``images``: images in all; ``fraction``: of the training
            images, within (0, 1]; ``nbytes``: of images and targets as they are stored.
        value: How many.

    Raises:
        TypeError: The value is no number, or no integer where one is needed.
        ValueError: It is out of range, or the kind is unknown.
    """

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        checks.choice("a budget's kind", self.kind, KINDS)
        if self.kind == "fraction":
            checks.number("fraction", self.value, above=0)
            if self.value > 1:
                raise ValueError(f"fraction must be at most 1 (100 %), got {self.value}")
        else:
            checks.integer(self.kind, self.value, 1)

    @classmethod
    def of(
        cls,
        *,
        ipc: int | None = None,
        images: int | None = None,
        fraction: float | str | None = None,
        nbytes: int | str | None = None,
    ) -> Self:
        """From the one that is given.

        Args:
            ipc: Images a class.
            images: Images in all.
            fraction: Of the training images: a number up to 1, or a text such as ``1%``.
            nbytes: Bytes: a number, or a text such as ``300kB`` or ``2 MiB``.

        Raises:
            TypeError: None is given, or one is of the wrong type.
            ValueError: Several are given, or one is out of range or cannot be read.
        """
        given: dict[Kind, float] = {}
        if ipc is not None:
            given["ipc"] = ipc
        if images is not None:
            given["images"] = images
        if fraction is not None:
            given["fraction"] = _share(fraction) if isinstance(fraction, str) else fraction
        if nbytes is not None:
            given["nbytes"] = _size(nbytes) if isinstance(nbytes, str) else nbytes
        if not given:
            raise TypeError(f"a budget is needed, one of {', '.join(KINDS)}")
        if len(given) > 1:
            several = " and ".join(f"{name} = {value}" for name, value in given.items())
            raise ValueError(f"one budget is needed, found {several}: give one of them")
        ((kind, value),) = given.items()
        return cls(kind, value)

    def record(self) -> dict[str, float]:
        """As JSON holds it: ``{"ipc": 10}``."""
        return {self.kind: self.value}

    def total(self, available: int, image_bytes: int) -> int:
        """Stored images in all, where the budget is not by class.

        Args:
            available: Training images.
            image_bytes: Bytes that a stored image takes with its target.

        Raises:
            ValueError: It comes to no image.
        """
        found = int(self.value)
        if self.kind == "fraction":
            found = round(self.value * available)
        elif self.kind == "nbytes":
            found = int(self.value) // image_bytes
        if found < 1:
            least = f"{100 / available:.3g} %" if self.kind == "fraction" else f"{image_bytes:,} bytes"
            raise ValueError(f"{self} comes to no image: one image needs {least}")
        return found

    def by_group(self, sizes: Sequence[int], image_bytes: int) -> list[int]:
        """Stored images of each group: equally many, what is left over one each to the first groups.

        Args:
            sizes: Training images of each group.
            image_bytes: Bytes that a stored image takes with its target.

        Raises:
            ValueError: There are fewer images than groups.
        """
        if self.kind == "ipc":
            return [int(self.value)] * len(sizes)
        total, groups = self.total(sum(sizes), image_bytes), len(sizes)
        if total < groups:
            raise ValueError(
                f"{self} comes to {total} images, fewer than the {groups} classes: ask for at least "
                f"{groups} images"
            )
        each, over = divmod(total, groups)
        return [each + (at < over) for at in range(groups)]

    def __str__(self) -> str:
        if self.kind == "fraction":
            return f"a fraction of {100 * self.value:.4g} %"
        what = {"ipc": "images a class", "images": "images", "nbytes": "bytes"}[self.kind]
        return f"a budget of {int(self.value):,} {what}"


def _share(text: str) -> float:
    """``1%``, ``0.5 %`` or ``0.01``."""
    plain = text.strip()
    try:
        return float(plain.removesuffix("%")) / 100 if plain.endswith("%") else float(plain)
    except ValueError:
        raise ValueError(f"fraction must be a share such as 1% or 0.01, got {text!r}") from None


def _size(text: str) -> int:
    """``300kB``, ``2 MiB`` or ``4096``: k, M and G are thousands, Ki, Mi and Gi 1,024s."""
    match = _BYTES.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        return int(float(match[1]) * _UNITS[(match[2] or "").lower()])
    except ValueError:
        raise ValueError(f"bytes must be a size such as 300kB or 2MiB, got {text!r}") from None
