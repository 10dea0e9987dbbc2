"""What a discrepancy is: a distance between distributions of features, known by samples, class by class.

Features come in two forms. Sets are (G, N, D): N images of each of G groups (classes). Means are (G, D):
what an additive discrepancy needs, so that a batch of any size streams through a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill.nets.features import Layer

State = dict[str, Any]
"""What a discrepancy learns: a plain tree of tensors and numbers; empty for most."""


@dataclass(frozen=True)
class Discrepancy(ABC):
    """A distance between the features of real and of synthetic images.

    Class attributes:
        additive: Whether group means of :meth:`represent` are all it looks at: means come in, else sets.
        renewed: Whether what it learns starts anew with every network.
    """

    additive: ClassVar[bool] = False
    renewed: ClassVar[bool] = False

    def represent(self, features: Tensor) -> Tensor:
        """What is compared of each image: (M, C, h, w) or (M, D) to (M, D'); flattened by default."""
        return features.flatten(1)

    def start(self, real: Tensor, generator: torch.Generator) -> State:
        """What it has learned before the first step, for features like ``real``."""
        return {}

    def prepare(self, real: Tensor, state: State) -> None:  # noqa: B027 (most need nothing)
        """Once an outer iteration: keep in ``state`` what follows from its real features alone."""

    def learn(  # noqa: B027 (most learn nothing)
        self, synthetic: Tensor, real: Tensor, state: State, generator: torch.Generator
    ) -> None:
        """Improve ``state`` in place before the images move; features come without a graph."""

    @property
    def least_images(self) -> int:
        """How many images of a class it needs, real and synthetic, where it looks at sets."""
        return 1

    def told_sizes(  # noqa: B027 (most need nothing)
        self, synthetic: Sequence[int], real: Sequence[int], state: State
    ) -> None:
        """Keep what follows from how many images each group has: its set is filled up by repeating them.

        Called before :meth:`loss`, where it looks at sets.
        """

    @abstractmethod
    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        """The distance, summed over groups: a scalar, differentiable in ``synthetic``.

        Args:
            synthetic: (G, n, D) sets, or (G, D) means where additive.
            real: (G, N, D) sets, or (G, D) means; no gradient goes to them.
            state: What it has learned.
            progress: The share of the run that is done, from 0 to 1.
        """


@dataclass(frozen=True)
class Term:
    """One discrepancy at one layer.

    Attributes:
        name: What its part of the loss is called.
        layer: Where.
        discrepancy: What.
    """

    name: str
    layer: Layer
    discrepancy: Discrepancy


def rounding(sets: Tensor) -> Tensor:
    """(G,): below it a mean squared difference of features in sets (G, N, D) may be rounding alone."""
    wide = sets.detach()
    return wide.square().mean((1, 2)) * (8 * torch.finfo(wide.dtype).eps) ** 2


def as_sets(features: Tensor, groups: Tensor, count: int) -> Tensor:
    """Features (M, D) with a group each, as sets (G, N, D).

    N is the size of the largest group; a smaller group's images are repeated in turn until it is full, so
    that every image of a group counts alike, to within one repetition.

    Raises:
        ValueError: A group has no image.
    """
    sizes = torch.bincount(groups, minlength=count)
    if int(sizes.min()) == 0:
        raise ValueError(
            f"expected images of each of the {count} groups, found none of {int(sizes.argmin())}"
        )
    order = groups.argsort(stable=True)
    starts = sizes.cumsum(0) - sizes
    turns = torch.arange(int(sizes.max()), device=groups.device)
    picked = order[starts[:, None] + turns % sizes[:, None]]
    here = torch.arange(len(features), device=features.device)
    if torch.equal(picked.flatten(), here):  # in order already: no copy
        return features.reshape(count, -1, features.shape[1])
    return features[picked]
