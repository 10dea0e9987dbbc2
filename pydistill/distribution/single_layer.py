"""Distribution matching at a single layer: one discrepancy, one place in the network.

[0] B. Zhao, H. Bilen: Dataset Condensation with Distribution Matching. WACV 2023, arXiv:2110.04181.
[1] H. Zhang et al.: M3D, Dataset Condensation by Minimizing Maximum Mean Discrepancy. AAAI 2024,
    arXiv:2312.15927.
[2] I. Goodfellow et al.: Generative Adversarial Nets. NeurIPS 2014, arXiv:1406.2661.
[3] S. Wang et al.: Dataset Distillation with Neural Characteristic Function. CVPR 2025, arXiv:2502.20653.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydistill.distribution.critic import CriticMatching
from pydistill.distribution.discrepancies import (
    Adversary,
    CharacteristicFunction,
    Discrepancy,
    GaussianKL,
    KernelMMD,
    MeanEmbedding,
    Term,
)
from pydistill.distribution.discrepancies.adversary import LOSSES
from pydistill.distribution.discrepancies.gaussian import COVARIANCES, DIRECTIONS
from pydistill.distribution.discrepancies.kernel import KERNELS
from pydistill.distribution.matching import QUICK, DistributionMatching
from pydistill.engine.method import option, register
from pydistill.nets.features import Layer


@dataclass(frozen=True, kw_only=True)
class SingleDiscrepancy(DistributionMatching):
    """One discrepancy, at the embedding unless ``layers`` names others."""

    @property
    @abstractmethod
    def discrepancy(self) -> Discrepancy:
        """What is compared."""

    def terms(self, layers: Sequence[Layer], names: Sequence[str]) -> tuple[Term, ...]:
        return tuple(Term(f"{self.name} {layer.name}", layer, self.discrepancy) for layer in layers)


@register
@dataclass(frozen=True, kw_only=True)
class MeanEmbeddingMatching(SingleDiscrepancy):
    """Match the class means of embeddings in randomly initialised networks ([0], equation 6).

    In [0] every image step draws a network. ``steps_per_network`` above 1 keeps network, augmentation and
    real means for several, which costs little and learns more in the same time.
    """

    name: ClassVar[str] = "dm"
    citation: ClassVar[str] = (
        "Zhao and Bilen, Dataset Condensation with Distribution Matching, arXiv:2110.04181"
    )
    summary: ClassVar[str] = "class means of embeddings in random networks"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {"iterations": 300, "learning_rate": 5.0, "steps_per_network": 5},
        "paper": {"iterations": 20_000, "learning_rate": 1.0, "steps_per_network": 1},
    }

    @property
    def discrepancy(self) -> MeanEmbedding:
        return MeanEmbedding()


@register
@dataclass(frozen=True, kw_only=True)
class KernelMMDMatching(SingleDiscrepancy):
    """Match distributions of embeddings by a kernel's MMD, so that every moment counts ([1])."""

    name: ClassVar[str] = "mmd"
    citation: ClassVar[str] = (
        "Zhang et al., M3D: Dataset Condensation by Minimizing Maximum Mean Discrepancy, arXiv:2312.15927"
    )
    summary: ClassVar[str] = "kernel MMD of embeddings: every moment, where dm has the mean"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": QUICK,
        "paper": {"iterations": 10_000, "networks": "pool:size=10,longest=100", "factor": 2},
    }

    kernel: str = option("rbf", "kernel", choices=KERNELS)
    bandwidth: float | None = option(
        None, "of the rbf kernel; by default five about the median distance", above=0
    )
    degree: int = option(3, "of the polynomial kernel", low=1)
    unbiased: bool = option(False, "leave an image's kernel with itself out")

    @property
    def discrepancy(self) -> KernelMMD:
        bandwidths = () if self.bandwidth is None else (self.bandwidth,)
        return KernelMMD(self.kernel, bandwidths, self.degree, self.unbiased)


@register
@dataclass(frozen=True, kw_only=True)
class GaussianKLMatching(SingleDiscrepancy):
    """Match class-wise Gaussians of embeddings by their KL divergence."""

    name: ClassVar[str] = "kl"
    citation: ClassVar[str] = "Kullback and Leibler, On Information and Sufficiency, 1951; closed form"
    summary: ClassVar[str] = "KL divergence between class-wise Gaussians of embeddings"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": QUICK,
        "paper": {"iterations": 20_000, "optimiser": "adam", "learning_rate": 0.01},
    }

    direction: str = option(
        "forward", "forward: KL(real || synthetic), reverse, or symmetric", choices=DIRECTIONS
    )
    covariance: str = option("diagonal", "of the Gaussians", choices=COVARIANCES)
    shrinkage: float = option(0.1, "of covariances towards a multiple of the identity, at most 1", above=0)

    @property
    def discrepancy(self) -> GaussianKL:
        return GaussianKL(self.direction, self.covariance, self.shrinkage)


@register
@dataclass(frozen=True, kw_only=True)
class AdversarialMatching(CriticMatching, SingleDiscrepancy):
    """Fool a discriminator of embeddings that knows the class ([2], on features instead of images)."""

    name: ClassVar[str] = "adversarial"
    citation: ClassVar[str] = "Goodfellow et al., Generative Adversarial Nets, arXiv:1406.2661"
    summary: ClassVar[str] = "a discriminator on embeddings, images learn to fool it"
    objective: str = option("nonsaturating", "adversarial loss", choices=LOSSES)

    @property
    def discrepancy(self) -> Adversary:
        return Adversary(
            **self.critic,
            objective=self.objective,
        )


@register
@dataclass(frozen=True, kw_only=True)
class CharacteristicMatching(SingleDiscrepancy):
    """Match characteristic functions at frequencies that a sampler learns to choose ([3])."""

    name: ClassVar[str] = "ncfm"
    citation: ClassVar[str] = (
        "Wang et al., Dataset Distillation with Neural Characteristic Function, arXiv:2502.20653"
    )
    summary: ClassVar[str] = "characteristic functions at learned frequencies"
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {**QUICK, "frequencies": 512},
        "paper": {
            "iterations": 20_000,
            "optimiser": "adam",
            "learning_rate": 0.001,
            "networks": "pool:size=20,longest=2000,data=real",
            "factor": 2,
        },
    }

    frequencies: int = option(1024, "frequencies an image step", low=1)
    amplitude: float = option(0.5, "weight of amplitude against phase, at most 1", low=0)
    sampler_steps: int = option(1, "sampler steps an image step; 0: fixed normals", low=0)
    sampler_rate: float = option(1e-3, "the sampler's learning rate", above=0)

    @property
    def discrepancy(self) -> CharacteristicFunction:
        return CharacteristicFunction(
            self.frequencies, self.amplitude, self.sampler_steps, self.sampler_rate
        )
