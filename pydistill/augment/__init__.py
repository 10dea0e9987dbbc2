"""Differentiable siamese augmentation (arXiv:2102.08259): one draw for real and synthetic images."""

from pydistill.augment.augmentation import Augmentation
from pydistill.augment.movement import ParameterMovement
from pydistill.augment.parameters import Parameters
from pydistill.augment.transforms import TRANSFORMS, Transform

__all__ = ["TRANSFORMS", "Augmentation", "ParameterMovement", "Parameters", "Transform"]
