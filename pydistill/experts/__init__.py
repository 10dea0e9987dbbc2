"""Experts: networks trained on the real data, their weights kept along the way for others to follow."""

from pydistill.experts.run import needed_bytes, train_experts
from pydistill.experts.store import Experts, load_experts
from pydistill.experts.training import ExpertTraining
from pydistill.experts.trajectory import Trajectory

__all__ = ["ExpertTraining", "Experts", "Trajectory", "load_experts", "needed_bytes", "train_experts"]
