"""The images that a method starts from: real ones, packed where a factor asks for it, or noise."""

import dataclasses

import torch

from pydistill.data.formation import Packed, check_factor, pack
from pydistill.engine.problem import Problem
from pydistill.tasks import Draw

INITS = ("real", "noise")


def initial(problem: Problem, factor: int, init: str, draw: Draw | None = None) -> Packed:
    """First images with their targets.

    Args:
        problem: Real data, budget, seed.
        factor: Views along each side of a stored image.
        init: ``noise``: Gaussian noise in place of the images' own content; else real images.
        draw: Which real ones; None: drawn uniformly from each class, ``factor**2`` for each stored one.

    Raises:
        ValueError: ``factor`` does not divide the images, or a class has too few and those are refused.
    """
    check_factor(factor, problem.data.shape)
    if draw is None:
        generator = problem.generator("initial images")
        draw = problem.groups.draw(problem.each, generator, strict=problem.strict, packed=factor**2)
    first = pack(problem.data, draw, factor, problem.device)
    if init != "noise":
        return first
    noise = torch.randn(first.images.shape, generator=problem.generator("initial noise"))
    return dataclasses.replace(first, images=noise.to(problem.device, memory_format=torch.channels_last))
