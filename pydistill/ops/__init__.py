"""Fused operators: each one a compiled kernel, a plain-torch reference and right derivatives.

Every operator works without the compiled extension: it then runs its reference, slower. :func:`status`
tells which of the two is in use and why, :func:`reference_only` asks for the reference.
"""

from pydistill.ops._library import Status, reference_only, status
from pydistill.ops.conv3x3 import conv3x3
from pydistill.ops.gradient_distance import gradient_distance
from pydistill.ops.gram import gram, gram_diagonal
from pydistill.ops.mmd import mmd
from pydistill.ops.norm_relu_pool import norm_relu_pool
from pydistill.ops.siamese_augment import siamese_augment

__all__ = [
    "Status",
    "conv3x3",
    "gradient_distance",
    "gram",
    "gram_diagonal",
    "mmd",
    "norm_relu_pool",
    "reference_only",
    "siamese_augment",
    "status",
]
