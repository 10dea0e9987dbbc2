"""Scoring a trained network on a whole split."""

import torch
from torch import nn

from pydistill.data.real import RealData, Split
from pydistill.tasks.base import chunks

_BATCH = {"cpu": 128, "cuda": 2048}
"""Images a forward pass; bounds memory, changes no prediction beyond rounding."""


@torch.no_grad()
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
    where = torch.device(device)
    largest = max_batch or _BATCH.get(where.type, 256)
    training = network.training
    network.eval()
    try:
        parts = [
            data.task.score(
                network(data.inputs(split, part, where, dtype)), split.targets[part].to(where)
            ).cpu()
            for part in chunks(len(split), largest)
        ]
    finally:
        network.train(training)
    return data.task.value(torch.stack(parts).sum(0))
