"""What readers of masks and boxes have in common: images with their targets, a split each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.boxes import Boxes
from pydistill.data.sources.letterbox import Size
from pydistill.data.sources.mask_classes import Masks
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


def dense_splits(
    images: Mapping[str, Tensor],
    found: Masks | Boxes,
    notes: Sequence[str],
    shapes: Mapping[str, Sequence[Size]],
    size: Size | None,
) -> Dense:
    """Images beside the targets of those splits that have some.

    Args:
        images: Of every split.
        found: Their targets.
        notes: What was decided so far.
        shapes: (height, width) that every image had.
        size: What images were letter-boxed to; None: nothing.
    """
    splits = {split: Split(images[split], targets) for split, targets in found.targets.items()}
    told = [*notes, *found.notes]
    others = sorted({shape for split in splits for shape in shapes[split] if shape != size})
    if size is not None and others:
        least, most = (f"{height} x {width}" for height, width in (others[0], others[-1]))
        told.append(
            f"images of {least if least == most else f'{least} to {most}'} are letter-boxed to {size[0]} x "
            f"{size[1]}: scaled in proportion, in the middle, on black"
        )
    return Dense(found.task, splits, found.named, tuple(told))
