"""Random selection, the baseline that every method is held against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pydistill.method import Family, Method, State, Synthetic, register
from pydistill.problem import Problem


@register
@dataclass(frozen=True, kw_only=True)
class RandomSelection(Method):
    """``ipc`` training images of every class, uniformly at random, without replacement."""

    name: ClassVar[str] = "random"
    family: ClassVar[Family] = "selection"
    citation: ClassVar[str] = "baseline"
    summary: ClassVar[str] = "real images drawn uniformly from each class"

    @property
    def steps(self) -> int:
        return 0

    def start(self, problem: Problem) -> State:
        draw = problem.groups.draw(problem.ipc, problem.generator("initial images"), strict=True)
        return {"images": problem.images(draw.indices), "targets": problem.targets(draw.indices)}

    def step(self, problem: Problem, state: State, index: int) -> Mapping[str, Tensor | float]:
        raise IndexError(f"random selection has no iterations, asked for number {index}")

    def result(self, problem: Problem, state: State) -> Synthetic:
        return Synthetic(state["images"], state["targets"])
