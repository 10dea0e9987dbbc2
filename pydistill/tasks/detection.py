"""Object detection: boxes of classes in an image, CenterNet's losses, average precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill.errors import DataError
from pydistill.tasks import centers
from pydistill.tasks.base import Groups, Kind, Movement, Task
from pydistill.tasks.detection_metric import AveragePrecision
from pydistill.tasks.masks import palette

TOLERANCE = 1.0
"""Pixels by which a box may stick out of its image: annotations count pixels from 0 or from 1."""
_TINY, _SAME_BOX = 1e-6, 0.95
"""Pixels that no side is shorter than in a ratio; overlap from which two boxes of a class are one."""
_LEAST_LEFT = 0.4
"""Share of a moved box that must be within the image for its object to stay."""
_THICK = 256
"""Pixels of an image's shorter side from which boxes are drawn two pixels wide."""


@dataclass(frozen=True)
class Detection(Task):
    """Targets are (N, B, 5) float32: class, x, y, width, height of at most B boxes an image.

    x, y is the upper left corner in pixels from that of the image. Class -1 is padding, in any row; what
    else stands there is ignored. An image may be without objects. There are hard targets only.

    A network answers on cells of 4×4 pixels: outputs, losses and decoding are those of
    :mod:`pydistill.tasks.centers`.
    """

    name: ClassVar[str] = "detection"
    metric: ClassVar[str] = "AP50"
    network: ClassVar[str] = "centernet"
    augment: ClassVar[tuple[str, ...]] = ("color", "crop", "flip", "scale")
    by_class: ClassVar[bool] = False
    unit: ClassVar[str] = "object"
    target_names: ClassVar[Mapping[Kind, str]] = MappingProxyType({"hard": "boxes"})
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"quick": {"optimiser": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 8}}
    )

    @property
    def outputs(self) -> int:
        """K + 4: a logit a class, width, height and two offsets."""
        return len(self.class_names) + centers.REGRESSED

    def check(self, images: Tensor, targets: Tensor, where: str) -> None:
        """Refuse what are no boxes in these images.

        A box may stick out of its image by one pixel, since annotations are rounded and some count pixels
        from 1, but must overlap it.

        Raises:
            DataError: The shape or dtype is another, or a box has numbers that are not finite, an unknown
                class, no area, or lies outside; image and box are named, counted from 0.
        """
        if targets.ndim != 3 or targets.shape[-1] != 5 or targets.dtype != torch.float32:
            raise DataError(
                f"{where}: expected (N, B, 5) float32 boxes (class, x, y, width, height; class -1 for "
                f"padding), found {tuple(targets.shape)} {targets.dtype}"
            )
        if len(images) != len(targets):
            raise DataError(f"{where}: {len(images)} images but boxes of {len(targets)}")
        kind, x, y, width, height = targets.unbind(-1)
        rows, columns, known = images.shape[2], images.shape[3], len(self.class_names)
        classes = f"the {known} classes are numbered 0 to {known - 1}, and -1 is padding"
        size, right, bottom = f"{columns}x{rows} pixels", x + width, y + height
        beyond = torch.stack([-x, -y, right - columns, bottom - rows]).amax(0) > TOLERANCE
        apart = (right <= 0) | (bottom <= 0) | (x >= columns) | (y >= rows)
        real = kind != centers.PADDING
        for wrong, found, mend in (
            (~targets.isfinite().all(-1), "has numbers that are not finite", "drop it"),
            ((kind != kind.round()) | (kind < -1) | (kind >= known), "is of an unknown class", classes),
            (real & ~((width > 0) & (height > 0) & (width * height > 0)), "has no area", "drop it"),
            (real & apart, "does not overlap its image", f"which has {size}: drop it"),
            (real & beyond, "sticks out of its image", f"which has {size}, by more than a pixel: clip it"),
        ):
            self._refuse(targets, wrong, where, found, mend)

    def _refuse(self, targets: Tensor, wrong: Tensor, where: str, found: str, mend: str) -> None:
        if not bool(wrong.any()):
            return
        first, *others = torch.nonzero(wrong).tolist()
        row = ", ".join(f"{value:g}" for value in targets[first[0], first[1]].tolist())
        more = f" ({len(others)} more are like it)" if others else ""
        raise DataError(f"{where}: box {first[1]} of image {first[0]} {found}, ({row}){more}: {mend}")

    def check_outputs(self, outputs: Tensor, images: Tensor) -> None:
        """(N, K + 4, ceil(H / 4), ceil(W / 4))."""
        rows, columns = centers.grid(images.shape[2], images.shape[3])
        expected = (len(images), self.outputs, rows, columns)
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if found != expected:
            raise ValueError(
                f"expected outputs {expected} of the network, {len(self.class_names)} classes and "
                f"{centers.REGRESSED} numbers of a box on cells of {centers.STRIDE}x{centers.STRIDE} "
                f"pixels, found {found}"
            )

    def groups(self, targets: Tensor) -> Groups:
        """The images that hold each class; one without objects is in none."""
        held = self._held(targets).any(1)
        return Groups(self.class_names, tuple(torch.nonzero(each).flatten() for each in held.unbind(1)))

    def amounts(self, targets: Tensor) -> Tensor:
        """(N, K) int64 objects of each class."""
        return self._held(targets).sum(1)

    def shapes(self, targets: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        real = targets[..., 0] != centers.PADDING
        kind, x, y, width, height = targets.unbind(-1)
        overlap = _overlaps(targets[..., 1:], real).amax(2) if targets.shape[1] else kind
        return {
            "class": kind[real].long(),
            "side": (width * height)[real].clamp_min(0).sqrt(),
            "aspect": (width / height.clamp_min(_TINY))[real],
            "x": ((x + width / 2) / size[1])[real],
            "y": ((y + height / 2) / size[0])[real],
            "overlap": overlap[real],
        }

    def doubtful(self, targets: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Images with boxes without area, boxes that leave the image, the same box twice, or no object."""
        real = targets[..., 0] != centers.PADDING
        _, x, y, width, height = targets.unbind(-1)
        beyond = torch.stack([-x, -y, x + width - size[1], y + height - size[0]]).amax(0) > TOLERANCE
        twice = torch.zeros(len(targets), dtype=torch.bool)
        if targets.shape[1]:
            same = targets[:, :, None, 0] == targets[:, None, :, 0]
            twice = ((_overlaps(targets[..., 1:], real) > _SAME_BOX) & same).flatten(1).any(1)
        return {
            "box without area": (real & ~((width > 0) & (height > 0))).any(1),
            "box out of the image": (real & beyond).any(1),
            "the same box twice": twice,
            "no object": ~real.any(1),
        }

    def _held(self, targets: Tensor) -> Tensor:
        """(N, B, K) bool: the class of each row; nothing of padding."""
        return targets[..., :1] == torch.arange(len(self.class_names), device=targets.device)

    def group_sums(
        self, features: Tensor, targets: Tensor, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sums over the boxes of each class of a box's mean feature; what is in no box is left out.

        The mean is over the box's area, features taken to be constant within a cell of their grid, so that
        a box smaller than a cell has that cell's. Features without a grid are shared out evenly among the
        classes that an image holds.

        Args:
            features: (N, D, h, w), or (N, D).
            targets: (N, B, 5).
            size: (H, W) of the images in pixels, for maps.

        Raises:
            ValueError: Features have a grid and ``size`` is not given.
        """
        wide = features if features.dtype == torch.float64 else features.float()
        held = self._held(targets).to(wide.dtype)
        if wide.ndim != 4:
            share = held.amax(1)
            share = share / share.sum(1, keepdim=True).clamp_min(1)
            return share.T @ wide.flatten(1), share.sum(0)
        if size is None:
            raise ValueError(
                "detection pools maps by boxes in pixels: pass size=(H, W) of the images that they are of"
            )
        means = box_means(wide, targets[..., 1:].to(wide.dtype), size)
        return torch.einsum("nbk,ndb->kd", held, means), held.sum((0, 1))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.losses(outputs, targets).mean()

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :func:`pydistill.tasks.centers.losses`."""
        return centers.losses(outputs, targets, len(self.class_names))

    def loss_name(self, kind: str = "task") -> str:
        return "CenterNet loss" if kind == "task" else super().loss_name(kind)

    def soft(self, targets: Tensor) -> bool:
        return False

    def hard(self, targets: Tensor) -> Tensor:
        return targets

    def make_metric(self) -> AveragePrecision:
        return AveragePrecision(self.class_names)

    def move(self, targets: Tensor, movement: Movement) -> Tensor:
        """Boxes moved and clipped; padding where less than 40 % of one is left in the image, or no area."""
        boxes, left = movement.boxes(targets[..., 1:])
        stays = (targets[..., 0] >= 0) & (left >= _LEAST_LEFT) & (boxes[..., 2:].prod(-1) > 0)
        moved = torch.cat([targets[..., :1], boxes.to(targets.dtype)], -1)
        return torch.where(stays[..., None], moved, _padding(targets))

    def pack(self, targets: Tensor, factor: int) -> Tensor:
        if factor != 1:
            raise ValueError(
                f"images with boxes cannot be packed, found a factor of {factor}: use a factor of 1"
            )
        return targets

    def annotations(
        self, targets: Tensor, files: Sequence[str], size: tuple[int, int]
    ) -> dict[str, Tensor | dict[str, Any]]:
        """Boxes as COCO's JSON; ids count from 1."""
        boxes: list[dict[str, Any]] = []
        for image, own in enumerate(targets.tolist(), 1):
            for kind, *box in own:
                if kind >= 0:
                    facts = {"image_id": image, "category_id": int(kind) + 1, "bbox": box, "iscrowd": 0}
                    boxes.append({"id": len(boxes) + 1, **facts, "area": box[2] * box[3]})
        found = {
            "images": [
                {"id": at, "file_name": file, "height": size[0], "width": size[1]}
                for at, file in enumerate(files, 1)
            ],
            "categories": [{"id": at, "name": name} for at, name in enumerate(self.class_names, 1)],
            "annotations": boxes,
        }
        return {"annotations.json": found}

    def picture(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """(N, 3, H, W) with the outlines of boxes in a colour a class; later boxes lie over earlier ones.

        Images of another number of channels than 3 are shown grey, by their mean.
        """
        shown = pixels if pixels.shape[1] == 3 else pixels.mean(1, keepdim=True).expand(-1, 3, -1, -1)
        rows, columns = pixels.shape[2:]
        thick = 2 if min(rows, columns) >= _THICK else 1
        colours = palette(len(self.class_names)).to(pixels)
        limits = torch.tensor([columns, rows], device=targets.device)
        first = targets[..., 1:3].round().clamp(torch.zeros_like(limits), limits - 1)
        last = torch.maximum((targets[..., 1:3] + targets[..., 3:]).round(), first + 1).minimum(limits)
        for at in range(targets.shape[1]):
            low, high = first[:, at], last[:, at]
            drawn = _filled(low, high, rows, columns) & ~_filled(low + thick, high - thick, rows, columns)
            drawn &= (targets[:, at, 0] >= 0)[:, None, None]
            paint = colours[targets[:, at, 0].long().clamp_min(0)]
            shown = torch.where(drawn[:, None], paint[:, :, None, None], shown)
        return shown


def _overlaps(boxes: Tensor, real: Tensor) -> Tensor:
    """(N, B, B) intersection over union of boxes (N, B, 4) of an image; 0 with itself and with padding."""
    low, high = boxes[..., :2], boxes[..., :2] + boxes[..., 2:]
    first = torch.maximum(low[:, :, None], low[:, None])
    last = torch.minimum(high[:, :, None], high[:, None])
    shared = (last - first).clamp_min(0).prod(-1)
    area = boxes[..., 2:].prod(-1)
    union = area[:, :, None] + area[:, None] - shared
    found = torch.where(union > 0, shared / union.clamp_min(_TINY), 0)
    apart = ~torch.eye(boxes.shape[1], dtype=torch.bool)
    return found * (real[:, :, None] & real[:, None] & apart)


def box_means(features: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, D, B) mean of features (N, D, h, w) over boxes (N, B, 4) in images of ``size`` (H, W) pixels."""
    across = _shares(boxes[..., 0], boxes[..., 2], size[1], features.shape[3])
    down = _shares(boxes[..., 1], boxes[..., 3], size[0], features.shape[2])
    strips = features @ across.transpose(1, 2)[:, None]
    return (strips * down.transpose(1, 2)[:, None]).sum(2)


def _shares(start: Tensor, length: Tensor, pixels: int, cells: int) -> Tensor:
    """(N, B, cells): which share of a stretch along one side, within the image, lies in each cell."""
    edges = torch.arange(cells + 1, device=start.device, dtype=start.dtype) * (pixels / cells)
    low, high = start[..., None], (start + length)[..., None]
    inside = (torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])).clamp_min(0)
    return inside / inside.sum(-1, keepdim=True).clamp_min(torch.finfo(start.dtype).tiny)


def _filled(low: Tensor, high: Tensor, rows: int, columns: int) -> Tensor:
    """(N, H, W) bool: pixels from ``low`` to below ``high``, (N, 2) x, y each."""
    across, down = (torch.arange(side, device=low.device) for side in (columns, rows))
    wide = (across >= low[:, :1]) & (across < high[:, :1])
    tall = (down >= low[:, 1:]) & (down < high[:, 1:])
    return tall[:, :, None] & wide[:, None]


def _padding(targets: Tensor) -> Tensor:
    """(5,) a row without an object."""
    row = targets.new_zeros(5)
    row[0] = centers.PADDING
    return row
