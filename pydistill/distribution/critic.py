"""What the methods that train discriminators share: their options and presets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydistill.distribution.discrepancies.adversary import PENALTIES
from pydistill.distribution.matching import QUICK, DistributionMatching
from pydistill.engine.method import option


@dataclass(frozen=True, kw_only=True)
class CriticMatching(DistributionMatching):
    """Distribution matching by one or more discriminators of features."""

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "quick": {**QUICK, "learning_rate": 0.02, "steps_per_network": 10},
        "paper": {
            "iterations": 20_000,
            "optimiser": "adam",
            "learning_rate": 0.01,
            "steps_per_network": 10,
        },
    }

    penalty: str = option("gradient", "what keeps a discriminator smooth", choices=PENALTIES)
    penalty_weight: float = option(1.0, "factor of the gradient penalty", low=0)
    critic_hidden: int = option(128, "hidden width of a discriminator", low=1)
    critic_steps: int = option(5, "discriminator steps an image step", low=1)
    critic_rate: float = option(1e-3, "a discriminator's learning rate", above=0)

    @property
    def critic(self) -> dict[str, Any]:
        """The options as a discrepancy takes them."""
        return {
            "hidden": self.critic_hidden,
            "critic_steps": self.critic_steps,
            "critic_rate": self.critic_rate,
            "penalty": self.penalty,
            "penalty_weight": self.penalty_weight,
        }
