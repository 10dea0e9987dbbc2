"""Mixed images: a batch of a training is mixed with itself in another order, and its targets are too.

[0] S. Yun et al.: CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features.
    ICCV 2019, arXiv:1905.04899, algorithm A1.
[1] H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018,
    arXiv:1710.09412, equation 1.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import checks, seeds
from pydistill.errors import did_you_mean
from pydistill.options import parse_options
from pydistill.tasks import Task

NONE = "none"


@dataclass(frozen=True)
class Mixing(ABC):
    """How the images of a batch are mixed: one share and one order of partners a batch.

    Attributes:
        alpha: Shares are drawn from the beta distribution of twice this.
        probability: Of mixing a batch at all.

    Raises:
        ValueError: A number is out of range.
    """

    alpha: float = 1.0
    probability: float = 1.0

    name: ClassVar[str]

    def __post_init__(self) -> None:
        checks.number(f"{self.name}: alpha", self.alpha, above=0)
        checks.number(f"{self.name}: probability", self.probability, low=0)
        if self.probability > 1:
            raise ValueError(f"{self.name}: probability must be at most 1, got {self.probability}")

    @abstractmethod
    def images(
        self, images: Tensor, partners: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        """Mixed images (M, C, H, W), and the share of each that is left of it."""

    def apply(
        self,
        images: Tensor,
        targets: Tensor,
        task: Task,
        generator: torch.Generator,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """A batch, mixed; its targets are soft, those of a batch that is left as it is too.

        Args:
            images: (M, C, H, W).
            targets: (M, ...) hard or soft.
            task: Knows what targets of mixed images are.
            generator: Where every draw comes from; on the CPU.
            weights: (M,) of the images, which are mixed by the same share; None: there are none.

        Raises:
            ValueError: The task has no targets of mixed images.
        """
        mixes = bool(torch.rand((), generator=generator) < self.probability)
        both = torch.full((2,), float(self.alpha), dtype=torch.float64)
        share = float(torch._sample_dirichlet(both, generator=generator)[0])
        order = torch.randperm(len(images), generator=generator).to(images.device)
        if mixes:
            images, share = self.images(images, images[order], share, generator)
        else:
            share = 1.0
        shares = torch.full((len(images),), share, dtype=images.dtype, device=images.device)
        if weights is not None:
            weights = share * weights + (1 - share) * weights[order]
        return images, task.mix(targets, targets[order], shares), weights


@dataclass(frozen=True)
class CutMix(Mixing):
    """A window of each image is its partner's, as large as the share says, anywhere ([0])."""

    name: ClassVar[str] = "cutmix"

    def images(
        self, images: Tensor, partners: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        height, width = images.shape[2:]
        half = [math.sqrt(1 - share) * side / 2 for side in (height, width)]
        centre = [int(torch.randint(side, (), generator=generator)) for side in (height, width)]
        (top, bottom), (left, right) = (
            (max(0, round(at - reach)), min(side, round(at + reach)))
            for at, reach, side in zip(centre, half, (height, width), strict=True)
        )
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


@dataclass(frozen=True)
class MixUp(Mixing):
    """Each image and its partner are averaged by the share ([1])."""

    name: ClassVar[str] = "mixup"

    def images(
        self, images: Tensor, partners: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, float]:
        return share * images + (1 - share) * partners, share


_KINDS: dict[str, type[Mixing]] = {kind.name: kind for kind in (CutMix, MixUp)}


def parse_mixing(text: str) -> Mixing | None:
    """``none``, ``cutmix:alpha=1,probability=0.5`` or ``mixup:alpha=0.2``.

    Raises:
        ValueError: The kind or an option is unknown, or a value is no number or out of range.
    """
    name, _, rest = text.strip().partition(":")
    if name == NONE and not rest:
        return None
    if name not in _KINDS:
        hint = did_you_mean(name, (NONE, *_KINDS))
        raise ValueError(f"unknown mixing {text!r}{hint}; known: {', '.join((NONE, *_KINDS))}")
    found: dict[str, float] = {}
    known = [f.name for f in dataclasses.fields(_KINDS[name])]
    for option, value in parse_options(name, rest, known).items():
        try:
            found[option] = float(value)
        except ValueError:
            raise ValueError(f"{name}: {option} must be a number, got {value!r}") from None
    return _KINDS[name](**found)


class DrawnMixing:
    """The mixing of jobs that are trained together: each within its own images, from its own generator.

    Args:
        mixing: How.
        seed_of: A seed a job.
        task: Knows what targets of mixed images are.
    """

    def __init__(self, mixing: Mixing, seed_of: Sequence[int], task: Task) -> None:
        self._mixing, self._task = mixing, task
        self._generators = [seeds.generator(seed, "mixing") for seed in seed_of]

    def apply(
        self, images: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(E * M, C, H, W), targets (E * M, ...) and weights (E * M,), those of the first job first."""
        each = len(images) // len(self._generators)
        parts = []
        for at, generator in enumerate(self._generators):
            own = slice(at * each, (at + 1) * each)
            given = None if weights is None else weights[own]
            parts.append(self._mixing.apply(images[own], targets[own], self._task, generator, given))
        if len(parts) == 1:
            return parts[0]
        mixed, wanted, weighed = zip(*parts, strict=True)
        return torch.cat(mixed), torch.cat(wanted), None if weights is None else torch.cat(weighed)

    def state(self) -> list[Tensor]:
        """Where the generators stand."""
        return [generator.get_state() for generator in self._generators]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from a :meth:`state`."""
        for generator, own in zip(self._generators, state, strict=True):
            generator.set_state(own.cpu())
