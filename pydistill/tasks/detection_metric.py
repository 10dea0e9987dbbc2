"""Average precision of boxes, as COCO counts it, and what a bootstrap over test images needs.

[0] T.-Y. Lin et al.: Microsoft COCO. ECCV 2014, arXiv:1405.0312; its evaluation code, ``cocoeval.py``.
"""

from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pydistill.extras import need
from pydistill.tasks import centers
from pydistill.tasks.metric import Breakdown, Metric

_Array = NDArray[np.float64]

_OVERLAP = 0.5
"""Intersection over union from which a box is found, in the headline."""
_RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read, as in [0]."""
_SURE = 0.3
"""Score from which a box is counted as an object: what the code of arXiv:1904.07850 shows."""
_SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}
"""Areas of [0] in pixels, of its images."""
_COCO_AREA = 640 * 480
"""About the area of such an image."""
_AT_ONCE = 4_000_000
"""Most numbers of a table in :meth:`AveragePrecision.resampled`."""
_NONE = -1
"""What COCO's code gives where no object is."""


class AveragePrecision(Metric):
    """AP50, AP (the mean over overlaps 0.5, 0.55, ..., 0.95), AP75, AP by size, errors of counts.

    Small, medium and large are those of [0], their areas scaled by the images' area over 640×480.
    ``count_error`` is Σ |t - f| / Σ max(t, f) over the classes, t the objects of an image and f its boxes
    of a score of at least 0.3, averaged over images: 0 where all counts are right, at most 1, lower is
    better. Every other value is a mean over the classes that have objects; NaN where none has.

    Args:
        class_names: One name a class.
    """

    # The values are those of faster-coco-eval, [0]'s code in C++, called directly: MeanAveragePrecision of
    # torchmetrics cannot be made without torchvision, whatever its backend.

    names = ("AP50", "AP", "AP75", "AP_small", "AP_medium", "AP_large", "count_error")

    def __init__(self, class_names: tuple[str, ...]) -> None:
        self.class_names = class_names
        self._area: int | None = None
        self._truth: list[_Array] = []
        self._found: list[_Array] = []

    @property
    def images(self) -> int:
        return len(self._truth)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in N images.

        Args:
            outputs: (N, K + 4, h, w) of a network.
            targets: (N, B, 5) class, x, y, width, height in pixels; class -1 is padding.
        """
        found = centers.decode(outputs.detach(), len(self.class_names))
        self._area = outputs.shape[2] * outputs.shape[3] * centers.STRIDE**2
        rows = torch.cat([found.classes[..., None].float(), found.boxes, found.scores[..., None]], -1)
        for boxes, truth in zip(rows.cpu().double(), targets.detach().cpu().double(), strict=True):
            self._found.append(boxes[boxes[:, 5] > 0].numpy())
            self._truth.append(truth[truth[:, 0] >= 0].numpy())

    def merge(self, other: Self) -> None:
        if other.class_names != self.class_names:
            raise ValueError("expected a metric of the same classes")
        self._area = self._area if other._area is None else other._area
        self._truth += other._truth
        self._found += other._found

    def compute(self) -> dict[str, float]:
        """Every name's value, a fraction in [0, 1]; NaN where no class has objects.

        Raises:
            MissingExtraError: faster-coco-eval is not installed.
        """
        wide = self._coco()
        values = [wide[0, ..., 0], wide[..., 0], wide[5, ..., 0], *np.moveaxis(wide[..., 1:], -1, 0)]
        return dict(zip(self.names, [*map(_mean, values), self._count_error()], strict=True))

    def breakdown(self) -> Breakdown:
        """AP50 of every class, None where it has no objects; ``images`` are those that hold the class."""
        values = self._by_class(torch.ones(1, self.images, dtype=torch.float64))[:, 0].tolist()
        images = [
            sum(bool((truth[:, 0] == index).any()) for truth in self._truth) for index in range(len(values))
        ]
        return Breakdown(tuple(None if value != value else value for value in values), tuple(images))

    def resampled(self, weights: Tensor) -> Tensor:
        """AP50 of weighted images; NaN where no class has objects.

        Boxes are matched image by image, so an image of weight n is as good as n copies of it.

        Raises:
            ValueError: There is not a weight for every image.
        """
        if weights.ndim != 2 or weights.shape[1] != self.images:
            raise ValueError(
                f"expected weights (B, {self.images}), a column an image, found {tuple(weights.shape)}"
            )
        return self._by_class(weights.cpu().double()).nanmean(0)

    def _by_class(self, weights: Tensor) -> Tensor:
        """(K, B) AP50 of each class; NaN where it has no objects."""
        values = []
        for index in range(len(self.class_names)):
            objects = torch.tensor([float((truth[:, 0] == index).sum()) for truth in self._truth]).double()
            image, right = self._matches(index)
            step = max(1, _AT_ONCE // max(1, len(image)))
            parts = [_interpolated(part, objects, image, right) for part in torch.split(weights, step)]
            values.append(torch.cat(parts))
        return torch.stack(values)

    def _coco(self) -> _Array:
        """(10, 101, K, 4): precision by overlap, recall, class and size (all, small, medium, large)."""
        classes = range(len(self.class_names))
        if not self._truth:
            return np.full((10, 101, len(classes), 4), float(_NONE))
        coco = need("faster_coco_eval", "Average precision")
        images = [{"id": image} for image in range(self.images)]
        objects = [
            {
                "id": number,
                "image_id": image,
                "category_id": int(row[0]),
                "bbox": row[1:5].tolist(),
                "area": float(row[3] * row[4]),
                "iscrowd": 0,
            }
            for number, (image, row) in enumerate(_rows(self._truth), 1)
        ]
        boxes = [
            {
                "image_id": image,
                "category_id": int(row[0]),
                "bbox": row[1:5].tolist(),
                "score": float(row[5]),
            }
            for image, row in _rows(self._found)
        ]
        categories = [{"id": index, "name": str(index)} for index in classes]
        truth = coco.COCO({"images": images, "annotations": objects, "categories": categories})
        scale = (self._area or 0) / _COCO_AREA
        sizes = {name: [low * scale, high * scale] for name, (low, high) in _SIZES.items()}
        run = coco.COCOeval_faster(truth, truth.loadRes(boxes), "bbox", ranges=sizes)
        run.evaluate()
        run.accumulate()
        precision: _Array = run.eval["precision"][..., -1]
        return precision

    def _count_error(self) -> float:
        """The mean over images; NaN without images."""
        errors = []
        for truth, found in zip(self._truth, self._found, strict=True):
            true, said = (
                np.bincount(rows[:, 0].astype(int), minlength=len(self.class_names))
                for rows in (truth, found[found[:, 5] >= _SURE])
            )
            errors.append(np.abs(true - said).sum() / max(np.maximum(true, said).sum(), 1))
        return float(np.mean(errors)) if errors else float("nan")

    def _matches(self, index: int) -> tuple[Tensor, Tensor]:
        """Boxes of a class over all images by falling score: (D,) their image, (D,) bool: whether right."""
        image, scores, right = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.bool_)]
        for at, (truth, found) in enumerate(zip(self._truth, self._found, strict=True)):
            boxes = found[found[:, 0] == index]
            boxes = boxes[np.argsort(-boxes[:, 5], kind="stable")]
            image.append(np.full(len(boxes), at))
            scores.append(boxes[:, 5])
            right.append(matched(boxes[:, 1:5], truth[truth[:, 0] == index, 1:], _OVERLAP))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        every, each = np.concatenate(image)[order], np.concatenate(right)[order]
        return torch.from_numpy(every), torch.from_numpy(each)


def overlaps(boxes: _Array, others: _Array) -> _Array:
    """(D, O) intersection over union of boxes (D, 4) and (O, 4), x, y, width, height each."""
    ends, other_ends = boxes[:, None, :2] + boxes[:, None, 2:], others[None, :, :2] + others[None, :, 2:]
    sides = np.minimum(ends, other_ends) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    shared = sides.clip(min=0).prod(-1)
    union = boxes[:, None, 2:].prod(-1) + others[None, :, 2:].prod(-1) - shared
    ratio: _Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratio


def matched(boxes: _Array, truth: _Array, overlap: float) -> NDArray[np.bool_]:
    """Whether each box finds an object that no box before it found.

    A box takes, of the objects that are left, the one it overlaps most, the later of two alike, if that is
    at least ``overlap``.

    Args:
        boxes: (D, 4) x, y, width, height of one class in one image, by falling score.
        truth: (O, 4) of the same class and image.
        overlap: Least intersection over union.
    """
    found = np.zeros(len(boxes), bool)
    ratios = overlaps(boxes, truth)
    for at in np.flatnonzero((ratios >= overlap).any(1)):
        best = ratios.shape[1] - 1 - int(ratios[at, ::-1].argmax())
        if ratios[at, best] >= overlap:
            found[at] = True
            ratios[:, best] = -1
    return found


def _rows(images: list[_Array]) -> list[tuple[int, _Array]]:
    """Every row with the number of its image."""
    return [(at, row) for at, rows in enumerate(images) for row in rows]


def _mean(values: _Array) -> float:
    """Over what is there; NaN where nothing is."""
    there = values[values > _NONE]
    return float(there.mean()) if there.size else float("nan")


def _interpolated(times: Tensor, objects: Tensor, image: Tensor, right: Tensor) -> Tensor:
    """(B,) average precision over 101 recalls; NaN where there are no objects.

    Args:
        times: (B, N) how often each image counts.
        objects: (N,) objects of the class in each image.
        image: (D,) the image of every box, by falling score.
        right: (D,) whether it found an object.
    """
    every = times @ objects
    if not len(image):
        return torch.where(every > 0, 0.0, torch.nan)
    seen = times[:, image]
    hits = (seen * right).cumsum(1)
    precision = hits / seen.cumsum(1).clamp_min(torch.finfo(hits.dtype).tiny)
    best = precision.flip(1).cummax(1).values.flip(1)
    recall = hits / every[:, None]
    at = torch.searchsorted(recall, torch.from_numpy(_RECALLS).expand(len(recall), -1).contiguous())
    read = F.pad(best, (0, 1)).gather(1, at)  # the last column: a recall that is never reached
    return torch.where(every > 0, read.mean(1), torch.nan)
