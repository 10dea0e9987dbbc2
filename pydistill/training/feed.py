"""What a training step is fed: batches of one job, or of several, their augmentation, drawn or stored."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pydistill import seeds
from pydistill.augment import Augmentation, Parameters
from pydistill.data.recipe import StoredAugmentations
from pydistill.tasks import Task
from pydistill.training.descent import Batch
from pydistill.training.jobs import Training, TrainingJob
from pydistill.training.mixing import DrawnMixing, parse_mixing

State = dict[str, Any]

Fed: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Images, their targets and, where there are any, their weights."""


class Feed:
    """Endless batches of jobs that are trained together, augmented.

    Every job has its own order of images, augmentation and mixing, drawn one after the other from its own
    generators: where those stand is a state, so that a training can be taken up in the middle.

    Args:
        jobs: Of equally many images, and with the same augmentation.
        task: What targets are.
        training: Batch size and mixing; a set that is no larger than a batch is taken whole.
        device: Where networks are.
        stacked: Whether batches have a leading axis of jobs; without it there is one job.

    Raises:
        ValueError: Stored augmentations are of another number of images than the set.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        task: Task,
        training: Training,
        device: torch.device,
        *,
        stacked: bool,
    ) -> None:
        self._jobs, self._stacked = jobs, stacked
        self._orders = [Order(len(job.samples), training.batch_size, job.seed) for job in jobs]
        self._drawn = DrawnAugmentation(jobs, task)
        mixing = parse_mixing(training.mix)
        self._mixed = None if mixing is None else DrawnMixing(mixing, [job.seed for job in jobs], task)
        stored = jobs[0].augmentations
        self._stored = None if stored is None else StoredAugmentation(jobs[0], stored, device)
        self._whole: Fed | None = None
        self._epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next()

    def next(self) -> Batch:
        """The next batch."""
        picked = [next(order) for order in self._orders]
        indices, ends = tuple(each for each, _ in picked), picked[0][1]
        images, targets, weights = self._taken(indices)
        if self._stacked:
            flat = None if weights is None else weights.flatten()
            moved, followed, weighed = self._changed(
                images.flatten(0, 1), targets.flatten(0, 1), flat, indices
            )
            images = moved.view(images.shape)
            targets = followed.view(len(images), -1, *followed.shape[1:])
            weights = None if weighed is None else weighed.view(len(images), -1)
        else:
            images, targets, weights = self._changed(images, targets, weights, indices)
        self._epoch += ends
        return Batch(images, targets, indices, ends, weights)

    def _changed(
        self, images: Tensor, targets: Tensor, weights: Tensor | None, indices: Sequence[Tensor | None]
    ) -> Fed:
        """Augmented and mixed."""
        if self._stored is not None:
            images, targets = self._stored.apply(images, indices[0], self._epoch)
        else:
            images, targets = self._drawn.apply(images, targets)
        if self._mixed is None:
            return images, targets, weights
        return self._mixed.apply(images, targets, weights)

    def state(self) -> State:
        """Where all draws stand."""
        return {
            "epoch": self._epoch,
            "orders": [order.state() for order in self._orders],
            "augmentation": self._drawn.state(),
            "mixing": [] if self._mixed is None else self._mixed.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._epoch = state["epoch"]
        for order, own in zip(self._orders, state["orders"], strict=True):
            order.restore(own)
        self._drawn.restore(state["augmentation"])
        if self._mixed is not None:
            self._mixed.restore(state["mixing"])

    def _taken(self, indices: Sequence[Tensor | None]) -> Fed:
        if not self._stacked:
            return _of(self._jobs[0], indices[0])
        if indices[0] is not None:
            return self._stack(indices)
        if self._whole is None:  # whole sets are stacked once
            self._whole = self._stack(indices)
        return self._whole

    def _stack(self, indices: Sequence[Tensor | None]) -> Fed:
        every = [_of(job, each) for job, each in zip(self._jobs, indices, strict=True)]
        weights = [weighed for _, _, weighed in every if weighed is not None]  # of all jobs or of none
        return (
            torch.stack([images for images, _, _ in every]),
            torch.stack([targets for _, targets, _ in every]),
            torch.stack(weights) if weights else None,
        )


def _of(job: TrainingJob, indices: Tensor | None) -> Fed:
    return *job.samples.batch(indices), job.samples.weights(indices)


class Order:
    """In which order images come: each pass has one of its own; a set that fits into a batch is whole.

    Args:
        total: Images.
        batch_size: Images a step; the last one of a pass may have fewer.
        seed: What the orders derive from.
    """

    def __init__(self, total: int, batch_size: int, seed: int) -> None:
        self._total, self._batch = total, batch_size
        self._generator = seeds.generator(seed, "order of images")
        self._begun = self._generator.get_state()
        self._order: Tensor | None = None
        self._at = 0

    def __iter__(self) -> "Order":
        return self

    def __next__(self) -> tuple[Tensor | None, bool]:
        """(positions or None for all in their order, whether they end a pass)."""
        if self._total <= self._batch:
            return None, True
        if self._order is None:
            self._begun = self._generator.get_state()
            self._order, self._at = torch.randperm(self._total, generator=self._generator), 0
        picked = self._order[self._at : self._at + self._batch]
        self._at += self._batch
        ends = self._at >= self._total
        if ends:
            self._order = None
        return picked, ends

    def state(self) -> State:
        """The generator before the pass at hand, and how many of its images were given."""
        if self._order is None:
            return {"generator": self._generator.get_state(), "given": 0}
        return {"generator": self._begun, "given": self._at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self._generator.set_state(state["generator"].cpu())
        self._order, self._at = None, 0
        for _ in range(-(-state["given"] // self._batch)):
            next(self)


class DrawnAugmentation:
    """The jobs' augmentation: each job draws for its own images, from its own generator."""

    def __init__(self, jobs: Sequence[TrainingJob], task: Task) -> None:
        self._augmentation, self._task = Augmentation.parse(jobs[0].augment), task
        self._generators = [seeds.generator(job.seed, "augmentation") for job in jobs]

    def apply(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(E * M, C, H, W) and targets (E * M, ...), the first M of the first job, and so on."""
        return augmented(self._augmentation, images, targets, self._generators, self._task)

    def state(self) -> list[Tensor]:
        """Where the generators stand; nothing where nothing is drawn from them."""
        if not self._augmentation.transforms:
            return []
        return [generator.get_state() for generator in self._generators]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from a :meth:`state`."""
        for generator, own in zip(self._generators, state, strict=bool(state)):
            generator.set_state(own.cpu())


class StoredAugmentation:
    """Stored augmentations of a job in place of drawn ones: one draw an epoch, in turn."""

    def __init__(self, job: TrainingJob, stored: StoredAugmentations, device: torch.device) -> None:
        if stored.targets.shape[1] != len(job.samples):
            raise ValueError(
                f"the stored augmentations are of {stored.targets.shape[1]} images, the set has "
                f"{len(job.samples)}"
            )
        self._augmentation = Augmentation.parse(job.augment)
        self._parameters, self._targets = stored.parameters.cpu(), stored.targets.to(device)

    def apply(self, images: Tensor, indices: Tensor | None, epoch: int) -> tuple[Tensor, Tensor]:
        """Augmented images and their targets."""
        at, size = epoch % len(self._targets), (images.shape[2], images.shape[3])
        values, targets = self._parameters[at], self._targets[at]
        if indices is not None:
            values, targets = values[indices], targets[indices.to(targets.device)]
        return self._augmentation.apply_images(images, Parameters(values, size)), targets


def augmented(
    augmentation: Augmentation,
    images: Tensor,
    targets: Tensor,
    generators: Sequence[torch.Generator],
    task: Task | None,
) -> tuple[Tensor, Tensor]:
    """Images of several jobs (E * M, C, H, W), those of each augmented from its generator.

    Targets follow as the task has it; without one they stay.
    """
    if not augmentation.transforms:
        return images, targets
    each, size = len(images) // len(generators), (images.shape[2], images.shape[3])
    drawn = [
        augmentation.sample(each, generator, together=True, size=size).values for generator in generators
    ]
    parameters = Parameters(torch.cat(drawn), size)
    if task is None:
        return augmentation.apply_images(images, parameters), targets
    return augmentation.apply(images, targets, parameters, task)
