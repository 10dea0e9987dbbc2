"""Sample selection: the distilled set is made of real images."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydistill.selection.pareto import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:
    """What is public here is imported as it is asked for: methods import their own selectors alone."""
    if name in __all__:
        return getattr(importlib.import_module("pydistill.selection.pareto"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
