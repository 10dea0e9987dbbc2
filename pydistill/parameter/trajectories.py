"""Trajectory matching: images on which training takes a network where an expert's training took it.

An expert is a network trained on the real data, its weights kept along the way (:mod:`pydistill.experts`).
From one of its snapshots a network is trained on the synthetic images for T steps; how far it then is from
a later snapshot, in units of how far that is from the first, is differentiated through the T steps by
:mod:`pydistill.training.unrolled`, in memory that does not depend on T.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import nets, optim, seeds
from pydistill.augment import Augmentation
from pydistill.data.formation import decode, repeat_targets
from pydistill.engine.initial import INITS, initial
from pydistill.engine.method import Family, Method, State, Synthetic, option
from pydistill.engine.preparation import Interim, Telling, unheard
from pydistill.engine.problem import Problem
from pydistill.errors import DivergenceError, FileFormatError
from pydistill.experts import Experts, ExpertTraining, load_experts
from pydistill.experts.run import keep_experts
from pydistill.experts.trajectory import Kept
from pydistill.optim import Tensors
from pydistill.optim.schedules import SCHEDULES
from pydistill.parameter.own_experts import OwnExperts
from pydistill.storage.checkpoint import CACHE
from pydistill.tasks import Draw
from pydistill.training.inner_loop import InnerLoop
from pydistill.training.unrolled import KEEP_EVERY

_OWN_BATCH = 256
"""Real images a step of a method's own experts."""

_APART = 8
"""Steps of an own expert between two snapshots where the data's epoch has as many; else, an epoch."""

_TEACHES = 0.5
"""Mean probability of the images' own classes below which experts' labels would teach wrong ones."""

_CANDIDATES = 8
"""Images a class that those an expert gets right are chosen from, for each one chosen."""


