"""A real data set, ready to distil: splits, task, preprocessing, fingerprint."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill.data.preprocess import Preprocess
from pydistill.tasks import Task


@dataclass(frozen=True)
class Split:
    """Images and their targets.

    Attributes:
        images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; never preprocessed.
        targets: (N, ...) as the task defines them, int64.
    """

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class RealData:
    """What methods learn from and evaluation scores on.

    ``validation`` is taken from the training images, from a seed and stratified; ``test`` is read by
    :func:`pydistill.evaluate` alone.

    Attributes:
        name: What the user called it.
        task: What a target is, its loss and metric.
        train: The images to distil.
        validation: Held out of the training images, for choices.
        test: Scored once.
        preprocess: Pixels to network input, fitted on ``train`` alone.
        mirror: Whether a mirrored image keeps its class (False for digits): augmentation flips only then.
        fingerprint: Hexadecimal SHA-256 of every split's pixels and targets; results carry it.
    """

    name: str
    task: Task
    train: Split
    validation: Split
    test: Split
    preprocess: Preprocess
    mirror: bool
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

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
