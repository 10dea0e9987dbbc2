"""Image classification: one class an image, cross-entropy, accuracy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.errors import DataError
from pydistill.tasks.base import Groups, Kind, Task, require_soft
from pydistill.tasks.label_doubts import LabelDoubts, label_doubts
from pydistill.tasks.metric import RESAMPLES, Breakdown, Metric

_SURE = 0.9
"""Probability of its own class that a learned label starts from."""
_LEAST = 1e-7
"""Probability that is told from none."""


@dataclass(frozen=True)
class Classification(Task):
    """Targets are (N,) int64 class indices (hard) or (N, K) probabilities (soft)."""

    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"
    network: ClassVar[str] = "convnet"
    target_names: ClassVar[Mapping[Kind, str]] = MappingProxyType(
        {"hard": "classes", "soft": "probabilities", "values": "values"}
    )
    measures: ClassVar[tuple[str, ...]] = ("loss", "probability", "error", "margin", "entropy", "correct")

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

    def group_sums(
        self, features: Tensor, targets: Tensor, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class sums of flattened features; a soft target shares an image out among the classes."""
        wide = features.flatten(1)
        wide = wide if wide.dtype == torch.float64 else wide.float()
        share = F.one_hot(targets, self.outputs) if targets.ndim == 1 else targets
        share = share.to(wide.dtype)
        return share.T @ wide, share.sum(0)

    def check_soft(self, images: Tensor, targets: Tensor) -> None:
        """(N, K) float32, finite."""
        require_soft(targets, (len(images), self.outputs))

    def column(self, kind: Kind) -> str:
        return "label" if kind == "hard" else "target"

    def columns(self, targets: Tensor, hard: Tensor) -> dict[str, Tensor]:
        return {"label": hard} | ({"target": targets} if self.soft(targets) else {})

    def check_outputs(self, outputs: Tensor, images: Tensor) -> None:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if found != (len(images), self.outputs):
            raise ValueError(
                f"expected outputs ({len(images)}, {self.outputs}) of the network, one for each class, "
                f"found {found}"
            )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Of outputs (N, K) and classes (N,), with p the softmax of the outputs z and y the class.

        ``loss``; ``probability``: p_y; ``error``: the length of p - y; ``margin``: z_y less the largest
        other output; ``entropy`` of p in nats; ``correct``: 1 where z_y is the largest, else 0.
        """
        own = targets[:, None]
        said = torch.log_softmax(outputs, 1)
        probabilities = said.exp()
        margin = outputs.gather(1, own).squeeze(1)
        if self.outputs > 1:
            margin = margin - outputs.scatter(1, own, -math.inf).amax(1)
        return {
            "loss": -said.gather(1, own).squeeze(1),
            "probability": probabilities.gather(1, own).squeeze(1),
            "error": torch.linalg.vector_norm(
                probabilities - F.one_hot(targets, self.outputs).to(probabilities.dtype), dim=1
            ),
            "margin": margin,
            "entropy": -(probabilities * said).sum(1),
            "correct": (predicted(outputs) == targets).to(outputs.dtype),
        }

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

    def outputs_of(self, residuals: Tensor, targets: Tensor) -> Tensor:
        """Logarithms of p, of residuals p - y; what rounding makes less than 1e-7 is that."""
        share = targets if self.soft(targets) else F.one_hot(targets, self.outputs)
        return (residuals + share.to(residuals.dtype)).clamp(min=_LEAST).log()

    def target_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.probabilities(outputs).gather(1, targets[:, None]).squeeze(1)

    def divergence(self, outputs: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        said = torch.log_softmax(outputs / temperature, 1)
        return (torch.xlogy(targets, targets) - targets * said).sum(1)

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor) -> Tensor:
        """(N, K) of the share's dtype: both images' classes, or what is given as (N, K), by the share."""
        own, other = (
            each if self.soft(each) else F.one_hot(each, self.outputs).to(share.dtype)
            for each in (targets, partners)
        )
        return share[:, None] * own + (1 - share[:, None]) * other

    def values(self, targets: Tensor) -> Tensor:
        """(N, K): one-hot rows of classes, or probabilities, less 1 / K."""
        if targets.is_floating_point():
            return targets - 1 / self.outputs
        return regressed(targets, self.outputs)

    def from_values(self, values: Tensor) -> Tensor:
        return values + 1 / self.outputs

    def label_doubts(self, probabilities: Tensor, targets: Tensor) -> LabelDoubts:
        """By confident learning with a guard, see :func:`pydistill.tasks.label_doubts.label_doubts`."""
        return label_doubts(probabilities, targets)

    def make_metric(self) -> "ClassificationMetric":
        return ClassificationMetric(self)


class ClassificationMetric(Metric):
    """Accuracy: the share of images whose largest output is that of their class.

    A soft target counts as its most probable class. Classes and answers of every image are kept.
    """

    names = ("accuracy",)

    def __init__(self, task: Classification) -> None:
        self._task = task
        self._truth: list[Tensor] = []
        self._predicted: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs (N, K) and targets (N,) or (N, K)."""
        self._truth.append(self._task.hard(targets).cpu())
        self._predicted.append(predicted(outputs).cpu())

    def merge(self, other: Self) -> None:
        if other._task != self._task:
            raise ValueError("expected a metric of the same classes")
        self._truth += other._truth
        self._predicted += other._predicted

    def compute(self) -> dict[str, float]:
        truth, answers = self._all()
        if not len(truth):
            return {"accuracy": float("nan")}
        return {"accuracy": int((answers == truth).sum()) / len(truth)}

    @property
    def images(self) -> int:
        return sum(map(len, self._truth))

    def breakdown(self) -> Breakdown:
        """Accuracies of classes, and (K, K) answers by class; no table where there are too many classes."""
        truth, answers = self._all()
        classes = self._task.outputs
        right = torch.bincount(truth[answers == truth], minlength=classes)
        seen = torch.bincount(truth, minlength=classes)
        table = None
        if classes <= self._task.most_shown:
            counts = torch.bincount(truth * classes + answers, minlength=classes**2)
            table = tuple(tuple(map(int, row)) for row in counts.view(classes, classes).tolist())
        values = (
            one / all_ if all_ else None for one, all_ in zip(right.tolist(), seen.tolist(), strict=True)
        )
        return Breakdown(tuple(values), tuple(seen.tolist()), table)

    def resampled(self, weights: Tensor) -> Tensor:
        truth, answers = self._all()
        return weights.double() @ (answers == truth).double() / weights.double().sum(1)

    def spread(self, generator: torch.Generator, resamples: int = RESAMPLES) -> float:
        """What the bootstrap comes to with many samples: sqrt(p (1 - p) / N), a share p of N right."""
        count, share = self.images, self.value
        return math.sqrt(share * (1 - share) / count) if count > 1 else math.nan

    def _all(self) -> tuple[Tensor, Tensor]:
        none = torch.empty(0, dtype=torch.int64)
        return torch.cat([none, *self._truth]), torch.cat([none, *self._predicted])


def predicted(outputs: Tensor) -> Tensor:
    """(N,) int64: the class whose output is largest, of (N, K)."""
    return outputs.argmax(1)


def regressed(targets: Tensor, classes: int | None = None) -> Tensor:
    """What is regressed for targets: (N,) classes as one-hot rows less 1 / K; (N, K) values as they are."""
    if targets.is_floating_point():
        return targets
    total = int(targets.max()) + 1 if classes is None else classes
    return F.one_hot(targets, total).float() - 1 / total
