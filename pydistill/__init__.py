"""Dataset distillation: a small synthetic training set out of a large real one.

>>> import pydistill
>>> data = pydistill.load_data("digits")
>>> small = pydistill.distill(data, "dm", ipc=10, preset="quick")
>>> report = pydistill.evaluate(small, data)
"""

from pydistill._version import __version__
from pydistill.data import DistilledData, RealData, load_data
from pydistill.distill import distill
from pydistill.errors import (
    CheckpointError,
    DataError,
    DivergenceError,
    FileFormatError,
    OutputError,
    PydistillError,
    SingularKernelError,
)
from pydistill.evaluate import Protocol, Report, evaluate
from pydistill.experts import Experts, ExpertTraining, load_experts, train_experts
from pydistill.method import Method, make_method, methods
from pydistill.relabel import relabel
from pydistill.ridge import KernelRidge

__all__ = [
    "CheckpointError",
    "DataError",
    "DistilledData",
    "DivergenceError",
    "ExpertTraining",
    "Experts",
    "FileFormatError",
    "KernelRidge",
    "Method",
    "OutputError",
    "Protocol",
    "PydistillError",
    "RealData",
    "Report",
    "SingularKernelError",
    "__version__",
    "distill",
    "evaluate",
    "load_data",
    "load_experts",
    "make_method",
    "methods",
    "relabel",
    "train_experts",
]
