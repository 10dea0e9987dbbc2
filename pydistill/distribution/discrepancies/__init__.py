"""Distances between distributions of features, one file an idea. A new one is a frozen dataclass."""

from pydistill.distribution.discrepancies.adversary import Adversary, DomainAdversary
from pydistill.distribution.discrepancies.base import Discrepancy, Term
from pydistill.distribution.discrepancies.characteristic import CharacteristicFunction
from pydistill.distribution.discrepancies.discrimination import Discrimination
from pydistill.distribution.discrepancies.gaussian import GaussianKL
from pydistill.distribution.discrepancies.kernel import KernelMMD
from pydistill.distribution.discrepancies.moments import ChannelVariance, MeanEmbedding, SpatialAttention

__all__ = [
    "Adversary",
    "ChannelVariance",
    "CharacteristicFunction",
    "Discrepancy",
    "Discrimination",
    "DomainAdversary",
    "GaussianKL",
    "KernelMMD",
    "MeanEmbedding",
    "SpatialAttention",
    "Term",
]
