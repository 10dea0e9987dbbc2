"""Training networks from scratch: one or many, each on its own set, each from its own seed.

A network's result depends on its own job and not on which networks are trained beside it, beyond
rounding: initial weights, order of images and augmentation each have a generator of their own, derived
from the job's seed. Networks of one architecture are trained one after the other, or as an ensemble:
their parameters stacked, one vectorised step for all (``torch.func.vmap``). The ensemble saves the fixed
cost of a step and is chosen where that is most of it; :func:`choose` says by which rule.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pydistill import checks, nets, seeds, threads
from pydistill.data.recipe import StoredViews
from pydistill.errors import DivergenceError
from pydistill.machine import PRECISIONS
from pydistill.modes import plain_modes
from pydistill.optim import Optimiser, Rate, Sgd, Tensors
from pydistill.optim.schedules import SCHEDULES
from pydistill.tasks import Task
from pydistill.training.feed import DrawnAugmentation, Feed, StoredAugmentation
from pydistill.training.samples import Samples

Execution = Literal["auto", "loop", "ensemble"]


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        steps: Steps of the optimiser.
        batch_size: Images a step; a smaller set is taken whole, the last batch of an epoch may be smaller.
        optimiser: Moves the parameters.
        learning_rate: The first rate, unless a job has its own.
        schedule: A name of :data:`~pydistill.optim.schedules.SCHEDULES`.
        precision: ``bfloat16`` computes the forward pass, and so the backward one, under autocast: weights,
            their gradients, the optimiser and the loss stay what they are. About twice as fast on
            processors that multiply bfloat16.
    """

    steps: int
    batch_size: int = 256
    optimiser: Optimiser = field(default_factory=lambda: Sgd(momentum=0.9, weight_decay=5e-4))
    learning_rate: float = 0.01
    schedule: str = "step"
    precision: str = "float32"


@dataclass(frozen=True)
class TrainingJob:
    """One network to train.

    Attributes:
        samples: What it is trained on.
        seed: Its initial weights, order of images and augmentation derive from it.
        augment: A description that :meth:`pydistill.augment.Augmentation.parse` takes.
        learning_rate: Replaces the training's first rate.
        start: Initial parameters and buffers by name, to go on from instead of fresh ones; they are copied.
        loss: A name of :data:`pydistill.data.recipe.LOSSES`.
        views: Augmented views with targets of their own, one draw an epoch in turn, in place of ``augment``
            and the samples' targets.
    """

    samples: Samples
    seed: int
    augment: str = "none"
    learning_rate: float | None = None
    start: Mapping[str, Tensor] | None = None
    loss: str = "task"
    views: StoredViews | None = None


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        parameters: By name.
        buffers: By name, for example the running statistics of batch normalisation.
        loss: Training loss of the last batch, before the last step.
        seconds: Wall time; that of an ensemble is shared out evenly.
        execution: ``loop`` or ``ensemble``.
    """

    parameters: Tensors
    buffers: Tensors
    loss: float
    seconds: float
    execution: str


@dataclass(frozen=True)
class StepInfo:
    """Where training stands after a step; what it holds changes with the next one, so copy what you keep.

    Attributes:
        jobs: Positions of the jobs that are trained together.
        step: Steps done.
        steps: Steps in all.
        epoch: Passes over the set completed.
        ends_epoch: Whether this step completed one.
        losses: (E,) training losses, one a job, before the step.
    """

    jobs: tuple[int, ...]
    step: int
    steps: int
    epoch: int
    ends_epoch: bool
    losses: Tensor
    _parameters: Tensors
    _stacked: bool

    def parameters(self, job: int) -> Tensors:
        """The parameters of one of :attr:`jobs`, as views."""
        if not self._stacked:
            return {name: value.detach() for name, value in self._parameters.items()}
        at = self.jobs.index(job)
        return {name: value.detach()[at] for name, value in self._parameters.items()}


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
            views, which only the loop keeps.
        DivergenceError: A network's loss or parameters are no longer finite.
    """
    _check(training, execution)
    if isinstance(architecture, nn.Module) and len(jobs) != 1:
        raise ValueError(f"a module is trained in one job, got {len(jobs)}: name an architecture")
    results: dict[int, Trained] = {}
    for together in _groups(jobs):
        run = _Run(architecture, task, training, torch.device(device), dtype, callback)
        mode, work = execution, threads.LEAST_SHARED  # that of a module of one's own is not known
        if isinstance(architecture, nn.Module):
            if mode == "ensemble":
                raise ValueError("an ensemble does not train a module: use the loop")
            mode = "loop"
        else:
            first = run.build(jobs[together[0]])
            work = _work(first, jobs[together[0]], training)
            if mode == "auto":
                mode = choose(first, jobs[together[0]], training, len(together))
            if mode == "ensemble" and next(first.buffers(), None) is not None:
                raise ValueError(
                    f"{architecture} has buffers, which an ensemble does not keep: use the loop"
                )
        if mode == "ensemble" and jobs[together[0]].views is not None:
            raise ValueError("an ensemble does not take stored views: use the loop")
        size = _stack_size(len(together)) if mode == "ensemble" else 1
        for start in range(0, len(together), size):
            part = together[start : start + size]
            with threads.suited(work * len(part), run.device):
                trained = (run.ensemble if mode == "ensemble" else run.loop)(part, jobs)
            results.update(zip(part, trained, strict=True))
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
    than plain ones, and large stacked parameters leave the cache. Measured on a CPU
    (``benchmarks/kernels/ensemble.py``); not measured on CUDA, where the same rule is used.
    """
    networks = _stack_size(networks)
    parameters = sum(value.numel() for value in network.parameters())
    stackable = next(network.buffers(), None) is None and job.views is None
    if not stackable or networks < _FEWEST_STACKED or networks * parameters > _MOST_PARAMETERS:
        return "loop"
    return "ensemble" if _work(network, job, training) <= _MOST_WORK else "loop"


def _work(network: nets.Network, job: TrainingJob, training: Training) -> int:
    """Multiply-adds of one network's forward pass over a batch."""
    return nets.flops(network, job.samples.shape) * min(training.batch_size, len(job.samples))


