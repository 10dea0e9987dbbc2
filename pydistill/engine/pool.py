"""Networks to match in: fresh ones, a pool that learns as it is used, or a folder of trained ones.

Families that look at data through networks share this choice. It is written as a short text:

- ``random``: a fresh network every time (arXiv:2110.04181);
- ``pool``, for example ``pool:size=5,longest=100,data=real``: networks that are trained a little after
  each use, each for a random length, then renewed (the queue of arXiv:2307.09742);
- ``folder:PATH``: networks kept by :func:`pydistill.nets.save_network`, one drawn every time.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pydistill import checks, nets, optim
from pydistill.augment import Augmentation
from pydistill.engine.problem import Problem
from pydistill.errors import DataError
from pydistill.options import parse_options
from pydistill.tasks import parse_loss
from pydistill.training.descent import Batch, Descent, Objective

State = dict[str, Any]


@dataclass(frozen=True)
class SyntheticBatch:
    """Synthetic images that a pool may train its networks on.

    Attributes:
        images: (M, C, H, W) as networks are trained on them: decoded where several share a stored one.
        targets: (M, ...) hard or soft.
        augment: An augmentation's text.
        loss: As :func:`pydistill.tasks.parse_loss` takes it; real images always have the task's own.
    """

    images: Tensor
    targets: Tensor
    augment: str
    loss: str = "task"


class Networks(ABC):
    """Where a method's networks come from. All that is remembered lies in a state, as in a method's."""

    @abstractmethod
    def start(self, problem: Problem, architecture: str) -> State:
        """The state before the first outer iteration.

        Raises:
            DataError: Networks are missing or do not fit the data.
        """

    @abstractmethod
    def network(self, problem: Problem, architecture: str, state: State, outer: int) -> nets.Network:
        """The network of an outer iteration, in evaluation mode; the caller does not train its weights."""

    def advance(  # noqa: B027 (most do not change)
        self, problem: Problem, architecture: str, state: State, outer: int, synthetic: SyntheticBatch
    ) -> None:
        """Called once after ``outer``: change ``state`` in place."""


@dataclass(frozen=True)
class Fresh(Networks):
    """A freshly drawn network every outer iteration."""

    def start(self, problem: Problem, architecture: str) -> State:
        return {}

    def network(self, problem: Problem, architecture: str, state: State, outer: int) -> nets.Network:
        return _frozen(_draw(problem, architecture, "network", outer))


@dataclass(frozen=True)
class Pool(Networks):
    """Networks that are trained for a while after each use, and replaced by fresh ones in the end.

    An outer iteration draws one of them. After it the network does ``steps`` steps of gradient
    descent on the images of ``data``; once it has lived its length, drawn uniformly from ``shortest`` to
    ``longest`` steps, a fresh one takes its place. So at any time the pool holds networks of many ages
    (arXiv:2307.09742, section 4.2). A pool of one whose shortest and longest lives are the same is the
    alternation of arXiv:2006.05929, algorithm 1.

    Attributes:
        size: Networks held.
        shortest: Steps before which no network is renewed.
        longest: Steps after which a network is renewed at the latest.
        steps: Steps after each use.
        batch: Images a step.
        data: What they learn from: the synthetic images or the real ones.
        rate: Learning rate.
        momentum: Of gradient descent.
    """

    size: int = 5
    shortest: int = 1
    longest: int = 100
    steps: int = 5
    batch: int = 256
    data: str = "synthetic"
    rate: float = 0.01
    momentum: float = 0.9

    DATA: ClassVar[tuple[str, ...]] = ("synthetic", "real")

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: A number is out of range or ``data`` is unknown.
        """
        for name in ("size", "shortest", "longest", "steps", "batch"):
            checks.integer(f"pool: {name}", getattr(self, name), 1)
        if self.shortest > self.longest:
            raise ValueError(
                f"pool: shortest must be at most longest = {self.longest}, got {self.shortest}"
            )
        checks.number("pool: rate", self.rate, above=0)
        checks.choice("pool: data", self.data, self.DATA)

    def start(self, problem: Problem, architecture: str) -> State:
        return {"members": [self._new_member(problem, architecture, at, 0) for at in range(self.size)]}

    def network(self, problem: Problem, architecture: str, state: State, outer: int) -> nets.Network:
        weights = state["members"][self._chosen(problem, outer)]["weights"]
        return _frozen(_load(_draw(problem, architecture, "pool", 0), weights))

    def advance(
        self, problem: Problem, architecture: str, state: State, outer: int, synthetic: SyntheticBatch
    ) -> None:
        at = self._chosen(problem, outer)
        member = state["members"][at]
        member["age"] += self.steps
        if member["age"] >= member["life"]:  # it is replaced: training it now would be wasted
            state["members"][at] = self._new_member(problem, architecture, at, member["generation"] + 1)
            return
        network = _load(_draw(problem, architecture, "pool", 0), member["weights"]).train()
        loss = parse_loss("task" if self.data == "real" else synthetic.loss)
        descent = Descent(
            Objective(problem.task, loss).alone(network),
            dict(network.named_parameters()),
            optim.Sgd(momentum=self.momentum),
            lambda step: self.rate,
            self.steps,
        )
        descent.finish(self._batch(problem, synthetic, outer, step) for step in range(self.steps))
        member["weights"] = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def _chosen(self, problem: Problem, outer: int) -> int:
        return int(torch.randint(self.size, (), generator=problem.generator("pool choice", outer)))

    def _new_member(self, problem: Problem, architecture: str, at: int, generation: int) -> State:
        life = torch.randint(
            self.shortest, self.longest + 1, (), generator=problem.generator("pool life", at, generation)
        )
        network = _draw(problem, architecture, "pool", at, generation)
        weights = {name: value.detach() for name, value in network.state_dict().items()}
        return {"weights": weights, "age": 0, "life": int(life), "generation": generation}

    def _batch(self, problem: Problem, synthetic: SyntheticBatch, outer: int, step: int) -> Batch:
        generator = problem.generator("pool batch", outer, step)
        total = len(problem.data.train) if self.data == "real" else len(synthetic.images)
        picked = torch.randperm(total, generator=generator)[: self.batch]
        if self.data == "real":
            images, targets = problem.images(picked), problem.targets(picked)
        else:
            where = picked.to(synthetic.images.device)
            images, targets = synthetic.images.detach()[where], synthetic.targets[where]
        augmentation = Augmentation.parse(synthetic.augment)
        parameters = augmentation.sample(
            len(images), generator, together=False, size=(images.shape[2], images.shape[3])
        )
        images, targets = augmentation.apply(images, targets, parameters, problem.task)
        return Batch(images, targets, (picked,))


