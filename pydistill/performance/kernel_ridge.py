"""Kernel ridge methods: a kernel and what the real images' outputs should be; see ``regression``."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill import nets
from pydistill.data.formation import decode, repeat_targets
from pydistill.data.recipe import TRAINED, Recipe, StoredNetwork
from pydistill.engine.method import State, option, register
from pydistill.engine.pool import SyntheticBatch, parse_networks
from pydistill.engine.preparation import Interim, Telling, trained_network
from pydistill.engine.problem import Problem
from pydistill.errors import DataError
from pydistill.kernels.functions import Features, Kernel, RandomFeatures, joined, layered, parse_kernel
from pydistill.nets.features import parse_layers
from pydistill.performance.regression import KernelRidgeMatching
from pydistill.seeds import derive
from pydistill.storage.checkpoint import CACHE
from pydistill.training.jobs import Training, TrainingJob
from pydistill.training.samples import SplitSamples


@register
@dataclass(frozen=True, kw_only=True)
class KernelInducingPoints(KernelRidgeMatching):
    """KIP: images and labels for a kernel in closed form.

    [0] T. Nguyen, Z. Chen, J. Lee: Dataset Meta-Learning from Kernel Ridge-Regression. ICLR 2021,
        arXiv:2011.00050.
    """

    name: ClassVar[str] = "kip"
    citation: ClassVar[str] = (
        "T. Nguyen, Z. Chen, J. Lee: Dataset Meta-Learning from Kernel Ridge-Regression. "
        "ICLR 2021, arXiv:2011.00050"
    )
    summary: ClassVar[str] = "kernel ridge regression with the NTK of fully connected networks, or another"
    presets: ClassVar = {
        "quick": {
            "iterations": 500,
            "batch_real": 1_000,
            "loss": "platt",
            "learning_rate": 0.05,
            "label_rate": 0.05,
            "schedule": "cosine",
            "kernel_name": "ntk:depth=2",
            "real_augment": "auto",
        },
        "paper": {"kernel_name": "ntk:depth=3"},
    }

    kernel_name: str = option("ntk:depth=1", "kernel, for example ntk:depth=3, rbf:bandwidths=10, linear")

    def kernel(self, problem: Problem, state: State, index: int) -> Kernel:
        return parse_kernel(self.kernel_name)

    def evaluated(self) -> str | None:
        return self.kernel_name


@register
@dataclass(frozen=True, kw_only=True)
class RandomFeatureDistillation(KernelRidgeMatching):
    """RFAD: features of random ConvNets in place of the convolutional NNGP, fresh ones every step.

    [0] N. Loo, R. Hasani, A. Amini, D. Rus: Efficient Dataset Distillation using Random Feature
        Approximation. NeurIPS 2022, arXiv:2210.12067.

    Different from there: no linear map of the images is learned beside them, and Adam moves them.
    """

    name: ClassVar[str] = "rfad"
    citation: ClassVar[str] = (
        "N. Loo, R. Hasani, A. Amini, D. Rus: Efficient Dataset Distillation using Random Feature "
        "Approximation. NeurIPS 2022, arXiv:2210.12067"
    )
    summary: ClassVar[str] = "kernel ridge regression on features of random ConvNets"
    presets: ClassVar = {
        "quick": {
            "iterations": 100,
            "batch_real": 512,
            "networks_per_step": 2,
            "width": 64,
            "learning_rate": 0.02,
            "label_rate": 0.02,
            "schedule": "cosine",
        },
        "paper": {"iterations": 100_000, "batch_real": 5_120, "learning_rate": 1e-3, "label_rate": 1e-3},
    }

    ridge: float = option(5e-3, "ridge, relative to the kernel matrix's mean diagonal entry", low=0)
    loss: str = option(
        "platt",
        "error on the real batch: squared, or cross-entropy at a learned temperature (platt)",
        choices=("squared", "platt"),
    )
    networks_per_step: int = option(8, "random networks a step", low=1)
    width: int = option(256, "channels of their blocks", low=1)
    depth: int | None = option(None, "their blocks; none: what suits the images", low=1)

    def kernel(self, problem: Problem, state: State, index: int) -> Kernel:
        seed = int(torch.randint(2**31, (), generator=problem.generator("random features", index)))
        return RandomFeatures(self.networks_per_step, self.width, self.depth, seed)

    def evaluated(self) -> str | None:
        depth = "" if self.depth is None else f",depth={self.depth}"
        return f"random_features:networks={self.networks_per_step},width={self.width}{depth}"


@register
@dataclass(frozen=True, kw_only=True)
class NeuralFeatureRegression(KernelRidgeMatching):
    """FRePo: features of networks that train on the synthetic set as it is learned, and are renewed.

    [0] Y. Zhou, E. Nezhadarya, J. Ba: Dataset Distillation using Neural Feature Regression. NeurIPS 2022,
        arXiv:2206.00719: a pool of 10 networks, renewed after at most 100 steps.
    """

    name: ClassVar[str] = "frepo"
    citation: ClassVar[str] = (
        "Y. Zhou, E. Nezhadarya, J. Ba: Dataset Distillation using Neural Feature Regression. "
        "NeurIPS 2022, arXiv:2206.00719"
    )
    summary: ClassVar[str] = "kernel ridge regression on features of networks that learn from the images"
    presets: ClassVar = {
        "quick": {"iterations": 200, "batch_real": 512, "learning_rate": 0.02, "schedule": "cosine"},
        "paper": {"iterations": 500_000, "batch_real": 1_024, "learning_rate": 3e-4, "label_rate": 3e-4},
    }

    network: str = option("convnet", "network to embed in, for example convnet:width=64")
    networks: str = option(
        "pool:size=10,longest=100,steps=1,rate=0.05",
        "random, pool, pool:size=5,longest=100,data=real, or folder:PATH",
    )
    augment: str = option("auto", "augmentation that the pool trains with; auto: what suits the data; none")

    def evaluated(self) -> str | None:
        return TRAINED

    def begin(self, problem: Problem, interim: Interim) -> Telling[State]:
        yield from ()
        return {"networks": parse_networks(self.networks).start(problem, self.network)}

    def kernel(self, problem: Problem, state: State, index: int) -> Kernel:
        network = parse_networks(self.networks).network(problem, self.network, state["networks"], index)
        return Features([layered(network)])

    def advance(self, problem: Problem, state: State, index: int) -> None:
        batch = SyntheticBatch(
            decode(state["images"], self.factor),
            repeat_targets(state["labels"], self.factor),
            problem.augment(self.augment),
            loss="squared",
        )
        parse_networks(self.networks).advance(problem, self.network, state["networks"], index, batch)


@register
@dataclass(frozen=True, kw_only=True)
class TeacherRegression(KernelRidgeMatching):
    """Features and predictions of a teacher trained on the real data, distilled into a kernel machine.

    The kernel is the inner product of the teacher's features, what is regressed are its predictions: the
    set, with the teacher's features, is a small predictor that answers as the teacher does.
    """

    name: ClassVar[str] = "teacher_krr"
    citation: ClassVar[str] = "kernel ridge matching (arXiv:2011.00050) in a teacher (arXiv:1503.02531)"
    summary: ClassVar[str] = "kernel ridge regression on a trained teacher's features, to its predictions"
    presets: ClassVar = {
        "quick": {
            "iterations": 200,
            "batch_real": 512,
            "learning_rate": 0.02,
            "schedule": "cosine",
            "teacher_steps": 500,
        },
        "paper": {},
    }

    network: str = option("convnet", "the teacher, for example convnet:width=64")
    teacher: str | None = option(None, "folder or file of a trained teacher; none: one is trained")
    teacher_steps: int = option(3_000, "steps the teacher is trained for, 256 real images each", low=1)
    layers: str = option("embedding", "features, for example block2.pooled,embedding")
    temperature: float = option(1.0, "of the teacher's probabilities", above=0)

    def begin(self, problem: Problem, interim: Interim) -> Telling[State]:
        teacher = self._load(problem) if self.teacher else (yield from self._trained(problem, interim))
        names = nets.block_names(self.network, problem.data.shape, problem.task.outputs)
        parse_layers(self.layers, names)
        return {"teacher": {name: value.detach() for name, value in teacher.state_dict().items()}}

    def kernel(self, problem: Problem, state: State, index: int) -> Kernel:
        return Features([layered(self._teacher(problem, state), self.layers)])

    def real(
        self, problem: Problem, state: State, images: Tensor, targets: Tensor, kernel: Kernel
    ) -> tuple[Tensor, Tensor]:
        teacher = self._teacher(problem, state)
        layers, rows, outputs = parse_layers(self.layers, teacher.names), [], []
        for part in problem.chunks(len(images)):
            blocks = teacher(images[part], "blocks")  # one pass for both
            rows.append(Features.scaled([joined(blocks, layers)]))
            outputs.append(teacher.head(blocks))
        soft = problem.task.probabilities(torch.cat(outputs), self.temperature)
        return torch.cat(rows), problem.task.values(soft)

    def recipe(self, state: State) -> Recipe:
        loss = "squared" if self.learn_labels else "task"
        teacher = StoredNetwork(self.network, state["teacher"])
        kernel = f"teacher:layers={self.layers}"
        return Recipe(
            loss=loss, kernel=kernel, ridge=self.ridge, teacher=teacher, temperature=self.temperature
        )

    def _teacher(self, problem: Problem, state: State) -> nets.Network:
        network: nets.Network | None = state.get(CACHE)
        if network is None:
            network = self._skeleton(problem)
            network.load_state_dict(state["teacher"])
            state[CACHE] = network.requires_grad_(False).eval()
        return network

    def _skeleton(self, problem: Problem) -> nets.Network:
        return nets.build(
            self.network,
            problem.data.shape,
            problem.task.outputs,
            problem.generator("teacher"),
            device=problem.device,
        )

    def _trained(self, problem: Problem, interim: Interim) -> Telling[nets.Network]:
        """A teacher trained on the real training images."""
        samples = SplitSamples(problem.data, problem.data.train, problem.device)
        job = TrainingJob(samples, derive(problem.seed, "teacher"), problem.data.augment)
        training = Training(self.teacher_steps, learning_rate=0.05, schedule="cosine")
        done = yield from trained_network(
            self.network, job, problem.task, training, problem.device, interim, "teacher"
        )
        network = self._skeleton(problem)
        network.load_state_dict({**done.parameters, **done.buffers})
        return network

    def _load(self, problem: Problem) -> nets.Network:
        """The teacher of the option, checked.

        Raises:
            DataError: It is of another architecture, image shape or number of classes.
        """
        network = nets.load_network(str(self.teacher), problem.device)
        found = (str(network.spec), network.shape, network.outputs)
        expected = (str(nets.parse(self.network)), problem.data.shape, problem.task.outputs)
        if found != expected:
            raise DataError(
                f"the teacher {self.teacher} is {found[0]} for images of shape {found[1]} with {found[2]} "
                f"outputs, expected {expected[0]} for {expected[1]} with {expected[2]}"
            )
        return network
