"""What a training step is fed: batches of several jobs, their augmentation, stored views."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pydistill import seeds
from pydistill.augment import Augmentation, Parameters
from pydistill.data.recipe import StoredViews
from pydistill.tasks import Task

if TYPE_CHECKING:
    from pydistill.training.trainer import TrainingJob


class Feed:
    """Batches of several jobs, stacked (E, M, ...); whole sets are stacked once."""

    def __init__(self, members: Sequence["TrainingJob"]) -> None:
        self._members = members
        self._whole: tuple[Tensor, Tensor] | None = None

    def batch(self, indices: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
        if indices[0] is not None:
            return self._stack(indices)
        if self._whole is None:
            self._whole = self._stack(indices)
        return self._whole

    def _stack(self, indices: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
        pairs = [job.samples.batch(each) for job, each in zip(self._members, indices, strict=True)]
        return torch.stack([images for images, _ in pairs]), torch.stack([targets for _, targets in pairs])


class DrawnAugmentation:
    """The jobs' augmentation: each job draws for its own images, from its own generator."""

    def __init__(self, members: Sequence["TrainingJob"], task: Task) -> None:
        self._augmentation, self._task = Augmentation.parse(members[0].augment), task
        self._generators = [seeds.generator(job.seed, "augmentation") for job in members]

    def apply(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(E * M, C, H, W) and targets (E * M, ...), the first M of the first job, and so on."""
        if not self._augmentation.transforms:
            return images, targets
        each, size = len(images) // len(self._generators), (images.shape[2], images.shape[3])
        drawn = [
            self._augmentation.sample(each, generator, together=True, size=size).values
            for generator in self._generators
        ]
        parameters = Parameters(torch.cat(drawn), size)
        return self._augmentation.apply(images, targets, parameters, self._task)


class StoredAugmentation:
    """Stored views of a job in place of drawn ones: one draw an epoch, in turn."""

    def __init__(self, job: "TrainingJob", views: StoredViews, device: torch.device) -> None:
        if views.targets.shape[1] != len(job.samples):
            raise ValueError(
                f"the stored views are of {views.targets.shape[1]} images, the set has {len(job.samples)}"
            )
        self._augmentation = Augmentation.parse(job.augment)
        self._parameters, self._targets = views.parameters.cpu(), views.targets.to(device)

    def apply(self, images: Tensor, indices: Tensor | None, epoch: int) -> tuple[Tensor, Tensor]:
        """Augmented images and their targets."""
        at, size = epoch % len(self._targets), (images.shape[2], images.shape[3])
        values, targets = self._parameters[at], self._targets[at]
        if indices is not None:
            values, targets = values[indices], targets[indices.to(targets.device)]
        return self._augmentation.apply_images(images, Parameters(values, size)), targets
