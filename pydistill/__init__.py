"""Dataset distillation: a small synthetic training set out of a large real one.

>>> import pydistill
>>> data = pydistill.load_data("digits")
>>> small = pydistill.distill(data, "dm", ipc=1, preset="quick")
>>> report = pydistill.evaluate(small, data)

Importing the package is quick: what needs torch is imported when it is first asked for.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydistill._version import __version__
from pydistill.errors import (
    CheckpointError,
    DataError,
    DivergenceError,
    ExtensionWarning,
    FileFormatError,
    MissingExtraError,
    OutputError,
    PydistillError,
    SingularKernelError,
    did_you_mean,
)

if TYPE_CHECKING:
    from pydistill.analysis import Analysis, analyse
    from pydistill.data import DistilledData, RealData, load_data
    from pydistill.engine.method import Method, make_method, methods
    from pydistill.engine.run import distill
    from pydistill.evaluation import Protocol, Report, evaluate
    from pydistill.evaluation.single import train
    from pydistill.experts import Experts, ExpertTraining, load_experts, train_experts
    from pydistill.kernels.ridge import KernelRidge
    from pydistill.scores import Scores, compute_scores, embed
    from pydistill.selection.base import Selection, Selector
    from pydistill.training.teacher import relabel

__all__ = [
    "Analysis",
    "CheckpointError",
    "DataError",
    "DistilledData",
    "DivergenceError",
    "ExpertTraining",
    "Experts",
    "ExtensionWarning",
    "FileFormatError",
    "KernelRidge",
    "Method",
    "MissingExtraError",
    "OutputError",
    "Protocol",
    "PydistillError",
    "RealData",
    "Report",
    "Scores",
    "Selection",
    "Selector",
    "SingularKernelError",
    "__version__",
    "analyse",
    "compute_scores",
    "distill",
    "embed",
    "evaluate",
    "load_data",
    "load_experts",
    "make_method",
    "methods",
    "relabel",
    "train",
    "train_experts",
]

_HOMES = {
    "analysis": ("Analysis", "analyse"),
    "data": ("DistilledData", "RealData", "load_data"),
    "engine.method": ("Method", "make_method", "methods"),
    "engine.run": ("distill",),
    "evaluation": ("Protocol", "Report", "evaluate"),
    "experts": ("ExpertTraining", "Experts", "load_experts", "train_experts"),
    "kernels.ridge": ("KernelRidge",),
    "evaluation.single": ("train",),
    "scores": ("Scores", "compute_scores", "embed"),
    "selection.base": ("Selection", "Selector"),
    "training.teacher": ("relabel",),
}
"""The module of each name above that is imported when it is asked for; as under ``TYPE_CHECKING``."""

_HOME = {name: f"pydistill.{home}" for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """This package: public names and submodules are imported as they are asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in _HOME:
            value = getattr(importlib.import_module(_HOME[name]), name)
            vars(self)[name] = value
            return value
        if not name.startswith("__"):
            if name == "_C":  # it needs torch's libraries loaded
                importlib.import_module("torch")
            try:
                return importlib.import_module(f"pydistill.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"pydistill.{name}":
                    raise
        raise AttributeError(f"module 'pydistill' has no attribute {name!r}{did_you_mean(name, __all__)}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