def _stack_size(networks: int) -> int:
    """How many networks a stack holds, where stacks are as equal as they can be."""
    return math.ceil(networks / math.ceil(networks / _LARGEST_STACK))


def _check(training: Training, execution: str) -> None:
    for name in ("steps", "batch_size"):
        checks.integer(name, getattr(training, name), 1)
    checks.number("learning_rate", training.learning_rate, above=0)
    checks.choice("schedule", training.schedule, SCHEDULES)
    checks.choice("precision", training.precision, PRECISIONS)
    checks.choice("execution", execution, get_args(Execution))


def _groups(jobs: Sequence[TrainingJob]) -> list[list[int]]:
    """Positions of jobs that can share an ensemble."""
    found: dict[tuple[object, ...], list[int]] = {}
    for at, job in enumerate(jobs):
        samples = job.samples
        key = (*samples.signature, samples.shape, job.augment, job.loss, id(job.views))
        found.setdefault(key, []).append(at)
    return list(found.values())


def _batches(job: TrainingJob, batch_size: int) -> Iterator[tuple[Tensor | None, bool]]:
    """Endless (indices, ends an epoch); a set that fits into a batch is taken whole (None)."""
    total = len(job.samples)
    while total <= batch_size:
        yield None, True
    generator = seeds.generator(job.seed, "order of images")
    while True:
        order = torch.randperm(total, generator=generator)
        for start in range(0, total, batch_size):
            yield order[start : start + batch_size], start + batch_size >= total


