"""A real data set, ready to distil: splits, task, preprocessing, fingerprint."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pydistill.data import told
from pydistill.data.preprocess import Preprocess
from pydistill.shown import printable
from pydistill.storage.digests import add_tensor
from pydistill.tasks import Task


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their targets.

    Attributes:
        images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; never preprocessed.
        targets: (N, ...) as the task defines them.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return told.split_line(self)

    def take(self, indices: Tensor) -> "Split":
        """The images at ``indices`` (M,) int64, copied."""
        return Split(self.images[indices], self.targets[indices])


@dataclass(frozen=True, eq=False)
class RealData:
    """What methods learn from and evaluation scores on.

    ``validation`` is taken from the training images, from a seed and stratified, unless the source has
    one of its own; ``test`` is read by :func:`pydistill.evaluate` alone.

    Attributes:
        name: What the user called it.
        task: What a target is, its loss and metric.
        train: The images to distil.
        validation: Held out of the training images, for choices.
        test: Scored once.
        preprocess: Pixels to network input, fitted on ``train`` alone.
        horizontal_flip: Whether a mirrored image keeps its class (False for digits): augmentation flips
            only then.
        fingerprint: Hexadecimal SHA-256 of every split's pixels and targets; results carry it.
        notes: What was understood and decided in reading it, one sentence each: where each split comes
            from, classes, size, whether images are mirrored and why, what was left out, mapped or scaled.
        dropped: What ``drop`` left out: the fingerprint of the data with it, how many images, counts by
            reason; empty: nothing. ``fingerprint`` is of what is left.
    """

    name: str
    task: Task
    train: Split
    validation: Split
    test: Split
    preprocess: Preprocess
    horizontal_flip: bool
    fingerprint: str
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return told.real_line(self)

    def _repr_html_(self) -> str:
        return told.real_html(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def augment(self) -> str:
        """The augmentation to train with by default: what suits the task, flips where targets allow."""
        parts = (part for part in self.task.augment if self.horizontal_flip or part != "flip")
        return "_".join(parts)

    def summary(self) -> str:
        """What was understood of the source, in a few lines: :attr:`notes` under the name."""
        total = len(self.train) + len(self.validation) + len(self.test)
        head = f"{self.name}: {total:,} images in {len(self.task.class_names)} classes"
        return "\n".join(map(printable, [head, *(f"  {note}" for note in self.notes)]))

    def inputs(
        self,
        split: Split,
        indices: Tensor | slice,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Preprocessed images as networks take them: (M, C, H, W), channels_last, on ``device``."""
        pixels = split.images[indices].to(device, non_blocking=True)
        return self.preprocess.apply(pixels).to(dtype, memory_format=torch.channels_last)


def fingerprint(**splits: Split) -> str:
    """Hexadecimal SHA-256 over the name, type, shape and bytes of every split's images and targets."""
    digest = hashlib.sha256()
    for name, split in sorted(splits.items()):
        for part, tensor in (("images", split.images), ("targets", split.targets)):
            add_tensor(digest, f"{name}.{part}", tensor)
    return digest.hexdigest()
