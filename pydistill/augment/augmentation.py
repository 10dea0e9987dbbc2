"""Differentiable siamese augmentation: which transforms, how they are drawn, how they are applied.

[0] B. Zhao, H. Bilen: Dataset Condensation with Differentiable Siamese Augmentation. ICML 2021,
    arXiv:2102.08259. Strengths are those of its code. One draw serves real and synthetic images.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from pydistill.augment.movement import ParameterMovement
from pydistill.augment.parameters import Parameters
from pydistill.augment.transforms import TRANSFORMS
from pydistill.errors import did_you_mean
from pydistill.ops import _siamese_plain as plain
from pydistill.ops._library import runs_operator
from pydistill.ops.siamese_augment import DTYPES, siamese_augment
from pydistill.tasks import Task

Mode: TypeAlias = Literal["single", "all"]

_IDENTITY = torch.tensor(Parameters.IDENTITY)


@dataclass(frozen=True)
class Augmentation:
    """A set of transforms and how they are chosen.

    Attributes:
        transforms: Names out of color, crop, cutout, flip, scale, rotate, in that order, each at most
            once; none: images stay as they are.
        mode: ``single``: one transform, chosen at random, is applied, as in [0]; ``all``: every one, in
            order.
    """

    transforms: tuple[str, ...]
    mode: Mode = "single"

    def __post_init__(self) -> None:
        """Check names, order and mode.

        Raises:
            ValueError: A transform or the mode is unknown, or transforms are repeated or out of order.
        """
        for name in self.transforms:
            if name not in TRANSFORMS:
                hint = did_you_mean(name, TRANSFORMS)
                raise ValueError(f"unknown transform {name!r}{hint}; known: {', '.join(TRANSFORMS)}, none")
        ordered = tuple(name for name in TRANSFORMS if name in self.transforms)
        if self.transforms != ordered:
            raise ValueError(
                f"transforms must be given once each and in the order {', '.join(ordered)}; "
                f"found {', '.join(self.transforms)}"
            )
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; found {self.mode!r}")

    @classmethod
    def parse(cls, text: str, mode: Mode = "single") -> "Augmentation":
        """Names joined by ``_`` in any order, or ``none``; ``:mode=all`` behind them overrides ``mode``.

        Raises:
            ValueError: A transform or an option is unknown, or a transform is repeated.
        """
        names, _, option = text.strip().partition(":")
        if option and not option.startswith("mode="):
            raise ValueError(f"expected mode=single or mode=all behind the colon, found {option!r}")
        chosen = () if names in ("none", "") else tuple(names.split("_"))
        known = [name for name in TRANSFORMS if name in chosen]
        rest = [name for name in chosen if name not in TRANSFORMS]
        repeated = [name for name in known if chosen.count(name) > 1]
        if repeated:
            raise ValueError(f"{', '.join(repeated)} is given more than once in {text!r}")
        given = option.removeprefix("mode=") if option else mode
        return cls((*known, *rest), given)  # type: ignore[arg-type]  # checked on construction

    def __str__(self) -> str:
        """The text that :meth:`parse` turns into this."""
        names = "_".join(self.transforms) or "none"
        return names if self.mode == "single" else f"{names}:mode={self.mode}"

    def sample(
        self, rows: int, generator: torch.Generator, *, together: bool, size: tuple[int, int]
    ) -> Parameters:
        """Draw parameters for ``rows`` groups of images.

        Every transform's strengths are drawn whether or not it is chosen, so that a row's strengths do
        not depend on the choice.

        Args:
            rows: G, how many rows.
            generator: Where every draw comes from.
            together: In single mode, whether one transform is chosen for all rows, as the code of [0] does
                for a training batch, or each row has its own choice. Strengths differ from row to row.
            size: (H, W) of the images.

        Raises:
            ValueError: ``rows`` is negative or ``size`` is not two positive integers.
        """
        if rows < 0:
            raise ValueError(f"rows must be at least 0, found {rows}")
        values = Parameters.identity(rows, (size[0], size[1])).values
        if self.transforms:
            count = 1 if together else rows
            choice = torch.randint(
                len(self.transforms), (count,), generator=generator, device=generator.device
            ).cpu()
            for index, name in enumerate(self.transforms):
                active = (choice == index) | (self.mode == "all")
                for column, drawn in TRANSFORMS[name].draw(rows, generator, size).items():
                    place = Parameters.COLUMNS.index(column)
                    values[:, place] = torch.where(active, drawn.cpu(), values[:, place])
        return Parameters(values, (size[0], size[1]))

    def apply(
        self, images: Tensor, targets: Tensor, parameters: Parameters, task: Task
    ) -> tuple[Tensor, Tensor]:
        """Transform images, and let targets follow: masks by nearest neighbour, boxes by their corners.

        Args:
            images: As :meth:`apply_images` takes them.
            targets: (N, ...) of the images, as the task has them.
            parameters: N rows, one an image.
            task: Knows how its targets move.

        Returns:
            What :meth:`apply_images` gives, and targets of the same shape.

        Raises:
            TypeError, ValueError: As :meth:`apply_images`; or there is not one target an image.
        """
        moved = self.apply_images(images, parameters)
        if len(targets) != len(images):
            raise ValueError(f"expected one target an image, found {len(images)} and {len(targets)}")
        return moved, task.move(targets, ParameterMovement(parameters))

    def apply_images(self, images: Tensor, parameters: Parameters) -> Tensor:
        """Transform images; twice differentiable (and more often) in the images, not in the parameters.

        An image whose row has no transform active comes out bit for bit as it went in. Images of half
        precision are blended in float32. Runs :func:`pydistill.ops.siamese_augment` where there is a kernel
        for the images' device and dtype, else the transforms one by one in plain torch.

        Args:
            images: (N, C, H, W), floating point; channels_last stays channels_last.
            parameters: N rows, one an image; see :meth:`Parameters.rows`.

        Returns:
            (N, C, H, W) of the dtype and device of ``images``.

        Raises:
            TypeError: The images are not floating point.
            ValueError: The number of rows or the images' size is not that of the parameters.
        """
        _check(images, parameters)
        if (parameters.values == _IDENTITY).all():
            return images
        if runs_operator(images) and images.dtype in DTYPES:
            return siamese_augment(images, parameters.values)
        return plain.apply(images, parameters.values)


def _check(images: Tensor, parameters: Parameters) -> None:
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point, found {images.dtype}; preprocess them first")
    if images.ndim != 4 or len(images) != len(parameters):
        raise ValueError(
            f"images must be (N, C, H, W) with a row of parameters each, found {tuple(images.shape)} and "
            f"{len(parameters)} rows; repeat the rows of groups by Parameters.rows"
        )
    if tuple(images.shape[2:]) != parameters.size:
        raise ValueError(
            f"the parameters were drawn for images of {parameters.size[0]}x{parameters.size[1]} pixels, "
            f"found {images.shape[2]}x{images.shape[3]}"
        )
