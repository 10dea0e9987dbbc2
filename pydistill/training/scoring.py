"""Scoring a trained network on a whole split."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pydistill.data.real import RealData, Split
from pydistill.tasks import Task
from pydistill.tasks.base import chunks

_BATCH = {"cpu": 128, "cuda": 2048}
"""Images a forward pass; bounds memory, changes no prediction beyond rounding."""


@dataclass(frozen=True)
class Scored:
    """A network's answers on a split.

    Attributes:
        value: The task's metric, a fraction in [0, 1].
        counts: What the task's breakdown by class needs, to be added up over networks; None: there is none.
    """

    value: float
    counts: Tensor | None


def score(
    network: nn.Module,
    data: RealData,
    split: Split,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_batch: int | None = None,
) -> float:
    """The task's metric, a fraction in [0, 1], over all images of ``split``, each read once.

    The network is put into evaluation mode for it and left as it was found.
    """
    return assess(network, data, split, device, dtype, max_batch).value


@torch.no_grad()
def assess(
    network: nn.Module,
    data: RealData,
    split: Split,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_batch: int | None = None,
) -> Scored:
    """:func:`score`, and the answers class by class."""
    where = torch.device(device)
    largest = max_batch or _BATCH.get(where.type, 256)
    training = network.training
    network.eval()
    accumulator = ScoreAccumulator(data.task)
    try:
        for part in chunks(len(split), largest):
            accumulator.add(network(data.inputs(split, part, where, dtype)), split.targets[part].to(where))
    finally:
        network.train(training)
    return accumulator.done()


class ScoreAccumulator:
    """The metric and the answers class by class, added up over batches."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._scores: list[Tensor] = []
        self._counts: Tensor | None = None

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch's outputs (N, ...) and targets (N, ...)."""
        self._scores.append(self._task.score(outputs, targets).cpu())
        counts = self._task.counts(outputs, targets)
        if counts is not None:
            self._counts = counts.cpu() if self._counts is None else self._counts + counts.cpu()

    def done(self) -> Scored:
        """What was found over all batches."""
        return Scored(self._task.value(torch.stack(self._scores).sum(0)), self._counts)
