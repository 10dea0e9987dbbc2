"""Tasks: what a target is, its loss, its metric."""

from pydistill.tasks.base import Breakdown, Draw, Groups, Task
from pydistill.tasks.classification import Classification

__all__ = ["Breakdown", "Classification", "Draw", "Groups", "Task"]