@dataclass(frozen=True, kw_only=True)
class TrajectoryMatching(Method):
    """Images on which T steps of training end where many steps on the real data do."""

    family: ClassVar[Family] = "parameter matching"

    iterations: int = option(5_000, "outer steps: segments matched", low=1)
    learning_rate: float = option(1_000.0, "step size on the images", above=0)
    optimiser: str = option("sgd", "optimiser of images and labels", choices=("sgd", "adam"))
    momentum: float = option(0.5, "momentum of those steps, under sgd", low=0)
    schedule: str = option("constant", "of all step sizes over the iterations", choices=tuple(SCHEDULES))
    experts: str | None = option(
        None, "folder that `pydistill experts` filled; none: a few are trained first, kept in memory"
    )
    own_experts: str = option(
        "count=1,epochs=3,snapshots=4,rate=0.01,momentum=0",
        "experts trained first where no folder is given: count, epochs (more where small data leave few "
        "snapshots an epoch or a segment is long), snapshots an epoch, learning rate, momentum; what is "
        "left out is as in the default",
    )
    expert_epochs: int = option(
        2, "snapshots from the start of a segment to its end; as experts are usually kept, epochs", low=1
    )
    first_start: int = option(0, "earliest snapshot that a segment starts from", low=0)
    last_start: int | None = option(
        None, "latest snapshot that a segment starts from; none: the last that has an end", low=0
    )
    last_at_first: int | None = option(
        None, "latest start in the first iteration, where the range of starts grows", low=0
    )
    grow_until: int = option(1, "iteration by which the range of starts has grown to its end", low=1)
    inner_steps: int = option(30, "T, steps of training on the synthetic images", low=1)
    inner_batch: int | None = option(None, "synthetic images a training step; none: all", low=1)
    inner_rate: float = option(0.01, "first value of the learning rate of that training", above=0)
    learn_rate: bool = option(True, "whether that learning rate is learned, as a logarithm")
    rate_rate: float = option(0.01, "Adam's step size on the logarithm of the rate", above=0)
    labels: str = option(
        "class",
        "targets: the images' classes, or experts' probabilities where those know enough to teach",
        choices=("class", "expert"),
    )
    learn_labels: bool = option(False, "whether the targets' logits are learned")
    label_rate: float = option(2.0, "step size on the labels' logits", above=0)
    keep_every: int | None = option(None, KEEP_EVERY, low=0, memory=True)
    factor: int = option(1, "factor x factor images are kept in each stored one", low=1)
    network: str = option("convnet", "network of the experts, for example convnet:width=64")
    augment: str = option("auto", "augmentation in the training; auto: what suits the data; none")
    init: str = option(
        "real",
        "first images: real ones, those that an expert gets right, Gaussian noise, or a selector's",
        choices=("right", *INITS),
        selectors=True,
    )

    @property
    def steps(self) -> int:
        return self.iterations

    def start(self, problem: Problem) -> State:
        return unheard(self.prepare(problem, Interim()))

    def prepare(self, problem: Problem, interim: Interim) -> Telling[State]:
        Augmentation.parse(problem.augment(self.augment))
        OwnExperts.parse(self.own_experts)  # refuses unknown options before anything is trained
        if self.last_start is not None and self.last_start < self.first_start:
            raise ValueError(
                f"{self.name}: last_start must be at least first_start = {self.first_start}, "
                f"got {self.last_start}"
            )
        own = None if self.experts else (yield from self._trained(problem, interim))
        state: State = {"experts": own}
        experts = self._experts(problem, state)
        first = initial(problem, self.factor, self.init, self._first(problem, experts))
        images = first.images
        learned = {"images": images}
        labels = problem.task.smoothed_logits(first.targets)
        if self.labels == "expert":
            outputs = self._expert_outputs(problem, experts, images)
            labels = outputs if self._experts_know_enough(problem, outputs, first.targets) else labels
        if self.learn_labels:
            learned["labels"] = labels
        if self.learn_rate:
            learned["rate"] = torch.tensor(math.log(self.inner_rate), device=images.device)
        targets = first.targets if self.labels == "class" else problem.task.probabilities(labels)
        state |= {
            "learned": learned,
            "targets": targets,
            "origin": first.groups,
            "optimiser": {
                name: self._optimiser_of(name).init({name: value}) for name, value in learned.items()
            },
        }
        return state

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        leaves: Tensors = {
            name: value.detach().requires_grad_() for name, value in state["learned"].items()
        }
        distance, inner = self._distance(problem, state, leaves, index)
        gradients = torch.autograd.grad(distance, list(leaves.values()))
        share = SCHEDULES[self.schedule](index, self.iterations)
        rates = {"images": self.learning_rate, "labels": self.label_rate, "rate": self.rate_rate}
        for name, gradient in zip(leaves, gradients, strict=True):
            optim.move_each(
                self._optimiser_of(name),
                state["learned"],
                {name: gradient},
                state["optimiser"],
                {name: share * rates[name]},
            )
        rate = self._decoded(problem, state, state["learned"])["rate"]
        return {"loss": distance.detach(), "inner loss": inner, "rate": rate}

    def result(self, problem: Problem, state: State) -> Synthetic:
        targets = state["targets"]
        if self.learn_labels:
            targets = problem.task.probabilities(state["learned"]["labels"])
        rate = float(self._decoded(problem, state, state["learned"])["rate"])
        return Synthetic(
            state["learned"]["images"],
            targets,
            augment=problem.augment(self.augment),
            learning_rate=rate if self.learn_rate else None,
            factor=self.factor,
            origin=state["origin"],
        )

    # ---- one outer step ---------------------------------------------------------------------------------

    def _distance(
        self, problem: Problem, state: State, leaves: Tensors, index: int
    ) -> tuple[Tensor, Tensor]:
        """How far training on the images ends from the expert, and the training's last loss.

        Squared distances in parameters, the end's to the expert's, divided by the start's to it (equation 2
        of arXiv:2203.11932).
        """
        experts = self._experts(problem, state)
        expert, begin = self._segment(problem, experts, index)
        trajectory = experts.trajectories[expert]
        network = self._skeleton(problem)
        start, end = (self._weights(problem, network, trajectory.read(at), experts.where)
                      for at in (begin, begin + self.expert_epochs))  # fmt: skip
        loop = InnerLoop(
            network,
            problem.task.loss,
            optim.Sgd(),
            self.inner_batch,
            problem.augment(self.augment),
            seeds.derive(problem.seed, "inner", index),
            task=problem.task,
        )
        names = [name for name, _ in network.named_parameters()]
        buffers = {name: start[name] for name, _ in network.named_buffers()}
        done = loop.train(
            loop.start({name: start[name] for name in names}, buffers),
            self._decoded(problem, state, leaves),
            steps=self.inner_steps,
            keep_every=self.keep_every,
        )
        reached = done.state["parameters"]
        way = _squared({name: start[name] - end[name] for name in names})
        if not float(way) > 0:
            raise DivergenceError(
                f"expert {expert} does not move between snapshots {begin} and "
                f"{begin + self.expert_epochs}: nothing can be matched there"
            )
        return _squared({name: reached[name] - end[name] for name in names}) / way, done.losses[-1]

    def _segment(self, problem: Problem, experts: Experts, index: int) -> tuple[int, int]:
        """Which expert, and where the segment starts in its trajectory."""
        generator = problem.generator("segment", index)
        expert = int(torch.randint(len(experts), (), generator=generator))
        last = len(experts.trajectories[expert]) - 1 - self.expert_epochs
        if self.last_start is not None:
            last = min(last, self.last_start)
        if self.last_at_first is not None:
            grown = min(1.0, index / self.grow_until)
            low = min(last, max(self.first_start, self.last_at_first))
            last = low + round(grown * (last - low))
        return expert, int(torch.randint(self.first_start, last + 1, (), generator=generator))

    def _decoded(self, problem: Problem, state: State, leaves: Mapping[str, Tensor]) -> Tensors:
        """What a training sees, from what is kept: views, targets, rate."""
        labels = leaves.get("labels")
        targets = state["targets"] if labels is None else problem.task.probabilities(labels)
        images = leaves["images"]
        fixed = torch.tensor(self.inner_rate, device=images.device)
        return {
            "images": decode(images, self.factor),
            "targets": repeat_targets(targets, self.factor),
            "rate": leaves["rate"].exp() if "rate" in leaves else fixed,
        }

    def _optimiser_of(self, name: str) -> optim.Optimiser:
        if name == "rate" or self.optimiser == "adam":
            return optim.Adam()
        return optim.Sgd(momentum=self.momentum)

    # ---- experts ----------------------------------------------------------------------------------------

    def _trained(self, problem: Problem, interim: Interim) -> Telling[list[list[Tensors]]]:
        """Trajectories of experts of this run's own."""
        count = OwnExperts.parse(self.own_experts).count
        made = yield from keep_experts(problem.data, count, self._own(problem), problem.device, interim)
        return made

    def _own(self, problem: Problem) -> ExpertTraining:
        own = OwnExperts.parse(self.own_experts)
        steps = -(-len(problem.data.train) // _OWN_BATCH)
        snapshots = min(own.snapshots, max(1, steps // _APART))
        wanted = max(own.epochs * own.snapshots, self.first_start + self.expert_epochs)
        return ExpertTraining(
            network=self.network,
            epochs=-(-wanted // snapshots),
            snapshots=snapshots,
            batch_size=_OWN_BATCH,
            learning_rate=own.rate,
            momentum=own.momentum,
            augment=self.augment,
            seed=seeds.derive(problem.seed, "experts"),
        )

    def _experts(self, problem: Problem, state: State) -> Experts:
        """The experts, checked once a run."""
        found: Experts | None = state.get(CACHE)
        if found is None:
            data = (problem.data.fingerprint, problem.data.preprocess.name)
            if self.experts:
                found = load_experts(self.experts)
            else:
                own = tuple(Kept(snapshots) for snapshots in state["experts"])
                found = Experts(self._own(problem), problem.data.name, data, own, "this run's own experts")
            found.require(problem.data, self.network, self.first_start + self.expert_epochs + 1)
            state[CACHE] = found
        return found

    def _skeleton(self, problem: Problem) -> nets.Network:
        return nets.build(
            self.network,
            problem.data.shape,
            problem.task.outputs,
            torch.Generator(),
            device=problem.device,
        )

    def _weights(self, problem: Problem, network: nets.Network, found: Tensors, where: str) -> Tensors:
        """A snapshot on the device, in the layout of the network's weights.

        Raises:
            FileFormatError: It is of another network.
        """
        like = network.state_dict()
        shapes = ({name: tuple(value.shape) for name, value in each.items()} for each in (found, like))
        if next(shapes) != next(shapes):
            raise FileFormatError(f"a snapshot of {where} does not hold the weights of {self.network}")
        return {name: torch.empty_like(value).copy_(found[name]) for name, value in like.items()}

    def _at_end(self, problem: Problem, experts: Experts, expert: int) -> nets.Network:
        """An expert as its training left it, in evaluation mode."""
        network, trajectory = self._skeleton(problem), experts.trajectories[expert]
        last = trajectory.read(len(trajectory) - 1)
        network.load_state_dict(self._weights(problem, network, last, experts.where))
        return network.requires_grad_(False).eval()

    @torch.no_grad()
    def _expert_outputs(self, problem: Problem, experts: Experts, images: Tensor) -> Tensor:
        """(M, K) logits of stored images: the experts' mean, over the images' views."""
        total = torch.zeros(len(images), problem.task.outputs, device=images.device)
        for expert in range(len(experts)):
            network = self._at_end(problem, experts, expert)
            for part in problem.chunks(len(images)):
                views = decode(images[part], self.factor)
                outputs = network(views).view(-1, self.factor**2, problem.task.outputs)
                total[part] += outputs.mean(1) / len(experts)
        return total

    def _experts_know_enough(self, problem: Problem, outputs: Tensor, targets: Tensor) -> bool:
        """Whether experts know enough for the logits that they gave to be labels."""
        share = float(problem.task.target_probability(outputs, targets).mean())
        if share >= _TEACHES:
            return True
        warnings.warn(
            f"{self.name}: the experts give the first images' classes a probability of {share:.0%} on "
            f"average, less than {_TEACHES:.0%}: labels start from the classes instead; "
            "train the experts longer",
            stacklevel=2,
        )
        return False

    @torch.no_grad()
    def _first(self, problem: Problem, experts: Experts) -> Draw | None:
        """Real images to start from where they are not just drawn: those that an expert gets right."""
        if self.init != "right":
            return None
        wanted = [count * self.factor**2 for count in problem.each]
        problem.require(self.factor**2)
        generator = problem.generator("initial images")
        wide = problem.groups.draw(_CANDIDATES * max(wanted), generator, strict=False)
        network, wrong = self._at_end(problem, experts, 0), []
        for part in problem.chunks(len(wide.indices)):
            predicted = problem.task.hard(network(problem.images(wide.indices[part])))
            wrong.append((predicted != problem.targets(wide.indices[part])).cpu())
        # right ones first, in the order drawn; wrong ones only where there are too few
        order = torch.argsort(2 * wide.groups + torch.cat(wrong).long(), stable=True)
        counts = torch.bincount(wide.groups, minlength=len(problem.groups))
        parts = zip(counts.cumsum(0).tolist(), counts.tolist(), wanted, strict=True)
        chosen = torch.cat(
            [order[end - count : end - count + min(each, count)] for end, count, each in parts]
        )
        return Draw(wide.indices[chosen], wide.groups[chosen])


def _squared(parts: Tensors) -> Tensor:
    return torch.stack([part.square().sum() for part in parts.values()]).sum()
