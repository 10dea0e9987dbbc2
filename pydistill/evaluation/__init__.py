"""Fair evaluation: fresh networks from scratch, the same protocol for every set, test data scored once."""

from pydistill.evaluation.protocol import PROTOCOLS, Protocol, named
from pydistill.evaluation.report import Report
from pydistill.evaluation.run import evaluate

__all__ = ["PROTOCOLS", "Protocol", "Report", "evaluate", "named"]
