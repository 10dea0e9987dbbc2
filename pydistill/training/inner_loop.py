"""Training networks as a step to unroll: batches, augmentation, losses, what moves the parameters."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pydistill import nets, optim, seeds
from pydistill.augment import Augmentation
from pydistill.errors import DivergenceError
from pydistill.ops.second_order import second_order
from pydistill.optim import Tensors
from pydistill.tasks import Task
from pydistill.training.feed import augmented
from pydistill.training.unrolled import State, Unrolled, unroll


@dataclass(frozen=True)
class InnerLoop:
    """How networks are trained on what is learned, step by step.

    :meth:`step` is what :func:`~pydistill.training.unrolled.unroll` repeats. What is learned comes by name:
    ``images`` (M, C, H, W) and ``targets`` (M,) or (M, K) as networks see them; ``rate``, a scalar or (T,),
    one a step; where there are any, scalars ``momentum`` and ``weight_decay`` in place of the optimiser's.
    A draw depends on the seed and the step's index alone, so that a step made again is the same.

    Attributes:
        network: Its modules are used, not its weights; in training mode.
        loss: From outputs (B, K) and targets to a scalar.
        optimiser: How parameters move.
        batch_size: Images a step; None: all. Each pass over the set has an order of its own.
        augment: What :meth:`pydistill.augment.Augmentation.parse` takes.
        seed: What order and augmentation derive from.
        networks: Several at once: parameters are stacked along a first axis (E, ...), as
            :func:`pydistill.nets.stack` makes them; each has its own order and augmentation, and losses are
            (T, E). None: one, not stacked.
        task: How targets follow the augmentation; None: they are of the images as wholes and stay.
    """

    network: nets.Network
    loss: Callable[[Tensor, Tensor], Tensor]
    optimiser: optim.Optimiser = field(default_factory=optim.Sgd)
    batch_size: int | None = None
    augment: str = "none"
    seed: int = 0
    networks: int | None = None
    task: Task | None = None

    def start(self, parameters: Tensors, buffers: Mapping[str, Tensor] | None = None) -> State:
        """The first state: parameters, the optimiser's memory of them, buffers."""
        return {
            "parameters": dict(parameters),
            "optimiser": self.optimiser.init(parameters),
            "buffers": dict(buffers or {}),
        }

    def train(
        self,
        start: State,
        learned: Tensors,
        *,
        steps: int,
        first: int = 0,
        window: int | None = None,
        keep_every: int | None = 1,
    ) -> Unrolled:
        """:func:`~pydistill.training.unrolled.unroll` of this loop.

        Raises:
            ValueError: As for ``unroll``; or there are fewer rates than steps.
            DivergenceError: A training loss is not finite; the step and its rate are named.
        """
        rate = learned["rate"]
        if rate.ndim and len(rate) < first + steps:
            raise ValueError(f"expected a rate for each of {first + steps} steps, got {len(rate)}")
        done = unroll(
            self.step, start, learned, steps=steps, first=first, window=window, keep_every=keep_every
        )
        bad = torch.nonzero(~done.losses.reshape(steps, -1).isfinite().all(1)).flatten()
        if len(bad):
            at = first + int(bad[0])
            raise DivergenceError(
                f"the inner loss is {float(done.losses[at - first].sum())} in step {at} of "
                f"{first + steps}, at a learning rate of {self.rate(learned, at).item():g}"
            )
        # running statistics are numbers beside the training: no step's outputs depend on them
        buffers = {name: value.detach() for name, value in done.state["buffers"].items()}
        return dataclasses.replace(done, state={**done.state, "buffers": buffers})

    def step(self, index: int, state: State, learned: Tensors) -> tuple[State, Tensor]:
        """One step of training, as ``unroll`` takes it."""
        tracked = torch.is_grad_enabled()
        parameters: Tensors = {
            name: value if tracked and value.requires_grad else value.detach().requires_grad_()
            for name, value in state["parameters"].items()
        }
        buffers = {name: value.detach().clone() for name, value in state["buffers"].items()}
        with torch.enable_grad(), second_order(twice=tracked):
            images, targets = self.batch(index, learned)
            losses = self._losses(parameters, buffers, images, targets)
            gradients = torch.autograd.grad(losses.sum(), list(parameters.values()), create_graph=tracked)
        named = dict(zip(parameters, gradients, strict=True))
        moved, memory = self._optimiser_with(learned).update(
            parameters, named, state["optimiser"], self.rate(learned, index)
        )
        return {"parameters": moved, "optimiser": memory, "buffers": buffers}, losses

    def _losses(
        self, parameters: Tensors, buffers: Mapping[str, Tensor], images: Tensor, targets: Tensor
    ) -> Tensor:
        """(E,) or a scalar."""
        if self.networks is None:
            weights = {**parameters, **buffers}
            return self.loss(torch.func.functional_call(self.network, weights, (images,)), targets)

        def one(weights: Tensors, own: Tensors, batch: Tensor, wanted: Tensor) -> Tensor:
            return self.loss(torch.func.functional_call(self.network, {**weights, **own}, (batch,)), wanted)

        losses: Tensor = torch.func.vmap(one)(parameters, dict(buffers), images, targets)
        return losses

    def batch(self, index: int, learned: Tensors) -> tuple[Tensor, Tensor]:
        """Images and targets of a step, each with a leading axis (E, ...) for stacked networks."""
        images, targets = learned["images"], learned["targets"]
        members = range(1 if self.networks is None else self.networks)
        picks = [self.picked(index, len(images), member) for member in members]
        if self.networks is None and picks[0] is None:
            chosen, wanted = images, targets
        else:
            everything = torch.arange(len(images))
            flat = torch.cat([everything if pick is None else pick for pick in picks]).to(images.device)
            chosen, wanted = images[flat], targets[flat]
        generators = [seeds.generator(self.seed, "inner augmentation", each, index) for each in members]
        augmentation = Augmentation.parse(self.augment)
        chosen, wanted = augmented(augmentation, chosen, wanted, generators, self.task)
        if self.networks is None:
            return chosen, wanted
        each = len(chosen) // len(members)
        return chosen.view(-1, each, *chosen.shape[1:]), wanted.view(-1, each, *wanted.shape[1:])

    def picked(self, index: int, total: int, member: int = 0) -> Tensor | None:
        """Which of ``total`` images a network sees in a step; None: all, in their order."""
        if self.batch_size is None or self.batch_size >= total:
            return None
        a_pass = -(-total // self.batch_size)
        generator = seeds.generator(self.seed, "inner order", member, index // a_pass)
        begin = index % a_pass * self.batch_size
        return torch.randperm(total, generator=generator)[begin : begin + self.batch_size]

    def rate(self, learned: Tensors, index: int) -> Tensor:
        """The learning rate of a step, a scalar."""
        rate = learned["rate"]
        return rate[index] if rate.ndim else rate

    def _optimiser_with(self, learned: Tensors) -> optim.Optimiser:
        given = {name: learned[name] for name in ("momentum", "weight_decay") if name in learned}
        return dataclasses.replace(self.optimiser, **given) if given else self.optimiser  # type: ignore[type-var]
