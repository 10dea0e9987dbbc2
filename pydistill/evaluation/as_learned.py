"""Using a set as it was learned: the training it was learned through, kernel ridge regression on it."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill import nets
from pydistill.data.real import RealData, Split
from pydistill.data.recipe import StoredTraining
from pydistill.errors import DivergenceError
from pydistill.kernels.functions import Kernel
from pydistill.kernels.ridge import KernelRidge
from pydistill.modes import plain_modes
from pydistill.ops.second_order import second_order
from pydistill.optim import AsUnrolled
from pydistill.tasks.base import chunks
from pydistill.training.descent import Batch, Descent, Objective
from pydistill.training.inner_loop import InnerLoop
from pydistill.training.samples import Samples
from pydistill.training.scoring import Scored

_ROWS = 1024
"""Images of a split predicted at a time: bounds memory."""


def train_as_learned(
    training: StoredTraining, network: nets.Network, samples: Samples, objective: Objective, seed: int
) -> float:
    """Put ``network`` through a training; from its own weights where none are kept with the training.

    Batches, rates and rounding are those of :class:`~pydistill.training.inner_loop.InnerLoop`, which the
    set was learned through; weights of images count as in every training.

    Returns:
        The training loss before the last step.

    Raises:
        DivergenceError: A loss is not finite.
    """
    if training.start is not None:
        network.load_state_dict(dict(training.start))
    network.train()
    task = objective.task
    loop = InnerLoop(
        network, task.loss, batch_size=training.batch_size, augment=training.augment, seed=seed, task=task
    )
    images, targets = samples.batch(None)
    rates = torch.tensor(training.rates, device=images.device)
    learned = {"images": images, "targets": targets, "rate": rates if len(rates) > 1 else rates[0]}

    def passed(*given: Tensor) -> tuple[Tensor, Tensor]:
        with second_order(twice=False):  # the loop's convolutions, wherever there are such
            return objective.of(network, *given)

    def batch(step: int) -> Batch:
        picked = loop.picked(step, len(samples))
        return Batch(*loop.batch(step, learned), weights=samples.weights(picked))

    descent = Descent(
        passed,
        dict(network.named_parameters()),
        AsUnrolled(training.make_optimiser()),
        lambda step: loop.rate(learned, step),
        training.steps,
    )
    loss = math.nan
    for info in descent.run(map(batch, range(training.steps))):
        loss = float(info.losses)
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the training loss is {loss} in step {info.step - 1} of {info.steps}, at a learning rate "
                f"of {float(loop.rate(learned, info.step - 1)):g}"
            )
    return loss


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
