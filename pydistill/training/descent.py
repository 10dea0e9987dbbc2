"""Gradient descent on the parameters of networks, step by step: the loop under every training.

A caller says what is trained and on what: it gives a pass over a batch (:class:`Objective` makes one), the
parameters, and the batches. :meth:`Descent.run` yields after every step, so that the caller can tell of it,
keep it, or stop between two steps. A training that is itself differentiated has a loop of its own,
:class:`pydistill.training.inner_loop.InnerLoop`.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pydistill.optim import Optimiser, OptimiserState, Rate, Tensors
from pydistill.tasks import Loss, Task, Teacher
from pydistill.tasks.losses import TaskLoss
from pydistill.training.averaging import WeightAverage

Pass: TypeAlias = Callable[..., tuple[Tensor, Tensor]]
"""``pass(*batch.given) -> (losses, outputs)`` with the parameters as they stand: a scalar and (M, ...);
of E stacked networks (E,) and (E, M, ...)."""


@dataclass(frozen=True)
class Batch:
    """What a step is fed.

    Attributes:
        images: (M, C, H, W) network input, augmented; of E stacked networks (E, M, C, H, W).
        targets: (M, ...) or (E, M, ...).
        indices: For each job, positions (M,) of the images in its samples, int64 on the CPU; None: all of
            them, in order.
        ends_epoch: Whether it is the last one of a pass over the samples.
        weights: (M,) or (E, M), by how much the loss of each image counts; None: all alike.
    """

    images: Tensor
    targets: Tensor
    indices: tuple[Tensor | None, ...] = (None,)
    ends_epoch: bool = False
    weights: Tensor | None = None

    @property
    def given(self) -> tuple[Tensor, ...]:
        """What a pass is given: images, targets and, where there are any, weights."""
        own = (self.images, self.targets)
        return own if self.weights is None else (*own, self.weights)


@dataclass(frozen=True)
class StepInfo:
    """Where training stands after a step; what it holds changes with the next one, so copy what you keep.

    Attributes:
        jobs: Positions of the jobs that are trained together.
        step: Steps done.
        steps: Steps in all.
        epoch: Passes over the set completed.
        ends_epoch: Whether this step completed one.
    """

    jobs: tuple[int, ...]
    step: int
    steps: int
    epoch: int
    ends_epoch: bool
    _batch: Batch
    _losses: Tensor
    _outputs: Tensor
    _parameters: Tensors
    _stacked: bool

    @property
    def losses(self) -> Tensor:
        """(E,) training losses, one a job, before the step."""
        return self._losses.reshape(-1)

    def indices(self, job: int) -> Tensor | None:
        """(M,) int64 positions of the step's images in the samples of one of :attr:`jobs`; None: all."""
        return self._batch.indices[self.jobs.index(job)]

    def outputs(self, job: int) -> Tensor:
        """(M, ...) what its network said of the step's images, before the step, outside any graph."""
        return self._of(job, self._outputs)

    def targets(self, job: int) -> Tensor:
        """(M, ...) what it should have said."""
        return self._of(job, self._batch.targets)

    def parameters(self, job: int) -> Tensors:
        """The parameters of one of :attr:`jobs`, as views."""
        return {name: self._of(job, value.detach()) for name, value in self._parameters.items()}

    def _of(self, job: int, value: Tensor) -> Tensor:
        return value[self.jobs.index(job)] if self._stacked else value


