"""Networks: described as text, built from an explicit generator, one at a time or stacked."""

from pydistill.nets.base import Mode, Network
from pydistill.nets.build import Stacked, block_names, build, build_many, flops, require_weights, stack
from pydistill.nets.spec import Shape, Spec, architectures, parse, register
from pydistill.nets.store import load_network, save_network

__all__ = [
    "Mode",
    "Network",
    "Shape",
    "Spec",
    "Stacked",
    "architectures",
    "block_names",
    "build",
    "build_many",
    "flops",
    "load_network",
    "parse",
    "register",
    "require_weights",
    "save_network",
    "stack",
]
