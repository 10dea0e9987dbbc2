"""Networks: described as text, built from an explicit generator, one at a time or stacked."""

from pydistill.nets.base import Mode, Network
from pydistill.nets.build import Stacked, build, build_many, flops, stack
from pydistill.nets.spec import Shape, Spec, architectures, parse, register

__all__ = [
    "Mode",
    "Network",
    "Shape",
    "Spec",
    "Stacked",
    "architectures",
    "build",
    "build_many",
    "flops",
    "parse",
    "register",
    "stack",
]
