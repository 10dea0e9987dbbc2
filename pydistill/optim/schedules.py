"""Learning-rate schedules: which share of the first rate a step takes."""

import math
from collections.abc import Callable, Mapping


def constant(step: int, steps: int) -> float:
    """1 throughout."""
    return 1.0


def tenth_at_half(step: int, steps: int) -> float:
    """1 in the first half of ``steps``, 0.1 in the second."""
    return 1.0 if 2 * step < steps else 0.1


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 down to 0.

    The last of ``steps`` steps has a small share left and the rate would be 0 at the step after it. (Public
    code that divides by twice the steps ends at half the rate instead.)
    """
    return 0.5 * (1 + math.cos(math.pi * step / steps))


SCHEDULES: Mapping[str, Callable[[int, int], float]] = {
    "step": tenth_at_half,
    "cosine": cosine,
    "constant": constant,
}
"""Schedules by name; each takes the step's index, from 0, and the number of steps."""
