"""What a method works on: real data, a budget, a seed, a device. Made once, read by every step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pydistill import checks, seeds
from pydistill.budget import Budget
from pydistill.data.preprocess import Preprocess
from pydistill.data.real import RealData
from pydistill.machine import resolve_device
from pydistill.tasks import Groups, Task
from pydistill.tasks.base import chunks

_LARGEST_BATCH = {"cpu": 32, "cuda": 2048}
"""Default bound of a working batch. On a CPU 32 images keep a block's maps below the size from which
the system's allocator returns every buffer to the kernel, so that no time goes into page faults."""


_LARGEST_GRAPH = {"cpu": 512, "cuda": 4096}
"""Default bound of a batch whose graph is kept: about a megabyte an image in the field's ConvNet."""


SHORT_CLASSES = ("refuse", "keep")
"""What is done about a class with fewer training images than the budget asks for: ``refuse`` raises an
error that names every such class, ``keep`` goes on with what there is in it."""


@dataclass(frozen=True)
class Problem:
    """Real data, a budget of images, a seed and a device.

    Attributes:
        data: The real data; ``test`` is not for methods.
        budget: How large the distilled set may be.
        seed: Every draw derives from it.
        device: Where networks and batches live.
        max_batch: Most images in one pass of a network over real data; bounds memory, does not change
            results beyond rounding.
        max_graph: Most images in one pass whose graph is kept for a gradient; bounds memory, does not
            change results beyond rounding.
        short_classes: One of :data:`SHORT_CLASSES`.
        clamp: Whether learned images are kept within the range of pixels, after every step.
    """

    data: RealData
    budget: Budget
    seed: int
    device: torch.device
    max_batch: int
    max_graph: int
    short_classes: str = "refuse"
    clamp: bool = False

    @property
    def task(self) -> Task:
        """The data's task."""
        return self.data.task

    @cached_property
    def groups(self) -> Groups:
        """The training images by what the budget is shared out over: classes, where each is of one."""
        return self.data.task.strata(self.data.train.targets)

    @cached_property
    def each(self) -> list[int]:
        """Stored images of each group (class) that the budget asks for."""
        images, targets = math.prod(self.data.shape), self.data.train.targets
        stored = 4 * images + targets.nbytes // max(1, len(targets))
        return self.budget.by_group([len(member) for member in self.groups.members], stored)

    @property
    def ipc(self) -> int:
        """Images a class that the budget asks for, of the class with most; 0 where there are none."""
        return max(self.each) if self.task.by_class else 0

    @cached_property
    def preprocess(self) -> Preprocess:
        """From pixels to network input, on the device."""
        return self.data.preprocess.to(self.device)

    @property
    def strict(self) -> bool:
        """Whether a class with fewer images than the budget asks for is refused."""
        return self.short_classes == "refuse"

    def require(self, packed: int = 1) -> None:
        """Raise ``ValueError`` where a class is too small for stored images of ``packed``, unless kept."""
        each = self.each  # a budget that gives a group nothing is refused however short groups are treated
        if self.strict:
            self.groups.require(each, packed)

    def generator(self, *path: str | int) -> torch.Generator:
        """A CPU generator for one purpose: ``problem.generator("real batch", index)``."""
        return seeds.generator(self.seed, *path)

    def targets(self, indices: Tensor) -> Tensor:
        """Targets of training images, on the device."""
        return self.data.train.targets[indices].to(self.device)

    def images(self, indices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Training images as network input (M, C, H, W), channels_last, on the device."""
        return self.data.inputs(self.data.train, indices, self.device, dtype)

    def augment(self, text: str) -> str:
        """An augmentation's description, or what suits the data where the text is ``auto``."""
        return self.data.augment if text == "auto" else text

    def chunks(self, total: int) -> Sequence[slice]:
        """Slices that cover ``range(total)``, none longer than ``max_batch``."""
        return chunks(total, self.max_batch)


def make_problem(
    data: RealData,
    *,
    ipc: int | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    device: str = "auto",
    max_batch: int | None = None,
    short_classes: str = "refuse",
    clamp: bool = False,
) -> Problem:
    """Check the arguments and set the stage.

    Args:
        data: The real data.
        ipc: Images a class, where no ``budget`` is given.
        budget: How large the set may be.
        seed: Every draw derives from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        max_batch: Most images in one pass.
        short_classes: One of :data:`SHORT_CLASSES`.
        clamp: Whether learned images are kept within the range of pixels.

    Raises:
        TypeError: ``ipc``, ``seed`` or ``max_batch`` is not an integer, or there is no budget.
        ValueError: ``ipc`` or ``max_batch`` is below 1, the budget gives a class no image, classes are
            smaller than it asks for (they are named) and are refused, ``short_classes`` is unknown, or the
            device is not there.
    """
    budget = Budget.of(ipc=ipc) if budget is None else budget
    checks.choice("short_classes", short_classes, SHORT_CLASSES)
    for name, value, low in (("seed", seed, 0), ("max_batch", max_batch, 1)):
        if value is not None:
            checks.integer(name, value, low)
    where = resolve_device(device)
    if budget.kind == "ipc" and not data.task.by_class:
        raise ValueError(
            f"{data.task.name} has no images a class, since an image may hold several: give images=, "
            "fraction= or nbytes= (--images, --fraction, --bytes) in place of ipc"
        )
    problem = Problem(
        data,
        budget,
        seed,
        where,
        max_batch or _LARGEST_BATCH.get(where.type, 256),
        max_batch or _LARGEST_GRAPH.get(where.type, 512),
        short_classes,
        clamp,
    )
    problem.require()
    return problem
