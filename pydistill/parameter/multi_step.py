"""Trajectory matching, method by method: which segments, which labels (engine: trajectories.py)."""

from dataclasses import dataclass
from typing import ClassVar

from pydistill.engine.initial import INITS
from pydistill.engine.method import option, register
from pydistill.parameter.trajectories import TrajectoryMatching


@register
@dataclass(frozen=True, kw_only=True)
class MatchingTrainingTrajectories(TrajectoryMatching):
    """MTT: segments of expert trajectories, at a learned learning rate.

    [0] G. Cazenavette, T. Wang, A. Torralba, A. A. Efros, J.-Y. Zhu: Dataset Distillation by Matching
        Training Trajectories. CVPR 2022, arXiv:2203.11932, algorithm 1.
    """

    name: ClassVar[str] = "mtt"
    citation: ClassVar[str] = (
        "G. Cazenavette, T. Wang, A. Torralba, A. A. Efros, J.-Y. Zhu: Dataset Distillation by Matching "
        "Training Trajectories. CVPR 2022, arXiv:2203.11932"
    )
    summary: ClassVar[str] = "training on the images follows an expert's trajectory"
    presets: ClassVar = {
        "quick": {
            "iterations": 100,
            "optimiser": "adam",
            "learning_rate": 0.02,
            "schedule": "cosine",
            # experts that get far in three epochs, matched over an epoch and a half from within the first
            # ones; where they move little, training on the images overshoots and gradients are noise
            "own_experts": "snapshots=8,rate=0.05",
            "expert_epochs": 12,
            "last_start": 11,
            "inner_steps": 20,
            "inner_batch": 50,
            "inner_rate": 0.05,
        },
        "paper": {"last_start": 20},
    }


@register
@dataclass(frozen=True, kw_only=True)
class ConstantMemoryTrajectories(TrajectoryMatching):
    """TESLA: MTT in memory that does not depend on T, with soft labels that experts give.

    The memory is the same for every method of this module, by :mod:`pydistill.training.unrolled`; the
    gradient is the full unroll's, where the paper's public code takes the weights between steps for
    constants.

    [0] J. Cui, R. Wang, S. Si, C.-J. Hsieh: Scaling Up Dataset Distillation to ImageNet-1K with Constant
        Memory. ICML 2023, arXiv:2211.10586.
    """

    name: ClassVar[str] = "tesla"
    citation: ClassVar[str] = (
        "J. Cui, R. Wang, S. Si, C.-J. Hsieh: Scaling Up Dataset Distillation to ImageNet-1K with Constant "
        "Memory. ICML 2023, arXiv:2211.10586"
    )
    summary: ClassVar[str] = "mtt with soft labels, in memory that does not depend on the steps"
    presets: ClassVar = {
        "quick": {
            **MatchingTrainingTrajectories.presets["quick"],
            "label_rate": 0.02,
        },
        "paper": {"last_start": 20},
    }

    labels: str = option(
        "expert",
        "targets: the images' classes, or an expert's probabilities of them",
        choices=("class", "expert"),
    )
    learn_labels: bool = option(True, "whether the targets' logits are learned")


@register
@dataclass(frozen=True, kw_only=True)
class DifficultyAlignedTrajectories(TrajectoryMatching):
    """DATM: segments as difficult as the number of images allows, from easy to hard; soft labels.

    Early snapshots hold easy patterns, late ones hard ones: few images take the early part of a trajectory
    (``last_start`` small), many the late part (``first_start`` large), and the range of starts grows.

    [0] Z. Guo, K. Wang, G. Cazenavette, H. Li, K. Zhang, Y. You: Towards Lossless Dataset Distillation via
        Difficulty-Aligned Trajectory Matching. ICLR 2024, arXiv:2310.05773, section 4.
    """

    name: ClassVar[str] = "datm"
    citation: ClassVar[str] = (
        "Z. Guo, K. Wang, G. Cazenavette, H. Li, K. Zhang, Y. You: Towards Lossless Dataset Distillation "
        "via Difficulty-Aligned Trajectory Matching. ICLR 2024, arXiv:2310.05773"
    )
    summary: ClassVar[str] = "trajectories from easy to hard, with learned soft labels"
    presets: ClassVar = {
        "quick": {
            **MatchingTrainingTrajectories.presets["quick"],
            "label_rate": 0.02,
            "last_at_first": 4,
            "grow_until": 50,
        },
        "paper": {"inner_steps": 80, "learning_rate": 100.0, "last_start": 20, "iterations": 10_000},
    }

    labels: str = option(
        "expert",
        "targets: the images' classes, or an expert's probabilities of them",
        choices=("class", "expert"),
    )
    learn_labels: bool = option(True, "whether the targets' logits are learned")
    last_at_first: int | None = option(
        10, "latest start in the first iteration, where the range of starts grows", low=0
    )
    grow_until: int = option(1_000, "iteration by which the range of starts has grown to its end", low=1)
    init: str = option(
        "right",
        "first images: real ones, those that an expert gets right, Gaussian noise, or a selector's",
        choices=("right", *INITS),
        selectors=True,
    )
