"""The images that a method starts from: real ones, packed where a factor asks for it, or noise."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill.data.formation import Packed, check_factor, pack
from pydistill.problem import Problem
from pydistill.tasks import Draw

INITS = ("real", "noise")

_SURE = 0.9
"""Probability of its own class that a learned label starts from."""


def initial(problem: Problem, factor: int, init: str, draw: Draw | None = None) -> Packed:
    """First images with their targets.

    Args:
        problem: Real data, images a class, seed.
        factor: Views along each side of a stored image.
        init: ``noise``: Gaussian noise in place of the images' own content; else real images.
        draw: Which real ones; None: drawn uniformly from each class, ``factor**2`` for each stored one.

    Raises:
        ValueError: ``factor`` does not divide the images, or a class has too few and those are refused.
    """
    check_factor(factor, problem.data.shape)
    if draw is None:
        generator = problem.generator("initial images")
        draw = problem.groups.draw(problem.ipc, generator, strict=problem.strict, packed=factor**2)
    first = pack(problem.data, draw, factor, problem.device)
    if init != "noise":
        return first
    noise = torch.randn(first.images.shape, generator=problem.generator("initial noise"))
    return dataclasses.replace(first, images=noise.to(problem.device, memory_format=torch.channels_last))


def confident(targets: Tensor, classes: int) -> Tensor:
    """Logits (M, K) that learned labels of classes (M,) start from: nearly sure of their own class."""
    hard = F.one_hot(targets, classes).float()
    return (hard * _SURE + (1 - hard) * (1 - _SURE) / (classes - 1)).log()
