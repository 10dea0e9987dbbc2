"""Kernels between images, and kernel ridge regression."""

from pydistill.kernels.functions import Kernel, layered, parse_kernel
from pydistill.kernels.ridge import KernelRidge, regression, solve

__all__ = ["Kernel", "KernelRidge", "layered", "parse_kernel", "regression", "solve"]