@dataclass(frozen=True)
class Folder(Networks):
    """Trained networks of one architecture, kept in a folder; an outer iteration draws one.

    Attributes:
        path: The folder; every ``*.safetensors`` file in it is a network.
    """

    path: str

    def start(self, problem: Problem, architecture: str) -> State:
        wanted = nets.parse(architecture)
        for path in self._files():
            network = nets.load_network(path)
            if network.spec != wanted or network.shape != problem.data.shape:
                raise DataError(
                    f"{path} holds {network.spec} for images of shape {network.shape}, expected {wanted} "
                    f"for {problem.data.shape}"
                )
            if network.outputs != problem.task.outputs:
                raise DataError(
                    f"{path} has {network.outputs} outputs, the data needs {problem.task.outputs}"
                )
        return {"files": [path.name for path in self._files()]}

    def network(self, problem: Problem, architecture: str, state: State, outer: int) -> nets.Network:
        at = torch.randint(len(state["files"]), (), generator=problem.generator("network choice", outer))
        return _frozen(nets.load_network(Path(self.path) / state["files"][int(at)], problem.device))

    def _files(self) -> list[Path]:
        found = sorted(Path(self.path).glob("*.safetensors"))
        if not found:
            raise DataError(f"expected networks (*.safetensors) in {self.path}, found none")
        return found


def parse_networks(text: str) -> Networks:
    """``random``, ``pool``, ``pool:option=value,...`` or ``folder:PATH``.

    Raises:
        ValueError: The kind, an option or a value is unknown or out of range.
    """
    kind, _, rest = text.strip().partition(":")
    if kind == "random" and not rest:
        return Fresh()
    if kind == "pool":
        return Pool(**_options(rest))
    if kind == "folder" and rest:
        return Folder(rest)
    raise ValueError(
        f"networks must be random, pool, pool:size=5,longest=100,data=real or folder:PATH; got {text!r}"
    )


def recalibrate_batch_norm(network: nets.Network, images: Tensor) -> None:
    """Give batch normalisation the running statistics of ``images`` (N, C, H, W); weights stay.

    What statistics a network has learned on synthetic images, or none, are of no use on real ones. The
    network is left in evaluation mode; one without such statistics is left as it is.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    if not layers:
        return
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches seen, here one
    network.train()
    with torch.no_grad():
        network(images)
    network.eval()
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum


def _options(text: str) -> dict[str, Any]:
    kinds: Mapping[str, type] = {f.name: type(f.default) for f in dataclasses.fields(Pool)}
    found: dict[str, Any] = {}
    for name, value in parse_options("pool", text, kinds).items():
        try:
            found[name] = kinds[name](value)
        except ValueError:
            raise ValueError(f"pool: {name} must be {kinds[name].__name__}, got {value!r}") from None
    return found


def _draw(problem: Problem, architecture: str, *purpose: str | int) -> nets.Network:
    return nets.build(
        architecture,
        problem.data.shape,
        problem.task.outputs,
        problem.generator(*purpose),
        device=problem.device,
    )


def _load(network: nets.Network, weights: Mapping[str, Tensor]) -> nets.Network:
    network.load_state_dict({name: value.clone() for name, value in weights.items()})
    return network


def _frozen(network: nets.Network) -> nets.Network:
    return network.requires_grad_(False).eval()
