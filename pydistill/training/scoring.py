"""Scoring a trained network on a whole split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from pydistill import seeds
from pydistill.data.real import RealData, Split
from pydistill.tasks import Breakdown, Metric
from pydistill.tasks.base import chunks

_BATCH = {"cpu": 128, "cuda": 2048}
"""Images a forward pass; bounds memory, changes no prediction beyond rounding."""


@dataclass(frozen=True)
class Scored:
    """A network's answers on a split.

    Attributes:
        values: The metric's values by name, the headline first; fractions in [0, 1]. Others that are not
            defined on the split, such as those of small objects where there are none, are left out.
        spread: Standard deviation of the headline over bootstrap samples of the split's images; None
            where there are too few.
        breakdown: The headline class by class; None where the task has none.
    """

    values: Mapping[str, float]
    spread: float | None
    breakdown: Breakdown | None

    @property
    def value(self) -> float:
        """The headline."""
        return next(iter(self.values.values()))

    @classmethod
    def of(cls, metric: Metric) -> Self:
        """What a metric was given."""
        spread = metric.spread(seeds.generator(0, "test images"))
        found = metric.compute()
        values = {
            name: value for name, value in found.items() if name == metric.names[0] or not math.isnan(value)
        }
        return cls(values, None if math.isnan(spread) else spread, metric.breakdown())


def score(
    network: nn.Module,
    data: RealData,
    split: Split,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_batch: int | None = None,
) -> float:
    """The headline of the task's metric, a fraction in [0, 1], over all images of ``split``.

    The network is put into evaluation mode for it and left as it was found.
    """
    return _answers(network, data, split, device, dtype, max_batch).value


def assess(
    network: nn.Module,
    data: RealData,
    split: Split,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_batch: int | None = None,
) -> Scored:
    """Every value of the task's metric, as :func:`score`, its spread, and the headline class by class."""
    return Scored.of(_answers(network, data, split, device, dtype, max_batch))


@torch.no_grad()
def _answers(
    network: nn.Module,
    data: RealData,
    split: Split,
    device: torch.device | str,
    dtype: torch.dtype,
    max_batch: int | None,
) -> Metric:
    """The task's metric, given a network's answers on a split."""
    where = torch.device(device)
    largest = max_batch or _BATCH.get(where.type, 256)
    training = network.training
    network.eval()
    metric = data.task.make_metric()
    try:
        for part in chunks(len(split), largest):
            metric.update(network(data.inputs(split, part, where, dtype)), split.targets[part].to(where))
    finally:
        network.train(training)
    return metric
