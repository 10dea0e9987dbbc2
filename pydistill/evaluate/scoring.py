"""Scoring a trained network on a whole split."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pydistill.data.real import RealData, Split
from pydistill.tasks.base import chunks

_BATCH = {"cpu": 128, "cuda": 2048}
"""Images a forward pass; bounds memory, changes no prediction beyond rounding."""


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
    training = network.training
    network.eval()
    try:
        return score_outputs(network, data, split, device, dtype, max_batch)
    finally:
        network.train(training)


@torch.no_grad()
def score_outputs(
    outputs: Callable[[Tensor], Tensor],
    data: RealData,
    split: Split,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_batch: int | None = None,
) -> float:
    """The same of anything that turns network input into outputs."""
    where = torch.device(device)
    largest = max_batch or _BATCH.get(where.type, 256)
    parts = [
        data.task.score(
            outputs(data.inputs(split, part, where, dtype)), split.targets[part].to(where)
        ).cpu()
        for part in chunks(len(split), largest)
    ]
    return data.task.value(torch.stack(parts).sum(0))
