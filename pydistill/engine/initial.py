"""The images that a method starts from: real ones, packed where a factor asks for it, or noise.

Which real ones: drawn uniformly, or chosen by a selector, found by its name.
"""

import dataclasses
from typing import Any

import torch

from pydistill.data.formation import Packed, check_factor, pack
from pydistill.engine.method import parse_selector, require_task
from pydistill.engine.problem import Problem
from pydistill.tasks import Draw

INITS = ("real", "noise")


def initial(problem: Problem, factor: int, init: str, draw: Draw | None = None) -> Packed:
    """First images with their targets.

    Args:
        problem: Real data, budget, seed.
        factor: Views along each side of a stored image.
        init: ``noise``: Gaussian noise in place of the images' own content; ``real``: real images; where
            no draw is given also a selector, see :func:`selected`.
        draw: Which real ones; None: drawn uniformly from each class, ``factor**2`` for each stored one.

    Raises:
        ValueError: ``factor`` does not divide the images, a class has too few and those are refused, or a
            selector does not serve the task.
    """
    check_factor(factor, problem.data.shape)
    if draw is None and init not in INITS:
        draw = selected(problem, factor, init)
    if draw is None:
        generator = problem.generator("initial images")
        draw = problem.groups.draw(problem.each, generator, strict=problem.strict, packed=factor**2)
    first = pack(problem.data, draw, factor, problem.device)
    if init != "noise":
        return first
    noise = torch.randn(first.images.shape, generator=problem.generator("initial noise"))
    return dataclasses.replace(first, images=noise.to(problem.device, memory_format=torch.channels_last))


def selected(problem: Problem, factor: int, text: str) -> Draw:
    """Real images that a selector chooses, ``factor**2`` for each stored one.

    Scores that it needs are computed here, unless it names a folder of them.

    Args:
        problem: Real data, budget, seed.
        factor: Views along each side of a stored image.
        text: What :func:`~pydistill.engine.method.parse_selector` takes: ``herding``,
            ``k_center:embedding=thumbnails``.

    Raises:
        ValueError: It is no selector or does not serve the task, or a class has too few images.
    """
    selector: Any = dataclasses.replace(parse_selector(text, "init", INITS), factor=factor)  # type: ignore[call-arg]
    require_task(selector, problem)
    found = selector.select(problem)
    return Draw(found.indices, found.groups)
