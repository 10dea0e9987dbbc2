"""Herding from its definition: by hand, against a slow version, and near the mean."""

import pytest
import torch

from pydistill.seeds import generator
from pydistill.selection.herding import herd


def slow(rows, count, form):
    rows, chosen = rows.double(), []
    mean = rows.mean(0)
    weight = mean.clone()
    for _ in range(count):
        free = [at for at in range(len(rows)) if at not in chosen]
        if form == "mean":
            worth = {at: -float((rows[[*chosen, at]].mean(0) - mean).norm()) for at in free}
        else:
            worth = {at: float(weight @ rows[at]) for at in free}
        chosen.append(max(worth, key=worth.get))
        weight += mean - rows[chosen[-1]]
    return chosen


def test_by_hand():
    """The mean is 2: 2.4 is nearest; then means are 1.95, and 2.63 rather than 1.33; w is 3, 0 and 2."""
    rows = torch.tensor([[1.5], [0.1], [4.0], [2.4]])
    assert herd(rows, 4, "mean").tolist() == [3, 0, 2, 1]
    assert herd(torch.tensor([[1.0], [2.0], [6.0]]), 3, "weights").tolist() == [2, 0, 1]


@pytest.mark.parametrize("form", ["mean", "weights"])
def test_it_is_the_slow_version(form):
    rows = torch.randn(50, 4, generator=generator(1, "herd")) + 0.5
    assert herd(rows, 50, form).tolist() == slow(rows, 50, form)
    assert herd(rows, 7, form).tolist() == slow(rows, 7, form)


def test_both_forms_are_one_for_rows_of_one_length():
    rows = torch.nn.functional.normalize(torch.randn(40, 5, generator=generator(2, "unit")), dim=1)
    assert slow(rows, 15, "weights") == slow(rows, 15, "mean")
    assert herd(rows, 15, "weights").tolist() == slow(rows, 15, "weights")


def test_the_mean_form_is_nearer_to_the_mean_than_the_other_and_than_chance():
    source = generator(3, "far")
    rows = torch.randn(300, 8, generator=source) * torch.rand(300, 1, generator=source) * 3 + 1

    def off(chosen):
        return float((rows[chosen].mean(0) - rows.mean(0)).norm())

    nearest = off(herd(rows, 20))
    assert nearest < off(herd(rows, 20, "weights"))
    assert nearest < 0.2 * min(off(torch.randperm(300, generator=source)[:20]) for _ in range(20))
