"""Random selection, the baseline that every method is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pydistill.engine.initial import initial
from pydistill.engine.method import Family, Method, State, Synthetic, option, register
from pydistill.engine.problem import Problem
from pydistill.selection.base import Selection


@register
@dataclass(frozen=True, kw_only=True)
class RandomSelection(Method):
    """``ipc`` training images of every class, uniformly at random, without replacement.

    Where an image is of no one class, as many images of all as the budget says, whatever they hold.

    With ``factor`` above 1 each stored image is packed of ``factor**2`` real ones, so that a class needs
    ``ipc * factor**2``: what methods that learn packed images are to be compared with.
    """

    name: ClassVar[str] = "random"
    family: ClassVar[Family] = "selection"
    citation: ClassVar[str] = "baseline"
    summary: ClassVar[str] = "real images drawn uniformly from each class"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "segmentation", "detection")

    factor: int = option(1, "real images along each side of a stored one", low=1)

    @property
    def steps(self) -> int:
        return 0

    def select(self, problem: Problem) -> Selection:
        """The images that a budget asks for, those that methods start from under ``init=real``."""
        generator = problem.generator("initial images")
        draw = problem.groups.draw(problem.each, generator, strict=problem.strict, packed=self.factor**2)
        return Selection(draw.indices, draw.groups)

    def start(self, problem: Problem) -> State:
        first = initial(problem, self.factor, "real")
        return {"images": first.images, "targets": first.targets}

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        raise IndexError(f"random selection has no iterations, asked for number {index}")

    def result(self, problem: Problem, state: State) -> Synthetic:
        return Synthetic(state["images"], state["targets"], factor=self.factor)
