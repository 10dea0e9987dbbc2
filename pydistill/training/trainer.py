"""Training networks from scratch: one or many, each on its own set, each from its own seed.

A network's result depends on its own job and not on which networks are trained beside it, beyond
rounding: initial weights, order of images and augmentation each have a generator of their own, derived
from the job's seed. Networks of one architecture are trained one after the other, or as an ensemble:
their parameters stacked, one vectorised step for all (``torch.func.vmap``). The ensemble saves the fixed
cost of a step and is chosen where that is most of it; :func:`choose` says by which rule.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import nn

from pydistill import checks, nets, threads
from pydistill.machine import AUTO, PRECISIONS
from pydistill.modes import plain_modes
from pydistill.optim.schedules import SCHEDULES
from pydistill.tasks import Task, parse_loss
from pydistill.training.descent import StepInfo
from pydistill.training.jobs import Trained, Training, TrainingJob
from pydistill.training.mixing import parse_mixing
from pydistill.training.run import TrainingRun, built, work

__all__ = ["Callback", "Execution", "StepInfo", "Trained", "Training", "TrainingJob", "choose", "train"]

Execution = Literal["auto", "loop", "ensemble"]

Callback = Callable[[StepInfo], None]


@plain_modes(gradients=True)
def train(
    architecture: str | nn.Module,
    jobs: Sequence[TrainingJob],
    task: Task,
    training: Training,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    execution: Execution = "auto",
    callback: Callback | None = None,
) -> list[Trained]:
    """Train one network a job.

    Args:
        architecture: What :func:`pydistill.nets.build` takes; or a module, which is trained itself, from
            the weights it has, in a single job.
        jobs: One a network. Those whose sets have the same size and augmentation may share an ensemble.
        task: Gives the loss and the number of outputs.
        training: How.
        device: Where; the jobs' samples must come on it.
        dtype: What to compute in.
        execution: ``loop``, ``ensemble``, or ``auto``: whichever :func:`choose` finds faster.
        callback: Called after every step.

    Returns:
        One result a job, in their order.

    Raises:
        ValueError: A setting is out of range or unknown, a module has several jobs, or an ensemble was
            asked for and the network is a module or has buffers (batch normalisation) or the job stored
            views or a teacher, which only the loop takes; or targets do not fit the loss or the mixing.
        DivergenceError: A network's loss or parameters are no longer finite.
    """
    _check(training, jobs, execution)
    if isinstance(architecture, nn.Module) and len(jobs) != 1:
        raise ValueError(f"a module is trained in one job, got {len(jobs)}: name an architecture")
    results: dict[int, Trained] = {}
    where = torch.device(device)
    for together in _groups(jobs):
        first = jobs[together[0]]
        mode, each = execution, threads.LEAST_SHARED  # that of a module of one's own is not known
        if isinstance(architecture, nn.Module):
            if mode == "ensemble":
                raise ValueError("an ensemble does not train a module: use the loop")
            mode = "loop"
        else:
            network = built(architecture, first, task, where, dtype)
            each = work(network, first, training)
            if mode == "auto":
                mode = choose(network, first, training, len(together))
            if mode == "ensemble" and next(network.buffers(), None) is not None:
                raise ValueError(
                    f"{architecture} has buffers, which an ensemble does not keep: use the loop"
                )
        if mode == "ensemble" and first.augmentations is not None:
            raise ValueError("an ensemble does not take stored augmentations: use the loop")
        if mode == "ensemble" and first.teacher is not None:
            raise ValueError("an ensemble does not ask a teacher: use the loop")
        size, stacked = (_stack_size(len(together)), True) if mode == "ensemble" else (1, False)
        for start in range(0, len(together), size):
            part = together[start : start + size]
            own = [jobs[at] for at in part]
            run = TrainingRun(
                architecture, own, task, training, where, dtype, stacked=stacked, positions=part
            )
            with threads.suited(each * len(part), where):
                for info in run.run():
                    if callback is not None:
                        callback(info)
                results.update(zip(part, run.results(), strict=True))
    return [results[at] for at in range(len(jobs))]


_LARGEST_STACK = 24
"""Most networks stacked at once: bounds memory; by then the fixed cost of a step is shared well enough."""

_FEWEST_STACKED = 12
_MOST_WORK = 4_000_000
_MOST_PARAMETERS = 500_000
"""Where stacking pays: networks, multiply-adds of one's forward pass over a batch, parameters of all."""


def choose(
    network: nets.Network, job: TrainingJob, training: Training, networks: int
) -> Literal["loop", "ensemble"]:
    """Which execution is faster.

    A stacked step has a fixed cost of some eight plain ones (vectorised calls are dearer than plain calls),
    so it takes several networks to win it back, and steps of little work: grouped convolutions are slower
    than plain ones, and large stacked parameters leave the cache. Measured on CPUs of level AVX-512 and
    AVX2 (``benchmarks/kernels/ensemble.py``), the latter of which would gain from stacks of up to twice the
    work too; not measured on CUDA. The rule is one for all, so that a training is stacked alike everywhere.
    """
    networks = _stack_size(networks)
    parameters = sum(value.numel() for value in network.parameters())
    stackable = next(network.buffers(), None) is None and job.augmentations is None and job.teacher is None
    if not stackable or networks < _FEWEST_STACKED or networks * parameters > _MOST_PARAMETERS:
        return "loop"
    return "ensemble" if work(network, job, training) <= _MOST_WORK else "loop"


def _stack_size(networks: int) -> int:
    """How many networks a stack holds, where stacks are as equal as they can be."""
    return math.ceil(networks / math.ceil(networks / _LARGEST_STACK))


def _check(training: Training, jobs: Sequence[TrainingJob], execution: str) -> None:
    for name in ("steps", "batch_size"):
        checks.integer(name, getattr(training, name), 1)
    checks.number("learning_rate", training.learning_rate, above=0)
    checks.choice("schedule", training.schedule, SCHEDULES)
    checks.choice("precision", training.precision, (AUTO, *PRECISIONS))
    checks.number("average", training.average, low=0, below=1)
    parse_mixing(training.mix)
    for text in dict.fromkeys(job.loss for job in jobs if job.teacher is not None):
        if not parse_loss(text).asks:
            raise ValueError(f"the loss {text} asks no teacher, and one is given: use kl or squared")
    checks.choice("execution", execution, get_args(Execution))


def _groups(jobs: Sequence[TrainingJob]) -> list[list[int]]:
    """Positions of jobs that can share an ensemble."""
    found: dict[tuple[object, ...], list[int]] = {}
    for at, job in enumerate(jobs):
        samples = job.samples
        key = (
            *samples.signature,
            samples.shape,
            job.augment,
            job.loss,
            id(job.augmentations),
            id(job.teacher),
        )
        found.setdefault(key, []).append(at)
    return list(found.values())
