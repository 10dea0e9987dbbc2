"""What a training loop of one's own needs of a set: its loss, its augmentation, its optimiser's settings.

Targets that are values to regress look like any (N, K) tensor, and a cross-entropy takes them without a
word and learns nothing from them. Such targets come as :class:`Values`, which losses for classes refuse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.augment import Augmentation
from pydistill.data.formation import repeat_targets
from pydistill.tasks import parse_loss
from pydistill.tasks.losses import TaskLoss

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData
    from pydistill.tasks import Task

USUAL: Mapping[str, float] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
"""Settings of ``torch.optim.SGD`` for a set that learned no rate: those of the protocol ``quick``."""

_MEND = (
    "these targets are values to regress, not classes or probabilities: train with "
    "small.loss(outputs, targets), or take small.with_classes(), whose targets are classes"
)

_REFUSING = frozenset(
    {
        F.cross_entropy,
        F.nll_loss,
        F.kl_div,
        F.binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
        F.multi_margin_loss,
        F.multilabel_margin_loss,
        F.multilabel_soft_margin_loss,
    }
)
"""Losses for classes and probabilities."""

_KEEPING = frozenset(
    {
        torch.stack,
        torch.cat,
        torch.repeat_interleave,
        torch.index_select,
        Tensor.__getitem__,
        Tensor.to,
        Tensor.cpu,
        Tensor.cuda,
        Tensor.float,
        Tensor.clone,
        Tensor.detach,
        Tensor.contiguous,
        Tensor.pin_memory,
        Tensor.repeat_interleave,
        Tensor.index_select,
        Tensor.unbind,
        Tensor.split,
        Tensor.chunk,
    }
)
"""What gives the same values, chosen, put together or elsewhere; all else gives plain tensors."""


class Values(Tensor):
    """Targets that are values to regress by the squared error; losses for classes refuse them."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, refuse it, or keep the mark; see :data:`_REFUSING` and :data:`_KEEPING`."""
        if func in _REFUSING:
            raise TypeError(f"{func.__name__}: {_MEND}")
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        return _marked(result) if func in _KEEPING else result


def _marked(result: Any) -> Any:
    if isinstance(result, tuple | list):
        return type(result)(map(_marked, result))
    return result.as_subclass(Values) if isinstance(result, Tensor) else result


@dataclass(frozen=True)
class SetAugmentation:
    """A set's augmentation, ready for batches.

    Attributes:
        transforms: What is drawn and applied.
        task: Knows how targets follow.
    """

    transforms: Augmentation
    task: "Task"

    @overload
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor: ...

    @overload
    def __call__(
        self, images: Tensor, generator: torch.Generator, targets: Tensor
    ) -> tuple[Tensor, Tensor]: ...

    def __call__(
        self, images: Tensor, generator: torch.Generator, targets: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """A batch (N, C, H, W) of network input, augmented as evaluation does it.

        Args:
            images: The batch.
            generator: Where every draw comes from; on the CPU.
            targets: (N, ...) of the batch, to be given back beside the images, moved as they are.

        Raises:
            TypeError: Targets of the task move with the images, and none were given.
        """
        if targets is None and not self.task.by_class:
            kind = self.task.target_names["hard"]
            raise TypeError(f"{kind} move with their images: call it with (images, generator, targets)")
        if not self.transforms.transforms:
            return images if targets is None else (images, targets)
        size = (images.shape[2], images.shape[3])
        drawn = self.transforms.sample(len(images), generator, together=True, size=size)
        if targets is None:
            return self.transforms.apply_images(images, drawn)
        return self.transforms.apply(images, targets, drawn, self.task)

    def __str__(self) -> str:
        return str(self.transforms)


def augmentation(text: str, task: "Task") -> SetAugmentation:
    """Of a description that :meth:`pydistill.augment.Augmentation.parse` takes."""
    return SetAugmentation(Augmentation.parse(text), task)


def loss(
    distilled: "DistilledData", outputs: Tensor, targets: Tensor, weights: Tensor | None = None
) -> Tensor:
    """See :meth:`DistilledData.loss`."""
    kind, wanted = distilled.label_kind, distilled.task.outputs
    if weights is not None:
        if weights.shape != (len(targets),):
            raise ValueError(
                f"expected weights ({len(targets)},), one a target, found {tuple(weights.shape)}"
            )
        weights = weights.to(outputs.device)
    if not distilled.task.by_class:
        return TaskLoss().of(distilled.task, outputs, targets.to(outputs.device), weights=weights)
    if outputs.ndim != 2 or outputs.shape != (len(targets), wanted):
        raise ValueError(
            f"expected outputs ({len(targets)}, {wanted}), a row a target and a column a class, "
            f"found {tuple(outputs.shape)}"
        )
    floating = distilled.task.soft(targets)
    if kind == "values" and not floating:
        raise TypeError(
            "this set is trained on by the squared error, with its own values as targets; found classes: "
            "take the set's items, or small.with_classes()"
        )
    if kind != "values" and isinstance(targets, Values):
        raise TypeError(_MEND)
    if floating and targets.shape != outputs.shape:
        raise ValueError(f"expected targets {tuple(outputs.shape)}, found {tuple(targets.shape)}")
    plain = targets.as_subclass(Tensor) if isinstance(targets, Values) else targets
    own = parse_loss(distilled.recipe.loss)
    return own.of(distilled.task, outputs, plain.to(outputs.device), weights=weights)


def targets_for(distilled: "DistilledData", name: str) -> Tensor:
    """See :meth:`DistilledData.targets_for`."""
    own = repeat_targets(distilled.targets, distilled.factor)
    if name == "cross_entropy":
        classes = repeat_targets(distilled.classes, distilled.factor)
        return classes if distilled.label_kind == "values" else own
    if name == "squared":
        return distilled.regressed()
    raise ValueError(f"targets are for cross_entropy or squared, got {name!r}")


def optimiser_settings(distilled: "DistilledData") -> dict[str, float]:
    """See :meth:`DistilledData.optimiser_settings`."""
    rate = USUAL["lr"] if distilled.learning_rate is None else distilled.learning_rate
    return {**USUAL, "lr": rate}
