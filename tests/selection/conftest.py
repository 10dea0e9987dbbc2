"""Data of every task that selection serves, and scores of it."""

import pytest

from pydistill.scores import compute_scores
from tests.evaluation.test_dense import NETWORKS, real

TINY = {"network": "convnet:width=4,depth=2", "epochs": 2}
"""What makes scores of classes cheap."""


@pytest.fixture(scope="session")
def every_data(tiny):
    """Real data by task."""
    return {"classification": tiny, **{name: real(name) for name in ("segmentation", "detection")}}


@pytest.fixture(scope="session")
def every_scores(every_data):
    """Scores of it by task."""
    return {
        name: compute_scores(data, NETWORKS.get(name, TINY["network"]), epochs=2)
        for name, data in every_data.items()
    }
