"""One training in progress, of a network or of several stacked: kept after any step, and taken up again."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from pydistill import nets, seeds, threads
from pydistill.errors import DivergenceError
from pydistill.machine import resolve_precision
from pydistill.modes import plain_modes
from pydistill.optim import Rate, Tensors
from pydistill.optim.schedules import SCHEDULES
from pydistill.tasks import Task, parse_loss
from pydistill.training.averaging import WeightAverage
from pydistill.training.descent import Descent, Objective, StepInfo
from pydistill.training.feed import Feed
from pydistill.training.jobs import Trained, Training, TrainingJob

State = dict[str, Any]


class TrainingRun:
    """The jobs that are trained together, from their first step to their last.

    Args:
        architecture: What :func:`pydistill.nets.build` takes; or a module, which is trained itself, from
            the weights it has.
        jobs: One; where they are stacked, several whose sets have the same size and augmentation.
        task: Gives the loss and the number of outputs.
        training: How.
        device: Where.
        dtype: What to compute in.
        stacked: One vectorised step for all jobs, their parameters stacked along a new first axis.
        positions: Of the jobs among all that a caller has.
    """

    def __init__(
        self,
        architecture: str | nn.Module,
        jobs: Sequence[TrainingJob],
        task: Task,
        training: Training,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        stacked: bool = False,
        positions: Sequence[int] = (0,),
    ) -> None:
        self._begun, self._seconds = time.perf_counter(), 0.0
        self._architecture, self._jobs, self._training = architecture, jobs, training
        self._device, self._dtype, self._stacked = device, dtype, stacked
        networks = [self._network(job, task) for job in jobs]
        base, loss = networks[0], parse_loss(jobs[0].loss)
        precision = resolve_precision(training.precision, device)
        objective = Objective(task, loss, precision, dtype, jobs[0].teacher)
        self._buffers = {} if stacked else dict(base.named_buffers())
        if stacked:
            stack = nets.stack([each for each in networks if isinstance(each, nets.Network)])
            parameters = {name: value.requires_grad_() for name, value in stack.parameters.items()}
        else:
            parameters = {name: value for name, value in base.named_parameters() if value.requires_grad}
        self._feed = Feed(jobs, task, training, device, stacked=stacked)
        self._descent = Descent(
            objective.stacked(base, parameters) if stacked else objective.alone(base),
            parameters,
            training.optimiser,
            self._rate,
            training.steps,
            buffers=self._buffers,
            jobs=tuple(positions),
            stacked=stacked,
            average=WeightAverage(parameters, training.average) if training.average else None,
        )
        self._losses = torch.zeros(len(jobs), device=device)
        self._base = base

    @cached_property
    def work(self) -> int:
        """Multiply-adds of the forward pass of a step; of a module of one's own, where unknown, many."""
        if not isinstance(self._base, nets.Network) or not isinstance(self._architecture, str):
            return threads.LEAST_SHARED
        return work(self._base, self._jobs[0], self._training) * len(self._jobs)

    @property
    def module(self) -> nn.Module:
        """The network itself, of a job that is trained alone: it has the weights as they stand."""
        return self._base

    @property
    def done(self) -> int:
        """Steps done."""
        return self._descent.done

    def run(self, steps: int | None = None) -> Iterator[StepInfo]:
        """The next ``steps`` steps, or all that are left."""
        for info in islice(self._descent.run(self._feed), steps):
            self._losses = info.losses
            yield info

    @plain_modes(gradients=True)
    def epoch(self) -> StepInfo | None:
        """Run to the end of a pass over the samples or of the training, on as many threads as suit.

        Returns:
            The last step; None where none was left.
        """
        last = None
        with threads.suited(self.work, self._device):
            for last in self.run():
                if last.ends_epoch:
                    break
        return last

    def state(self) -> State:
        """All that the steps to come depend on, in copies of its own."""
        descent = self._descent
        memory = descent.optimiser.init(descent.parameters) if descent.memory is None else descent.memory
        return {
            "parameters": _copied(descent.parameters),
            "buffers": _copied(self._buffers),
            "optimiser": _copied(memory),
            "average": None if descent.average is None else descent.average.state(),
            "feed": self._feed.state(),
            "losses": self._losses.clone(),
            "done": descent.done,
            "epoch": descent.epoch,
            "seconds": self._spent(),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state` of a run of the same jobs."""
        descent = self._descent
        for own, kept in ((descent.parameters, "parameters"), (self._buffers, "buffers")):
            for name, value in own.items():
                value.copy_(state[kept][name])
        descent.memory = _copied(state["optimiser"])
        descent.done, descent.epoch, self._losses = state["done"], state["epoch"], state["losses"]
        if descent.average is not None:
            descent.average.restore(state["average"])
        self._feed.restore(state["feed"])
        self._begun, self._seconds = time.perf_counter(), state["seconds"]

    def results(self) -> list[Trained]:
        """The networks as they stand, one a job; where weights are averaged, this ends the run.

        Raises:
            DivergenceError: A loss or parameters are no longer finite.
        """
        seconds, found = self._spent() / len(self._jobs), []
        execution = "ensemble" if self._stacked else "loop"
        if self._descent.average is not None:
            self._descent.average.put(self._descent.parameters)
        for at, job in enumerate(self._jobs):
            parameters = {
                name: value.detach()[at].clone() if self._stacked else value.detach()
                for name, value in self._descent.parameters.items()
            }
            loss = float(self._losses[at])
            self._require_finite(job, loss, parameters)
            found.append(Trained(parameters, dict(self._buffers), loss, seconds, execution))
        return found

    def _spent(self) -> float:
        return self._seconds + time.perf_counter() - self._begun

    def _network(self, job: TrainingJob, task: Task) -> nn.Module:
        """What is trained in a job: a module that was given, or a new network."""
        if isinstance(self._architecture, nn.Module):
            return self._architecture.to(self._device, self._dtype).train()
        return built(self._architecture, job, task, self._device, self._dtype)

    def _rate(self, step: int) -> Rate:
        rates = [self._own_rate(job, step) for job in self._jobs]
        if len(set(rates)) == 1:
            return rates[0]
        return torch.tensor(rates, dtype=self._dtype, device=self._device)

    def _own_rate(self, job: TrainingJob, step: int) -> float:
        first = self._training.learning_rate if job.learning_rate is None else job.learning_rate
        return first * SCHEDULES[self._training.schedule](step, self._training.steps)

    def _require_finite(self, job: TrainingJob, loss: float, parameters: Tensors) -> None:
        finite = all(bool(value.isfinite().all()) for value in parameters.values())
        if not (math.isfinite(loss) and finite):
            name = self._architecture if isinstance(self._architecture, str) else "the module"
            raise DivergenceError(
                f"training {name} (seed {job.seed}, first learning rate "
                f"{self._own_rate(job, 0):g}) ended with loss {loss}: a smaller learning rate may help"
            )


def work(network: nets.Network, job: TrainingJob, training: Training) -> int:
    """Multiply-adds of one network's forward pass over a batch."""
    return nets.flops(network, job.samples.shape) * min(training.batch_size, len(job.samples))


def built(
    architecture: str, job: TrainingJob, task: Task, device: torch.device, dtype: torch.dtype
) -> nets.Network:
    """A job's network before its first step, in training mode."""
    network = nets.build(
        architecture,
        job.samples.shape,
        task.outputs,
        seeds.generator(job.seed, "initial weights"),
        device=device,
        dtype=dtype,
    )
    if job.start is not None:
        network.load_state_dict(dict(job.start))
    return network.train()


def _copied(tree: Any) -> Any:
    """A tree of numbers and tensors, the tensors as copies."""
    if isinstance(tree, Mapping):
        return {name: _copied(value) for name, value in tree.items()}
    return tree.detach().clone() if isinstance(tree, Tensor) else tree
