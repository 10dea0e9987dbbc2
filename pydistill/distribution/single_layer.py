"""Distribution matching at a single layer, by mean embeddings (DM).

[0] B. Zhao, H. Bilen: Dataset Condensation with Distribution Matching. WACV 2023, arXiv:2110.04181.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import nets, optim
from pydistill.augment import Augmentation, Parameters
from pydistill.method import Family, Method, State, Synthetic, option, register
from pydistill.problem import Problem
from pydistill.tasks import Draw


@register
@dataclass(frozen=True, kw_only=True)
class MeanEmbedding(Method):
    """Match the class means of embeddings in randomly initialised networks ([0], equation 6).

    Every round draws a network, ``batch_real`` real images a class and one siamese augmentation a class,
    and moves the synthetic images down the gradient of the summed squared distance between real and
    synthetic class means. In [0] a round is one image step; ``steps_per_network`` above 1 keeps network,
    augmentation and real means for several, which costs little and learns more in the same time.
    """

    name: ClassVar[str] = "dm"
    family: ClassVar[Family] = "distribution matching"
    citation: ClassVar[str] = (
        "Zhao and Bilen, Dataset Condensation with Distribution Matching, arXiv:2110.04181"
    )
    summary: ClassVar[str] = "class means of embeddings in random networks"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"iterations": 300, "learning_rate": 5.0, "steps_per_network": 5},
        "paper": {"iterations": 20_000, "learning_rate": 1.0, "steps_per_network": 1},
    }

    iterations: int = option(20_000, "image steps", low=1)
    learning_rate: float = option(1.0, "step size on the images", above=0)
    momentum: float = option(0.5, "momentum of the image steps", low=0)
    batch_real: int = option(256, "real images a class in a round", low=1)
    steps_per_network: int = option(1, "image steps a round: how long a network is kept", low=1)
    network: str = option("convnet", "network to embed in, for example convnet:width=64")
    augment: str = option("auto", "siamese augmentation; auto: what suits the data; none")
    init: str = option("real", "first images: real ones or Gaussian noise", choices=("real", "noise"))
    real_precision: str = option(
        "float32", "number format of the real branch", choices=("float32", "bfloat16")
    )

    @property
    def steps(self) -> int:
        return self.iterations

    def start(self, problem: Problem) -> State:
        draw = problem.groups.draw(problem.ipc, problem.generator("initial images"), strict=True)
        images = problem.images(draw.indices)
        if self.init == "noise":
            noise = torch.randn(images.shape, generator=problem.generator("initial noise"))
            images = noise.to(images.device, memory_format=torch.channels_last)
        return {
            "images": images,
            "targets": problem.targets(draw.indices),
            "groups": draw.groups.to(problem.device),
            "optimiser": optim.Sgd(momentum=self.momentum).init({"images": images}),
        }

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        turn = index // self.steps_per_network
        network = self._network(problem, turn)
        augmentation = Augmentation.parse(self._augment(problem))
        views = augmentation.sample(
            len(problem.groups),
            problem.generator("augmentation", turn),
            together=False,
            size=problem.data.shape[1:],
        )
        if index % self.steps_per_network == 0:
            state["real means"] = self._real_means(problem, network, augmentation, views, turn)

        images = state["images"].detach().requires_grad_()
        seen = augmentation.apply(images, views.rows(state["groups"]))
        sums, mass = problem.task.group_sums(network(seen, "embedding"), state["targets"])
        loss = (sums / mass[:, None] - state["real means"]).square().sum()
        (gradient,) = torch.autograd.grad(loss, images)

        moved, state["optimiser"] = optim.Sgd(momentum=self.momentum).update(
            {"images": state["images"]}, {"images": gradient}, state["optimiser"], self.learning_rate
        )
        state["images"] = moved["images"]
        return {"loss": loss.detach()}

    def result(self, problem: Problem, state: State) -> Synthetic:
        return Synthetic(state["images"], state["targets"], self._augment(problem))

    def _augment(self, problem: Problem) -> str:
        return problem.data.augment if self.augment == "auto" else self.augment

    def _network(self, problem: Problem, turn: int) -> nets.Network:
        network = nets.build(
            self.network,
            problem.data.shape,
            problem.task.outputs,
            problem.generator("network", turn),
            device=problem.device,
        )
        return network.requires_grad_(False).eval()

    @torch.no_grad()
    def _real_means(
        self,
        problem: Problem,
        network: nets.Network,
        augmentation: Augmentation,
        views: Parameters,
        turn: int,
    ) -> Tensor:
        """(G, D) float32 class means of the embeddings of a fresh real batch, all classes in one stream."""
        draw: Draw = problem.groups.draw(
            self.batch_real, problem.generator("real batch", turn), strict=False
        )
        dtype = getattr(torch, self.real_precision)
        if dtype != torch.float32:  # a copy: the synthetic branch keeps its float32 weights
            network = copy.deepcopy(network).to(dtype)
        sums, mass = torch.zeros((), device=problem.device), torch.zeros((), device=problem.device)
        for part in problem.chunks(len(draw.indices)):
            seen = augmentation.apply(
                problem.images(draw.indices[part], dtype), views.rows(draw.groups[part])
            )
            more = problem.task.group_sums(network(seen, "embedding"), problem.targets(draw.indices[part]))
            sums, mass = sums + more[0], mass + more[1]
        return sums / mass[:, None]
