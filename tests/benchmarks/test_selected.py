"""The benchmark of random selection and whole data."""

import argparse

import pytest
from rich.console import Console

from benchmarks.methods.selected import epochs_for, measured, table
from tests.evaluation.test_dense import real


@pytest.mark.parametrize(
    ("steps", "images", "epochs"), [(240, 18, 80), (240, 37, 48), (10, 1000, 1), (1, 8, 1)]
)
def test_epochs_come_nearest_to_the_steps(steps, images, epochs):
    assert epochs_for(steps, images, 8) == epochs


def test_whole_data_are_trained_once_for_all_budgets(tmp_path):
    data = real("segmentation")
    given = argparse.Namespace(
        network="unet:width=4,depth=1", learning_rate=None, steps=2, draws=3, repeats=2, seed=0,
        keep=None, name="scenes", verbose=False,
    )  # fmt: skip
    budgets = [
        measured(data, fraction, given, tmp_path, Console(quiet=True)) for fraction in ("25%", "50%")
    ]
    assert [budget["steps"] for budget in budgets] == [2, 2]
    for budget in budgets:
        assert [len(row["seconds"]) for row in budget["rows"]] == [2, 3, 2]
    first, second = (budget["rows"][2] for budget in budgets)
    assert first["seconds"] == second["seconds"]  # taken from the first budget, not measured again
    text = table("mIoU", ["mIoU", "pixel accuracy"], budgets)
    assert text.count("\n") == 2 + 4 + 1
    assert "| 4 (25%), 3 selections |" in text
    assert "| all 16 |" in text
