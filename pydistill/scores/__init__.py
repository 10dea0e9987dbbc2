"""What is known of every training image: how networks learned it, and where it lies among the others."""

from pydistill.scores.embedding import embed
from pydistill.scores.run import compute_scores
from pydistill.scores.store import Scores
from pydistill.scores.training import ScoreTraining

__all__ = ["ScoreTraining", "Scores", "compute_scores", "embed"]
