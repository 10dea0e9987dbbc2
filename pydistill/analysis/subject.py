"""What finders look at: the training and validation images of a data set, what is known of them, a seed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pydistill import seeds
from pydistill.analysis.neighbours import thumbnails
from pydistill.data.real import RealData, Split
from pydistill.events import Event, Progress
from pydistill.scores.store import Scores
from pydistill.tasks import Task


@dataclass(frozen=True, eq=False)
class Subject:
    """A data set as finders see it. Test images are not for them but through :meth:`across_splits`.

    Attributes:
        scores: What is known of the training images; None: nothing.
        seed: Every draw derives from it.
        device: Where networks and batches may live.
        on_event: Told of progress.
    """

    _data: RealData = field(repr=False)
    scores: Scores | None
    seed: int
    device: torch.device
    on_event: Callable[[Event], None] | None = None

    @property
    def task(self) -> Task:
        """What a target is."""
        return self._data.task

    @property
    def name(self) -> str:
        """What the data is called."""
        return self._data.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided in reading the data."""
        return self._data.notes

    @property
    def train(self) -> Split:
        """The images to distil."""
        return self._data.train

    @property
    def validation(self) -> Split:
        """Held out of the training images."""
        return self._data.validation

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of an image in pixels."""
        return self._data.shape[1:]

    def across_splits(self) -> dict[str, Split]:
        """All splits, the test images too: for the report of duplicates across splits alone."""
        return {"train": self._data.train, "validation": self._data.validation, "test": self._data.test}

    def data_without_test(self) -> RealData:
        """The data with its validation images in place of the test images, for what takes whole data."""
        return replace(self._data, test=self._data.validation)

    def require_scores(self) -> Scores:
        """The scores.

        Raises:
            ValueError: There are none.
        """
        if self.scores is None:
            raise ValueError("expected scores of the data, found none: pass scores=compute_scores(data)")
        return self.scores

    def generator(self, *path: str | int) -> torch.Generator:
        """A CPU generator for one purpose."""
        return seeds.generator(self.seed, "analysis", *path)

    def sample(self, most: int, *path: str | int) -> Tensor:
        """At most ``most`` positions of training images, ascending: all, or that many drawn."""
        count = len(self.train)
        if count <= most:
            return torch.arange(count)
        return torch.randperm(count, generator=self.generator(*path))[:most].sort().values

    @cached_property
    def classes(self) -> Tensor:
        """(N,) int64: the class of each training image; only where each is of one."""
        self.task.require_by_class("the class of an image")
        found = torch.full((len(self.train),), -1)
        for at, member in enumerate(self.task.groups(self.train.targets).members):
            found[member] = at
        return found

    @cached_property
    def embedding(self) -> tuple[str, Tensor]:
        """What it is, and (N, D) float32: features of a trained network where there are scores."""
        if self.scores is not None:
            found = torch.from_numpy(np.array(self.scores.embedding, dtype=np.float32))
            return "features of a trained network", found
        return "principal components of 8x8 thumbnails", thumbnails(self.train.images)

    def tell(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Progress, to whoever listens."""
        if self.on_event is not None:
            self.on_event(Progress(stage, done, total, detail))
