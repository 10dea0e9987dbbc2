"""Tasks: what a target is, its loss, its metric."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydistill.tasks.base import Draw, Groups, Movement, Task
from pydistill.tasks.classification import Classification
from pydistill.tasks.detection import Detection
from pydistill.tasks.losses import Loss, Teacher, parse_loss
from pydistill.tasks.metric import Breakdown, Metric
from pydistill.tasks.segmentation import Segmentation

TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {task.name: task for task in (Classification, Segmentation, Detection)}
)
"""Every task by name."""

__all__ = [
    "TASKS",
    "Breakdown",
    "Classification",
    "Detection",
    "Draw",
    "Groups",
    "Loss",
    "Metric",
    "Movement",
    "Segmentation",
    "Task",
    "Teacher",
    "parse_loss",
    "restore",
]


def restore(facts: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.describe` described.

    Raises:
        ValueError: It is unknown, or its class names are no texts.
    """
    name, names = facts["name"], facts["class_names"]
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known are {', '.join(TASKS)}")
    if isinstance(names, str) or not all(isinstance(each, str) for each in names):
        raise ValueError(f"expected class names as a list of texts, found {names!r:.80}")
    return TASKS[name](tuple(names))
