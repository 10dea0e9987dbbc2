"""Difference of characteristic functions at frequencies that a sampler learns to choose.

[0] S. Wang et al.: Dataset Distillation with Neural Characteristic Function: A Minmax Perspective. CVPR
    2025, arXiv:2502.20653.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill import optim
from pydistill.distribution.discrepancies.base import Discrepancy, State
from pydistill.distribution.discrepancies.kernel import median_bandwidths
from pydistill.errors import CheckpointError

_NOISE, _HIDDEN = 32, 64
_REACH = math.log(2)
"""The sampler moves a frequency's scale by a factor of 1/2 to 2."""


@dataclass(frozen=True)
class CharacteristicFunction(Discrepancy):
    """Amplitude and phase differences between empirical characteristic functions ([0], equations 5 to 8).

    With P(t) = E exp(i t.x) for real and Q(t) for synthetic features of a class, the distance is the mean
    over frequencies t of ``sqrt(a (|P| - |Q|)^2 + (1 - a) 2 |P| |Q| (1 - cos(phase difference)))``.

    Frequencies are a scale mixture of normals: standard normal vectors, divided by the typical distance of
    real features and scaled, feature by feature, by a small network of a noise vector. That network climbs
    the distance while the images descend it. The scales here are bounded: at high frequencies the functions
    of two small samples of one distribution lie apart by chance alone, where an unbounded sampler goes.

    Attributes:
        frequencies: How many are drawn a step.
        amplitude: The weight a of the amplitude part, from 0 to 1.
        sampler_steps: Steps of the sampler for each step of the images; 0 keeps the normals as they are.
        sampler_rate: Adam's step size.
    """

    frequencies: int = 1024
    amplitude: float = 0.5
    sampler_steps: int = 1
    sampler_rate: float = 1e-3

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: A number is out of range.
        """
        if self.frequencies < 1 or self.sampler_steps < 0:
            raise ValueError(
                f"expected at least 1 frequency and 0 sampler steps, got {self.frequencies} and "
                f"{self.sampler_steps}"
            )
        if not 0 <= self.amplitude <= 1 or not self.sampler_rate > 0:
            raise ValueError(
                f"expected an amplitude within [0, 1] and a sampler rate above 0, got {self.amplitude} and "
                f"{self.sampler_rate}"
            )

    def start(self, real: Tensor, generator: torch.Generator) -> State:
        width = real.shape[2]
        sampler = {
            "in": torch.randn(_NOISE, _HIDDEN, generator=generator) / math.sqrt(_NOISE),
            "in bias": torch.zeros(_HIDDEN),
            "out": torch.randn(_HIDDEN, width, generator=generator) * 0.01,
            "out bias": torch.zeros(width),
        }
        sampler = {name: value.to(real.device) for name, value in sampler.items()}
        return {"sampler": sampler, "optimiser": optim.Adam().init(sampler), "draw": {}}

    def prepare(self, real: Tensor, state: State) -> None:
        state["scale"] = 1 / median_bandwidths(real, (2.0,))[0]

    def learn(self, synthetic: Tensor, real: Tensor, state: State, generator: torch.Generator) -> None:
        sampler = state["sampler"]
        if sampler["out"].shape[1] != real.shape[2]:
            raise CheckpointError(
                f"the sampler is of {sampler['out'].shape[1]} features, the layer has {real.shape[2]}"
            )
        state["draw"] = {
            "noise": torch.randn(self.frequencies, _NOISE, generator=generator).to(real.device),
            "normals": torch.randn(self.frequencies, real.shape[2], generator=generator).to(real)
            * state["scale"],
        }
        for _ in range(self.sampler_steps):
            weights = {name: value.detach().requires_grad_() for name, value in sampler.items()}
            loss = -self._distance(synthetic, real, _frequencies(weights, state["draw"]))
            gradients = torch.autograd.grad(loss, list(weights.values()))
            optim.Adam().update_(
                sampler, dict(zip(sampler, gradients, strict=True)), state["optimiser"], self.sampler_rate
            )

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        return self._distance(synthetic, real, _frequencies(state["sampler"], state["draw"]))

    def _distance(self, synthetic: Tensor, real: Tensor, frequencies: Tensor) -> Tensor:
        return characteristic_distance(real, synthetic, frequencies, self.amplitude).sum()


def characteristic_distance(real: Tensor, other: Tensor, frequencies: Tensor, amplitude: float) -> Tensor:
    """The distance between sets (G, N, D) and (G, M, D) at frequencies (F, D): (G,)."""
    p, q = characteristic(real, frequencies), characteristic(other, frequencies)
    sizes = [_modulus(value) for value in (p, q)]
    aligned = p[0] * q[0] + p[1] * q[1]
    amplitudes = (sizes[0] - sizes[1]).square()
    phases = 2 * (sizes[0] * sizes[1] - aligned)
    return (amplitude * amplitudes + (1 - amplitude) * phases).clamp_min(1e-12).sqrt().mean(1)


def characteristic(sets: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part (G, F) of the empirical characteristic function of sets (G, N, D)."""
    angles = sets @ frequencies.T
    return angles.cos().mean(1), angles.sin().mean(1)


def _modulus(parts: tuple[Tensor, Tensor]) -> Tensor:
    return (parts[0].square() + parts[1].square()).clamp_min(1e-12).sqrt()


def _frequencies(sampler: State, draw: State) -> Tensor:
    hidden = torch.relu(draw["noise"] @ sampler["in"] + sampler["in bias"])
    scales: Tensor = (_REACH * torch.tanh(hidden @ sampler["out"] + sampler["out bias"])).exp()
    normals: Tensor = draw["normals"]
    return normals * scales