@dataclass(frozen=True)
class Objective:
    """From a network and a batch to the loss.

    Attributes:
        task: What targets are.
        loss: What of it is taken.
        precision: ``float32``; or ``bfloat16``: the outputs are computed under autocast.
        dtype: In which the loss is computed.
        teacher: Whom the loss may ask.
    """

    task: Task
    loss: Loss = field(default_factory=TaskLoss)
    precision: str = "float32"
    dtype: torch.dtype = torch.float32
    teacher: Teacher | None = None

    def of(
        self,
        network: Callable[[Tensor], Tensor],
        images: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Loss and outputs of one network; ``weights`` are of the images, see :meth:`Loss.of`."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = network(images)
        outputs = outputs.to(self.dtype)
        return self.loss.of(self.task, outputs, targets, images, self.teacher, weights), outputs

    def alone(self, network: nn.Module) -> Pass:
        """Through a module with the parameters that it has."""
        return partial(self.of, network)

    def stacked(self, base: nn.Module, parameters: Tensors) -> Pass:
        """Through one module with E sets of parameters, stacked along their first axis."""

        def one(own: Tensors, *given: Tensor) -> tuple[Tensor, Tensor]:
            def network(batch: Tensor) -> Tensor:
                outputs: Tensor = torch.func.functional_call(base, own, (batch,))
                return outputs

            return self.of(network, *given)

        return partial(torch.func.vmap(one), parameters)


class Direction(ABC):
    """Which way a step goes, from one or more passes over its batch."""

    @abstractmethod
    def find(
        self,
        parameters: Tensors,
        buffers: Mapping[str, Tensor],
        passed: Callable[[], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, Tensors]:
        """Losses and outputs where the parameters stand, and a direction for each parameter.

        Parameters and buffers are left as a single pass leaves them.

        Args:
            parameters: What is trained; ``passed`` uses these tensors.
            buffers: Of the network, which a pass may change.
            passed: A pass over the batch.
        """


class Steepest(Direction):
    """The gradient of the loss."""

    def find(
        self,
        parameters: Tensors,
        buffers: Mapping[str, Tensor],
        passed: Callable[[], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, Tensors]:
        losses, outputs = passed()
        values = list(parameters.values())
        # of E networks, each loss depends on its own parameters alone; a module may leave some out
        found = torch.autograd.grad(losses.sum() if losses.ndim else losses, values, materialize_grads=True)
        return losses.detach(), outputs.detach(), dict(zip(parameters, found, strict=True))


@dataclass
class Descent:
    """Parameters on their way down, and how far they are.

    Attributes:
        passed: A pass over a batch with ``parameters``.
        parameters: What is trained, in place.
        optimiser: Moves them.
        rate: The learning rate of a step, by its index from 0.
        steps: Steps in all.
        direction: Which way a step goes.
        buffers: Of the network, where a pass changes them.
        jobs: Positions of the jobs that are trained together.
        stacked: Whether parameters, batches and losses have a leading axis of jobs.
        average: What takes in the parameters after every step.
        memory: What the optimiser remembers.
        done: Steps done.
        epoch: Passes over the samples completed.
    """

    passed: Pass
    parameters: Tensors
    optimiser: Optimiser
    rate: Callable[[int], Rate]
    steps: int
    direction: Direction = field(default_factory=Steepest)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    jobs: tuple[int, ...] = (0,)
    stacked: bool = False
    average: WeightAverage | None = None
    memory: OptimiserState | None = None
    done: int = 0
    epoch: int = 0

    def run(self, batches: Iterable[Batch]) -> Iterator[StepInfo]:
        """The steps that are left, one a batch; fewer where there are fewer batches."""
        for batch in islice(batches, self.steps - self.done):
            yield self.step(batch)

    def finish(self, batches: Iterable[Batch]) -> None:
        """:meth:`run`, for who looks at no step."""
        deque(self.run(batches), maxlen=0)

    def step(self, batch: Batch) -> StepInfo:
        """One step."""
        if self.memory is None:
            self.memory = self.optimiser.init(self.parameters)
        passed = partial(self.passed, *batch.given)
        losses, outputs, gradients = self.direction.find(self.parameters, self.buffers, passed)
        self.optimiser.update_(self.parameters, gradients, self.memory, self.rate(self.done))
        if self.average is not None:
            self.average.add(self.parameters)
        self.done += 1
        self.epoch += batch.ends_epoch
        return StepInfo(
            self.jobs,
            self.done,
            self.steps,
            self.epoch,
            batch.ends_epoch,
            batch,
            losses,
            outputs,
            self.parameters,
            self.stacked,
        )
