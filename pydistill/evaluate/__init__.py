"""Fair evaluation: fresh networks from scratch, the same protocol for every set, test data scored once."""

from pydistill.evaluate.protocol import PROTOCOLS, Protocol, named
from pydistill.evaluate.report import Report
from pydistill.evaluate.run import evaluate

__all__ = ["PROTOCOLS", "Protocol", "Report", "evaluate", "named"]
