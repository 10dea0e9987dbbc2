"""Optimisers as pure functions on dicts of tensors, and learning-rate schedules."""

from pydistill.optim.optimisers import (
    Adam,
    AsUnrolled,
    Optimiser,
    OptimiserState,
    Rate,
    Sgd,
    Tensors,
    move_each,
)

__all__ = ["Adam", "AsUnrolled", "Optimiser", "OptimiserState", "Rate", "Sgd", "Tensors", "move_each"]
