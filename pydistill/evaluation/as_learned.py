"""Using a set as it was learned: the training it was learned through, kernel ridge regression on it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill import nets
from pydistill.data.real import RealData, Split
from pydistill.data.recipe import StoredTraining
from pydistill.kernels.functions import Kernel
from pydistill.kernels.ridge import KernelRidge
from pydistill.modes import plain_modes
from pydistill.tasks.base import chunks
from pydistill.training.inner_loop import InnerLoop
from pydistill.training.samples import Samples
from pydistill.training.scoring import Scored

_ROWS = 1024
"""Images of a split predicted at a time: bounds memory."""


def train_as_learned(
    training: StoredTraining,
    network: nets.Network,
    samples: Samples,
    loss: Callable[[Tensor, Tensor], Tensor],
    seed: int,
) -> float:
    """Put ``network`` through a training; from its own weights where none are kept with the training.

    Returns:
        The training loss before the last step.

    Raises:
        DivergenceError: A loss is not finite.
    """
    if training.start is not None:
        network.load_state_dict(dict(training.start))
    loop = InnerLoop(network, loss, training.make_optimiser(), training.batch_size, training.augment, seed)
    images, targets = samples.batch(None)
    rates = torch.tensor(training.rates, device=images.device)
    learned = {"images": images, "targets": targets, "rate": rates if len(rates) > 1 else rates[0]}
    weights = {name: value.detach() for name, value in network.named_parameters()}
    done = loop.train(loop.start(weights, dict(network.named_buffers())), learned, steps=training.steps)
    network.load_state_dict({**done.state["parameters"], **done.state["buffers"]})
    return float(done.losses[-1])


@dataclass(frozen=True)
class Regressed:
    """A kernel ridge regression.

    Attributes:
        scored: Its answers on the split.
        loss: Half the mean squared error on its own training rows.
        seconds: Wall time of solving.
    """

    scored: Scored
    loss: float
    seconds: float


@plain_modes(gradients=False)
def regress(
    kernel: Kernel,
    ridge: float,
    sets: Sequence[tuple[Tensor, Tensor]],
    data: RealData,
    split: Split,
    device: torch.device,
) -> list[Regressed]:
    """Kernel ridge regression on each of several sets; a split's rows are made once for all of them.

    Args:
        kernel: Of all of them.
        ridge: Of all of them.
        sets: Network input (M, C, H, W) and the values (M, K) to regress.
        data: Whose metric is taken.
        split: What is scored.
        device: Where.

    Raises:
        SingularKernelError: A kernel matrix cannot be solved for.
    """
    fitted, solved = [], []
    for images, values in sets:
        begun = time.perf_counter()
        machine = KernelRidge(kernel, ridge=ridge).fit(images, values)
        seconds = time.perf_counter() - begun
        outputs = machine.regression_.outputs(machine.regression_.rows)
        fitted.append(machine)
        solved.append((float((outputs - values).square().sum(1).mean() / 2), seconds))
    metrics = [data.task.make_metric() for _ in sets]
    for part in chunks(len(split), _ROWS):
        rows = kernel.rows(data.inputs(split, part, device))
        targets = split.targets[part].to(device)
        for metric, machine in zip(metrics, fitted, strict=True):
            metric.update(machine.regression_.outputs(rows), targets)
    return [Regressed(Scored.of(metric), *facts) for metric, facts in zip(metrics, solved, strict=True)]
