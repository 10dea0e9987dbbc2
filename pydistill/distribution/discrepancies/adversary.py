"""Discriminators on features: the images learn to be taken for real ones.

[0] I. Goodfellow et al.: Generative Adversarial Nets. NeurIPS 2014, arXiv:1406.2661.
[1] T. Miyato, M. Koyama: cGANs with Projection Discriminator. ICLR 2018, arXiv:1802.05637.
[2] T. Miyato et al.: Spectral Normalization for Generative Adversarial Networks. ICLR 2018,
    arXiv:1802.05957.
[3] L. Mescheder et al.: Which Training Methods for GANs do actually Converge? ICML 2018, arXiv:1801.04406.
[4] Y. Ganin et al.: Domain-Adversarial Training of Neural Networks. JMLR 2016, arXiv:1505.07818.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import checks, optim
from pydistill.distribution.discrepancies.base import Discrepancy, State
from pydistill.errors import CheckpointError

LOSSES = ("hinge", "nonsaturating")
PENALTIES = ("gradient", "spectral", "none")
_SLOPE = 0.2


@dataclass(frozen=True)
class _Critic(Discrepancy):
    """A discriminator of one hidden layer that knows the class by projection ([1], equation 3).

    score(f, c) = v.h + e_c.h + b with h the hidden layer of f. Features are centred and scaled by the
    real ones' mean and deviation first. It is learned anew with every network, whose features mean
    something else.

    Attributes:
        hidden: Width of the hidden layer.
        critic_steps: Steps of the discriminator for each step of the images.
        critic_rate: Adam's step size.
        penalty: ``gradient``: zero-centred, on real features ([3]); ``spectral``: every matrix is divided
            by its largest singular value, by power iteration ([2]); or ``none``.
        penalty_weight: Factor of the gradient penalty.
    """

    hidden: int = 128
    critic_steps: int = 5
    critic_rate: float = 1e-3
    penalty: str = "gradient"
    penalty_weight: float = 1.0

    renewed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: A number is out of range, or the penalty is unknown.
        """
        if self.hidden < 1 or self.critic_steps < 1:
            raise ValueError(
                f"expected hidden units and steps of at least 1, got {self.hidden} and {self.critic_steps}"
            )
        if not self.critic_rate > 0 or not self.penalty_weight >= 0:
            raise ValueError(
                f"expected a rate above 0 and a penalty weight of at least 0, got {self.critic_rate} and "
                f"{self.penalty_weight}"
            )
        checks.choice("penalty", self.penalty, PENALTIES)

    def start(self, real: Tensor, generator: torch.Generator) -> State:
        groups, _, width = real.shape
        shapes = {"in": (width, self.hidden), "out": (self.hidden, 1), "class": (self.hidden, groups)}
        critic = {
            name: torch.randn(shape, generator=generator) / math.sqrt(shape[0])
            for name, shape in shapes.items()
        }
        critic |= {"in bias": torch.zeros(self.hidden), "out bias": torch.zeros(1)}
        critic = {name: value.to(real.device) for name, value in critic.items()}
        vectors = {
            name: F.normalize(torch.randn(shape[1], generator=generator), dim=0).to(real.device)
            for name, shape in shapes.items()
        }
        return {"critic": critic, "optimiser": optim.Adam(beta1=0.5).init(critic), "vectors": vectors}

    def learn(self, synthetic: Tensor, real: Tensor, state: State, generator: torch.Generator) -> None:
        critic = state["critic"]
        if critic["in"].shape[0] != real.shape[2]:
            raise CheckpointError(
                f"the discriminator is of {critic['in'].shape[0]} features, the layer has {real.shape[2]}"
            )
        scaled, rows = _scaled(synthetic, real), self._rows(real, generator)
        for _ in range(self.critic_steps):
            weights = {name: value.detach().requires_grad_() for name, value in critic.items()}
            loss = self._critic_loss(
                scaled, rows.requires_grad_(self.penalty == "gradient"), weights, state
            )
            gradients = torch.autograd.grad(loss, list(weights.values()))
            optim.Adam(beta1=0.5).update_(
                critic, dict(zip(critic, gradients, strict=True)), state["optimiser"], self.critic_rate
            )

    def _rows(self, real: Tensor, generator: torch.Generator) -> Tensor:
        """Real features of this step, scaled: at most 64 a class, so that a step costs little."""
        picked = torch.randperm(real.shape[1], generator=generator)[:64].to(real.device)
        return _scaled(real[:, picked], real).detach()

    def _critic_loss(self, synthetic: Tensor, real: Tensor, weights: Any, state: State) -> Tensor:
        scores = self._scores(real, weights, state)
        loss = self._separates(scores, self._scores(synthetic, weights, state))
        if self.penalty == "gradient":
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            loss = loss + self.penalty_weight / 2 * slope.square().sum(2).mean()
        return loss

    def _separates(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The discriminator's loss from scores (G, N) and (G, n): logistic."""
        return F.softplus(-real).mean() + F.softplus(synthetic).mean()

    def _scores(self, sets: Tensor, weights: Any, state: State) -> Tensor:
        """Scores (G, N) of scaled sets (G, N, D), each row under its own class."""
        if self.penalty == "spectral":
            weights = {**weights, **{name: _normal(weights, state, name) for name in state["vectors"]}}
        hidden = F.leaky_relu(sets @ weights["in"] + weights["in bias"], _SLOPE)
        own = weights["out"][:, 0] + weights["class"].T
        scores: Tensor = (hidden * own[:, None]).sum(2) + weights["out bias"]
        return scores


@dataclass(frozen=True)
class Adversary(_Critic):
    """Images are updated to fool the discriminator ([0], the non-saturating loss, or the hinge loss).

    Attributes:
        objective: ``hinge`` or ``nonsaturating``.
    """

    objective: str = "nonsaturating"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("objective", self.objective, LOSSES)

    def _separates(self, real: Tensor, synthetic: Tensor) -> Tensor:
        if self.objective == "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + synthetic).mean()
        return super()._separates(real, synthetic)

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        scores = self._scores(_scaled(synthetic, real), state["critic"], state)
        fooled = -scores if self.objective == "hinge" else F.softplus(-scores)
        return fooled.mean(1).sum()


@dataclass(frozen=True)
class DomainAdversary(_Critic):
    """A domain discriminator behind a gradient reversal layer, as an alignment loss for the images ([4]).

    The discriminator tells real from synthetic. Its loss is also the images', whose gradient is reversed
    on the way and scaled by ``2 / (1 + exp(-10 p)) - 1`` with p the share of the run that is done ([4],
    section 5.2.2).
    """

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        reversed_ = reverse_gradient(_scaled(synthetic, real), reversal_strength(progress))
        return F.softplus(self._scores(reversed_, state["critic"], state)).mean(1).sum()


def reversal_strength(progress: float) -> float:
    """The published schedule of the reversal: 0 at the start, near 1 at the end ([4], section 5.2.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _Reversal(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, strength: float) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.strength = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reverse_gradient(features: Tensor, strength: float) -> Tensor:
    """The identity, whose gradient is multiplied by ``-strength`` ([4], equation 17)."""
    reversed_: Tensor = _Reversal.apply(features, strength)  # type: ignore[no-untyped-call]
    return reversed_


def _scaled(sets: Tensor, real: Tensor) -> Tensor:
    """Sets (G, N, D) about the mean of the real features, in units of their deviation."""
    real = real.detach()
    return (sets - real.mean((0, 1))) / real.std((0, 1), correction=0).mean().clamp_min(1e-12)


def _normal(weights: Any, state: State, name: str) -> Tensor:
    """A matrix divided by its largest singular value, from one step of power iteration a call."""
    matrix: Tensor = weights[name]
    with torch.no_grad():
        left = F.normalize(matrix @ state["vectors"][name], dim=0)
        right = F.normalize(matrix.T @ left, dim=0)
        state["vectors"][name] = right
    return matrix / (left @ matrix @ right)
