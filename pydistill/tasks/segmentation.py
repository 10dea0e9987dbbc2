"""Semantic segmentation: one class a pixel, cross-entropy over labelled pixels, mean IoU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.errors import DataError
from pydistill.tasks.base import Groups, Kind, Movement, Task, require_soft
from pydistill.tasks.masks import VOID, hard_masks, painted, palette, resized, shares
from pydistill.tasks.segmentation_metric import SegmentationMetric

_LISTED = 10
"""Most values without a class that an error lists."""


@dataclass(frozen=True)
class Segmentation(Task):
    """Targets are masks (N, H, W) uint8, of the images' size, or soft masks (N, K, h, w).

    A mask holds class indices, and 255 where a pixel is void: without a label. A soft mask holds
    probabilities in the cells of a grid that may be coarser than the pixels; a void cell holds zeros.
    An image may hold several classes, all of them or none.

    Raises:
        ValueError: There is no class, or there are more than the 255 that a mask can tell apart.
    """

    name: ClassVar[str] = "segmentation"
    metric: ClassVar[str] = "mIoU"
    network: ClassVar[str] = "unet"
    augment: ClassVar[tuple[str, ...]] = ("color", "crop", "flip", "scale", "rotate")
    by_class: ClassVar[bool] = False
    unit: ClassVar[str] = "pixel"
    target_names: ClassVar[Mapping[Kind, str]] = MappingProxyType({"hard": "masks", "soft": "soft masks"})
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"quick": {"optimiser": "adam", "learning_rate": 1e-2, "weight_decay": 0.0, "batch_size": 8}}
    )

    def __post_init__(self) -> None:
        if not 1 <= len(self.class_names) <= VOID:
            raise ValueError(
                f"expected 1 to {VOID} classes, as a mask's values 0 to {VOID - 1}, "
                f"found {len(self.class_names)}"
            )

    @property
    def outputs(self) -> int:
        return len(self.class_names)

    def check(self, images: Tensor, targets: Tensor, where: str) -> None:
        if len(images) != len(targets):
            raise DataError(f"{where}: {len(images)} images but {len(targets)} masks")
        if targets.ndim != 3 or targets.dtype != torch.uint8:
            raise DataError(
                f"{where}: expected masks (N, H, W) uint8, a class index or {VOID} (void) a pixel, "
                f"found {tuple(targets.shape)} {targets.dtype}"
            )
        if targets.shape[1:] != images.shape[2:]:
            raise DataError(
                f"{where}: the masks are {targets.shape[1]}x{targets.shape[2]} pixels (height x width), "
                f"the images {images.shape[2]}x{images.shape[3]}; resize masks by nearest neighbour"
            )
        wrong = (targets >= self.outputs) & (targets != VOID)
        if bool(wrong.any()):
            self._refuse(targets, wrong, where)

    def _refuse(self, targets: Tensor, wrong: Tensor, where: str) -> None:
        image, row, column = (int(at) for at in torch.nonzero(wrong)[0])
        values = [str(value) for value in torch.unique(targets[wrong]).tolist()]
        listed = ", ".join(values[:_LISTED]) + (", ..." if len(values) > _LISTED else "")
        raise DataError(
            f"{where}: the mask of image {image} holds {int(targets[image, row, column])} at row {row}, "
            f"column {column}, but the {self.outputs} classes are numbered 0 to {self.outputs - 1} and "
            f"void is {VOID}; values without a class: {listed}"
        )

    def check_soft(self, images: Tensor, targets: Tensor) -> None:
        """(N, K, h, w) float32, finite, from 0, of the images' size or a whole number of times smaller."""
        height, width = images.shape[2:]
        grid = tuple(targets.shape[2:]) if targets.ndim == 4 else (height, width)
        if min(grid) < 1 or height % grid[0] or width % grid[1]:
            raise ValueError(
                f"expected soft masks of {height}x{width} cells or a whole number of times fewer, found "
                f"{grid[0]}x{grid[1]}"
            )
        require_soft(targets, (len(images), self.outputs, *grid))
        if bool((targets < 0).any()):
            raise ValueError(f"expected soft masks of at least 0, found {float(targets.min()):g}")

    def check_outputs(self, outputs: Tensor, images: Tensor) -> None:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        count, _, height, width = images.shape
        fits = (
            isinstance(outputs, Tensor)
            and outputs.ndim == 4
            and outputs.shape[:2] == (count, self.outputs)
            and min(outputs.shape[2:]) > 0
            and height % outputs.shape[2] == 0
            and width % outputs.shape[3] == 0
        )
        if not fits:
            raise ValueError(
                f"expected outputs ({count}, {self.outputs}, {height}, {width}) of the network, one for "
                f"each class and pixel, or height and width a whole number of times smaller, found {found}"
            )

    def groups(self, targets: Tensor) -> Groups:
        """Images that hold a class in at least one pixel; one that is void all over is in no group."""
        masks = hard_masks(targets).flatten(1)
        return Groups(
            self.class_names,
            tuple(torch.nonzero((masks == index).any(1)).flatten() for index in range(self.outputs)),
        )

    def amounts(self, targets: Tensor) -> Tensor:
        """(N, K) int64 pixels of each class; void ones are of none."""
        masks = hard_masks(targets).flatten(1)
        return torch.stack([(masks == index).sum(1) for index in range(self.outputs)], 1)

    def doubtful(self, targets: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Masks that are void all over, and those of one class alone where most hold several."""
        held = (self.amounts(targets) > 0).sum(1)
        several = len(held) > 0 and float(held.float().median()) > 2
        return {"mask of void alone": held == 0, "mask of one class alone": (held == 1) & several}

    def group_sums(
        self, features: Tensor, targets: Tensor, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sums over images and places of features, each weighted by the classes' shares of its place.

        Features (N, D, h, w) give sums (K, D) of their vectors at the h * w places; the mass of a class is
        the area that it covers, in places. Masks are averaged over the area of each place. Features (N, D)
        are of one place, the whole image. What is void has no weight.

        Raises:
            ValueError: Features are neither (N, D) nor (N, D, h, w).
        """
        if features.ndim not in (2, 4):
            raise ValueError(f"expected features (N, D) or (N, D, h, w), found {tuple(features.shape)}")
        maps = features if features.ndim == 4 else features[:, :, None, None]
        maps = maps if maps.dtype == torch.float64 else maps.float()
        size = (maps.shape[2], maps.shape[3])
        weights = shares(targets, self.outputs, size, maps.dtype).movedim(1, 0).flatten(1)
        return weights @ maps.movedim(1, 3).flatten(0, 2), weights.sum(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of :meth:`losses`: every image counts alike, however many of its pixels are labelled."""
        return self.losses(outputs, targets).mean()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N,) cross-entropy of each image, the mean over its labelled pixels; 0 where there are none.

        Outputs of a coarser grid than the targets' are enlarged bilinearly. Soft masks of a coarser grid
        are compared with outputs averaged over the area of each cell (the outputs, not their
        probabilities): made of a teacher's outputs by the same average, they are met by outputs like the
        teacher's. A cell counts by the sum of its probabilities, so that one which is void in part counts
        for the rest.

        Args:
            outputs: (N, K, H, W), or smaller or larger than the targets' grid.
            targets: (N, H, W) masks or (N, K, h, w) soft masks.
        """
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()
        if self.soft(targets):
            targets = targets.to(outputs.dtype)
            entropy = F.cross_entropy(
                resized(outputs, (targets.shape[2], targets.shape[3])), targets, reduction="none"
            )
            mass = targets.sum((1, 2, 3))
            return entropy.sum((1, 2)) / torch.where(mass > 0, mass, 1)
        entropy = F.cross_entropy(
            resized(outputs, (targets.shape[1], targets.shape[2])),
            targets.long(),
            ignore_index=VOID,
            reduction="none",
        )
        return entropy.sum((1, 2)) / (targets != VOID).sum((1, 2)).clamp_min(1)

    def loss_name(self, kind: str = "task") -> str:
        return "cross-entropy over labelled pixels" if kind == "task" else super().loss_name(kind)

    def soft(self, targets: Tensor) -> bool:
        return targets.is_floating_point()

    def hard(self, targets: Tensor) -> Tensor:
        """(N, h, w) uint8; of soft masks the most probable class of each cell, void where all are 0."""
        return hard_masks(targets)

    def probabilities(self, outputs: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, K, h, w) by the softmax over classes, on the outputs' grid."""
        return torch.softmax(outputs / temperature, 1)

    def target_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N,) mean over labelled pixels of the probability of their class; 0 where there are none."""
        size = (targets.shape[-2], targets.shape[-1])
        given = self.probabilities(resized(outputs, size))
        wanted = shares(targets, self.outputs, size, given.dtype)
        mass = wanted.sum((1, 2, 3))
        return (given * wanted).sum((1, 2, 3)) / torch.where(mass > 0, mass, 1)

    def divergence(self, outputs: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """(N,) mean over cells of soft masks of the divergence of outputs averaged over each.

        As in :meth:`losses` a cell counts by the sum of its probabilities, and void for nothing.
        """
        wide = outputs if outputs.dtype == torch.float64 else outputs.float()
        said = torch.log_softmax(resized(wide / temperature, (targets.shape[2], targets.shape[3])), 1)
        mass = targets.sum(1)
        known = torch.xlogy(targets, targets).sum(1) - torch.xlogy(mass, mass)
        total = (known - (targets * said).sum(1)).sum((1, 2))
        area = mass.sum((1, 2))
        return total / torch.where(area > 0, area, 1)

    def make_metric(self) -> SegmentationMetric:
        return SegmentationMetric(self.outputs, table=self.outputs <= self.most_shown)

    def move(self, targets: Tensor, movement: Movement) -> Tensor:
        """Masks that follow their images; what an image no longer covers is void."""
        return movement.sample(targets, 0 if self.soft(targets) else VOID)

    def pack(self, targets: Tensor, factor: int) -> Tensor:
        """Targets as they are: an image of several parts would need a mask of several parts.

        Raises:
            ValueError: ``factor`` is above 1.
        """
        if factor > 1:
            raise ValueError(f"{self.name} stores one image in one, found factor {factor}; use factor 1")
        return targets

    def annotations(
        self, targets: Tensor, files: Sequence[str], size: tuple[int, int]
    ) -> dict[str, Tensor | dict[str, Any]]:
        """Masks as grey PNG files of the pictures' names, class indices and 255 for void."""
        masks = zip(hard_masks(targets), files, strict=True)
        return {f"masks/{file.rpartition('/')[2]}": mask for mask, file in masks}

    def picture(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """(N, 3, H, W) pixels blended with the colours of their classes; void pixels stay as they are."""
        return painted(pixels, hard_masks(targets), palette(self.outputs))
