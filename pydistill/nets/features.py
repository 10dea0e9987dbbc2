"""Which features of a network are compared: a short text that names layers, with weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pydistill.errors import did_you_mean

POOLED = ".pooled"


@dataclass(frozen=True)
class Layer:
    """One place in a network where features are compared.

    Attributes:
        name: What it is called in messages and measurements, for example ``block2.pooled``.
        block: Position among the outputs of ``network(images, "blocks")``.
        pooled: Whether maps (M, C, h, w) are averaged over space to (M, C) first.
        weight: Factor of its part of the loss.
    """

    name: str
    block: int
    pooled: bool = False
    weight: float = 1.0

    def of(self, blocks: Sequence[Tensor]) -> Tensor:
        """The features: a block's maps (M, C, h, w), or (M, C) where they are pooled."""
        maps = blocks[self.block]
        return maps.mean((2, 3)) if self.pooled and maps.ndim == 4 else maps


def parse_layers(text: str, names: Sequence[str]) -> tuple[Layer, ...]:
    """Layers named in a text such as ``embedding``, ``blocks`` or ``block1:0.5,block3.pooled``.

    ``embedding`` is the last block, ``blocks`` every one. ``NAME.pooled`` averages its maps over space,
    ``NAME:W`` weighs its part of the loss by W.

    Args:
        text: Names, separated by commas.
        names: The network's block names, input side first.

    Raises:
        ValueError: A name is unknown (those there are are listed), a weight is no number above 0, or a
            layer is named twice.
    """
    found: list[Layer] = []
    for part in (piece.strip() for piece in text.split(",")):
        name, colon, weight = part.partition(":")
        pooled = name.endswith(POOLED)
        name = name.removesuffix(POOLED)
        places = {"embedding": [len(names) - 1], "blocks": list(range(len(names)))}
        known = {**{each: [at] for at, each in enumerate(names)}, **places}
        if name not in known:
            raise ValueError(
                f"unknown layer {name!r}{did_you_mean(name, known)}; "
                f"this network has: {', '.join(names)}, and embedding (the last), blocks (all of them)"
            )
        factor = _weight(part, weight) if colon else 1.0
        found += [Layer(names[at] + POOLED * pooled, at, pooled, factor) for at in known[name]]
    twice = {layer.name for layer in found if sum(other.name == layer.name for other in found) > 1}
    if twice:
        raise ValueError(f"each layer may be named once, got {', '.join(sorted(twice))} twice in {text!r}")
    return tuple(found)


def _weight(part: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not 0 < weight < float("inf"):
        raise ValueError(f"a layer's weight must be a number above 0, got {part!r}")
    return weight