@dataclass(frozen=True)
class _Run:
    """What is common to all networks of one call."""

    architecture: str | nn.Module
    task: Task
    training: Training
    device: torch.device
    dtype: torch.dtype
    callback: Callback | None

    def module(self, job: TrainingJob) -> nn.Module:
        """What is trained in a job: a module that was given, or a new network."""
        if isinstance(self.architecture, nn.Module):
            return self.architecture.to(self.device, self.dtype).train()
        return self.build(job)

    def build(self, job: TrainingJob) -> nets.Network:
        network = nets.build(
            str(self.architecture),
            job.samples.shape,
            self.task.outputs,
            seeds.generator(job.seed, "initial weights"),
            device=self.device,
            dtype=self.dtype,
        )
        if job.start is not None:
            network.load_state_dict(dict(job.start))
        return network.train()

    def rate(self, job: TrainingJob, step: int) -> float:
        first = self.training.learning_rate if job.learning_rate is None else job.learning_rate
        return first * SCHEDULES[self.training.schedule](step, self.training.steps)

    def loss(
        self, network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor, kind: str
    ) -> Tensor:
        """The loss of that name, the outputs computed in the training's precision."""
        lower = self.training.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=lower):
            outputs = network(images)
        return self.task.error(outputs.to(self.dtype), targets, kind)

    def loop(self, part: list[int], jobs: Sequence[TrainingJob]) -> list[Trained]:
        """One network, its modules called directly."""
        (at,) = part
        job, training, begun = jobs[at], self.training, time.perf_counter()
        network = self.module(job)
        parameters: Tensors = {
            name: value for name, value in network.named_parameters() if value.requires_grad
        }
        values, state = list(parameters.values()), training.optimiser.init(parameters)
        batches, drawn = _batches(job, training.batch_size), DrawnAugmentation([job], self.task)
        stored = None if job.views is None else StoredAugmentation(job, job.views, self.device)
        loss, epoch = torch.zeros((), device=self.device), 0
        for step in range(training.steps):
            indices, ends = next(batches)
            images, targets = job.samples.batch(indices)
            if stored is None:
                images, targets = drawn.apply(images, targets)
            else:
                images, targets = stored.apply(images, indices, epoch)
            loss = self.loss(network, images, targets, job.loss)
            slopes = torch.autograd.grad(
                loss, values, materialize_grads=True
            )  # a module may leave some out
            gradients = dict(zip(parameters, slopes, strict=True))
            training.optimiser.update_(parameters, gradients, state, self.rate(job, step))
            epoch += ends
            if self.callback is not None:
                losses = loss.detach()[None]
                self.callback(
                    StepInfo((at,), step + 1, training.steps, epoch, ends, losses, parameters, False)
                )
        done = {name: value.detach() for name, value in parameters.items()}
        self._require_finite(job, float(loss.detach()), done)
        buffers = dict(network.named_buffers())
        return [Trained(done, buffers, float(loss.detach()), time.perf_counter() - begun, "loop")]

    def ensemble(self, part: list[int], jobs: Sequence[TrainingJob]) -> list[Trained]:
        """Several networks, parameters stacked along a new first axis, one vectorised step for all."""
        members, training, begun = [jobs[at] for at in part], self.training, time.perf_counter()
        networks = [self.build(job) for job in members]
        base = networks[0]
        parameters = {
            name: value.requires_grad_() for name, value in nets.stack(networks).parameters.items()
        }
        losses_of = torch.func.vmap(partial(self._loss, base, members[0].loss))
        values, state = list(parameters.values()), training.optimiser.init(parameters)
        streams = [_batches(job, training.batch_size) for job in members]
        drawn, feed = DrawnAugmentation(members, self.task), Feed(members)
        losses, epoch = torch.zeros(len(members), device=self.device), 0
        for step in range(training.steps):
            picks = [next(stream) for stream in streams]
            images, targets = feed.batch([indices for indices, _ in picks])
            moved, followed = drawn.apply(images.flatten(0, 1), targets.flatten(0, 1))
            images, targets = moved.view(images.shape), followed.view(targets.shape)
            losses = losses_of(parameters, images, targets)
            gradients = dict(zip(parameters, torch.autograd.grad(losses.sum(), values), strict=True))
            training.optimiser.update_(parameters, gradients, state, self._rates(members, step))
            epoch += picks[0][1]
            if self.callback is not None:
                here = (tuple(part), step + 1, training.steps, epoch, picks[0][1], losses.detach())
                self.callback(StepInfo(*here, parameters, True))
        seconds = (time.perf_counter() - begun) / len(members)
        results = []
        for at, job in enumerate(members):
            done = {name: value.detach()[at].clone() for name, value in parameters.items()}
            self._require_finite(job, float(losses[at].detach()), done)
            results.append(Trained(done, {}, float(losses[at].detach()), seconds, "ensemble"))
        return results

    def _loss(
        self, base: nn.Module, kind: str, weights: Tensors, images: Tensor, targets: Tensor
    ) -> Tensor:
        def network(batch: Tensor) -> Tensor:
            outputs: Tensor = torch.func.functional_call(base, weights, (batch,))
            return outputs

        return self.loss(network, images, targets, kind)

    def _rates(self, members: Sequence[TrainingJob], step: int) -> Rate:
        rates = [self.rate(job, step) for job in members]
        if len(set(rates)) == 1:
            return rates[0]
        return torch.tensor(rates, dtype=self.dtype, device=self.device)

    def _require_finite(self, job: TrainingJob, loss: float, parameters: Tensors) -> None:
        finite = all(bool(value.isfinite().all()) for value in parameters.values())
        if not (math.isfinite(loss) and finite):
            name = self.architecture if isinstance(self.architecture, str) else "the module"
            raise DivergenceError(
                f"training {name} (seed {job.seed}, first learning rate "
                f"{self.rate(job, 0):g}) ended with loss {loss}: a smaller learning rate may help"
            )
