"""Image classification: one class an image, cross-entropy, accuracy."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.errors import DataError
from pydistill.tasks.base import Breakdown, Groups, Task

_SURE = 0.9
"""Probability of its own class that a learned label starts from."""


@dataclass(frozen=True)
class Classification(Task):
    """Targets are (N,) int64 class indices (hard) or (N, K) probabilities (soft)."""

    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"

    @property
    def outputs(self) -> int:
        return len(self.class_names)

    def check(self, images: Tensor, targets: Tensor, where: str) -> None:
        if len(images) != len(targets):
            raise DataError(f"{where}: {len(images)} images but {len(targets)} labels")
        if targets.ndim != 1 or targets.dtype != torch.int64:
            raise DataError(
                f"{where}: expected (N,) int64 class indices, found {tuple(targets.shape)} {targets.dtype}"
            )
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.outputs:
            raise DataError(
                f"{where}: labels run from {int(targets.min())} to {int(targets.max())}, "
                f"but the {self.outputs} classes are numbered 0 to {self.outputs - 1}"
            )

    def groups(self, targets: Tensor) -> Groups:
        return Groups(
            self.class_names,
            tuple(torch.nonzero(targets == index).flatten() for index in range(self.outputs)),
        )

    def group_sums(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Class sums of flattened features; a soft target shares an image out among the classes."""
        wide = features.flatten(1)
        wide = wide if wide.dtype == torch.float64 else wide.float()
        share = F.one_hot(targets, self.outputs) if targets.ndim == 1 else targets
        share = share.to(wide.dtype)
        return share.T @ wide, share.sum(0)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def loss_name(self, kind: str = "task") -> str:
        return "cross-entropy" if kind == "task" else super().loss_name(kind)

    def soft(self, targets: Tensor) -> bool:
        return targets.is_floating_point()

    def hard(self, targets: Tensor) -> Tensor:
        """(N,) int64; of (N, K) probabilities or values the index of the largest."""
        return targets.argmax(1) if self.soft(targets) else targets

    def probabilities(self, outputs: Tensor, temperature: float = 1.0) -> Tensor:
        """(N, K) by the softmax."""
        return torch.softmax(outputs / temperature, 1)

    def smoothed_logits(self, targets: Tensor) -> Tensor:
        """(N, K) for classes (N,)."""
        hard = F.one_hot(targets, self.outputs).float()
        return (hard * _SURE + (1 - hard) * (1 - _SURE) / (self.outputs - 1)).log()

    def target_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.probabilities(outputs).gather(1, targets[:, None]).squeeze(1)

    def values(self, targets: Tensor) -> Tensor:
        """(N, K): one-hot rows of classes, or probabilities, less 1 / K."""
        if targets.is_floating_point():
            return targets - 1 / self.outputs
        return regressed(targets, self.outputs)

    def from_values(self, values: Tensor) -> Tensor:
        return values + 1 / self.outputs

    def score(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(correct, seen). A soft target counts as its most probable class."""
        truth = targets if targets.ndim == 1 else targets.argmax(1)
        correct = (outputs.argmax(1) == truth).sum()
        return torch.stack([correct, torch.tensor(len(outputs), device=correct.device)]).double()

    def value(self, statistics: Tensor) -> float:
        return float(statistics[0] / statistics[1])

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(K, K) float64 answers by class and by what was predicted; of many classes (2, K): right, all."""
        truth, predicted, classes = self.hard(targets), outputs.argmax(1), self.outputs
        if classes > self.most_shown:
            right = torch.bincount(truth[predicted == truth], minlength=classes)
            return torch.stack([right, torch.bincount(truth, minlength=classes)]).double()
        return (
            torch.bincount(truth * classes + predicted, minlength=classes**2)
            .view(classes, classes)
            .double()
        )

    def breakdown(self, counts: Tensor) -> Breakdown:
        square = len(counts) == self.outputs
        right, seen = (counts.diagonal(), counts.sum(1)) if square else counts.unbind()
        return Breakdown(
            tuple(
                one / all_ if all_ else None
                for one, all_ in zip(right.tolist(), seen.tolist(), strict=True)
            ),
            tuple(map(int, seen.tolist())),
            tuple(tuple(map(int, row)) for row in counts.tolist()) if square else None,
        )


def predicted(outputs: Tensor) -> Tensor:
    """(N,) int64: the class whose output is largest, of (N, K)."""
    return outputs.argmax(1)


def regressed(targets: Tensor, classes: int | None = None) -> Tensor:
    """What is regressed for targets: (N,) classes as one-hot rows less 1 / K; (N, K) values as they are."""
    if targets.is_floating_point():
        return targets
    total = int(targets.max()) + 1 if classes is None else classes
    return F.one_hot(targets, total).float() - 1 / total
