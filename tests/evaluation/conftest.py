import pytest

from pydistill import distill
from pydistill.evaluation import Protocol


@pytest.fixture(scope="package")
def distilled(tiny):
    """Two real images a class of the tiny data: as good as any set to evaluate."""
    return distill(tiny, "random", ipc=2, seed=11)


@pytest.fixture(scope="package")
def packed(tiny):
    """Two stored images a class, each packed of four real ones."""
    return distill(tiny, "random", ipc=2, factor=2, seed=11)


@pytest.fixture(scope="package")
def short():
    """A protocol that takes a blink."""
    return Protocol(
        architectures=("mlp:width=8",),
        repeats=2,
        epochs=4,
        learning_rate=0.05,
        random_draws=2,
        random_repeats=2,
    )
