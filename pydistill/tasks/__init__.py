"""Tasks: what a target is, its loss, its metric."""

from pydistill.tasks.base import Draw, Groups, Task
from pydistill.tasks.classification import Classification

__all__ = ["Classification", "Draw", "Groups", "Task"]
