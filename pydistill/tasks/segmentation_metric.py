"""The metric of semantic segmentation: mean intersection over union, and pixel accuracy."""

from typing import Self

import torch
from torch import Tensor

from pydistill.tasks.masks import VOID, hard_masks, resized
from pydistill.tasks.metric import Breakdown, Metric


class SegmentationMetric(Metric):
    """Mean intersection over union of the classes, and the share of labelled pixels that are right.

    Of all images together there is one confusion matrix c, a row a true class, over labelled pixels. Class
    k has IoU_k = c_kk / (sum_j c_kj + sum_j c_jk - c_kk); the headline is the mean over the classes that
    the truth or the answers hold. It is not a mean of values of single images, in which a class that an
    image lacks has no value. Outputs of a coarser grid than the masks' are enlarged bilinearly first; a
    soft mask counts as its most probable class.

    [0] M. Everingham, S. M. A. Eslami, L. Van Gool, C. K. I. Williams, J. Winn, A. Zisserman: The PASCAL
        Visual Object Classes Challenge: A Retrospective. IJCV 111 (2015).

    Args:
        classes: K.
        table: Whether :meth:`breakdown` gives the confusion matrix.
    """

    names = ("mIoU", "pixel accuracy")

    def __init__(self, classes: int, table: bool = True) -> None:
        self._classes = classes
        self._table = table
        self._confusion = torch.zeros(classes, classes, dtype=torch.int64)
        self._parts: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs (N, K, h, w) and masks (N, H, W), or soft ones (N, K, H, W)."""
        classes, count = self._classes, len(targets)
        truth = hard_masks(targets).long()
        answers = resized(outputs, (truth.shape[1], truth.shape[2])).argmax(1)
        labelled = truth != VOID
        pairs = (truth * classes + answers)[labelled]
        self._confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu()
        offset = torch.arange(count, device=truth.device)[:, None, None] * classes

        def counted(index: Tensor, where: Tensor) -> Tensor:
            counts = torch.bincount((offset + index)[where], minlength=count * classes)
            return counts.view(count, classes)

        right = labelled & (truth == answers)
        parts = (counted(truth, right), counted(truth, labelled), counted(answers, labelled))
        self._parts.append(torch.stack(parts, 1).int().cpu())

    def merge(self, other: Self) -> None:
        if other._classes != self._classes:
            raise ValueError(f"expected a metric of {self._classes} classes, found {other._classes}")
        self._confusion = self._confusion + other._confusion
        self._parts = self._parts + other._parts

    def compute(self) -> dict[str, float]:
        """Not a number where no pixel was labelled."""
        right, all_ = int(self._confusion.diagonal().sum()), int(self._confusion.sum())
        mean = _ious(self._totals()).nanmean()
        return dict(zip(self.names, (float(mean), right / all_ if all_ else float("nan")), strict=True))

    @property
    def images(self) -> int:
        return sum(map(len, self._parts))

    @property
    def parts(self) -> Tensor:
        """(N, 3, K) int32 pixels of each image by class: right ones, those of the truth, of the answers."""
        return torch.cat([torch.empty(0, 3, self._classes, dtype=torch.int32), *self._parts])

    def breakdown(self) -> Breakdown:
        """IoU of each class, None where neither truth nor answers hold it.

        ``images`` counts the images that hold the class, ``confusion`` pixels.
        """
        values = _ious(self._totals()).tolist()
        return Breakdown(
            tuple(None if value != value else value for value in values),
            tuple((self.parts[:, 1] > 0).sum(0).tolist()),
            tuple(map(tuple, self._confusion.tolist())) if self._table else None,
        )

    def resampled(self, weights: Tensor) -> Tensor:
        """(B,) mean IoU of the confusion matrices in which image n counts ``weights[b, n]`` times."""
        parts = self.parts.double().flatten(1)
        return _ious((weights.double().cpu() @ parts).view(-1, 3, self._classes)).nanmean(1)

    def _totals(self) -> Tensor:
        """(3, K) float64, exact below 2**53 pixels."""
        table = self._confusion.double()
        return torch.stack([table.diagonal(), table.sum(1), table.sum(0)])


def _ious(parts: Tensor) -> Tensor:
    """(..., K) of (..., 3, K) pixels right, of the truth, of the answers; NaN where there are none."""
    right, truth, answers = parts.unbind(-2)
    return right / (truth + answers - right)
