"""What readers of masks and boxes have in common: images with their targets, a split each."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.boxes import Boxes
from pydistill.data.sources.masks import Masks
from pydistill.tasks import Task


@dataclass(frozen=True, eq=False)
class Dense:
    """Splits of images with masks or boxes.

    Attributes:
        task: What a target is.
        splits: Images and targets.
        named: Whether the class names are the source's own.
        notes: What was decided, a sentence each.
    """

    task: Task
    splits: dict[str, Split]
    named: bool
    notes: tuple[str, ...]


def dense_splits(images: Mapping[str, Tensor], found: Masks | Boxes, notes: tuple[str, ...]) -> Dense:
    """Images beside the targets of those splits that have some."""
    splits = {split: Split(images[split], targets) for split, targets in found.targets.items()}
    return Dense(found.task, splits, found.named, (*notes, *found.notes))
