"""Weights of a set's images: what they may be, and that they travel with the set."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from pydistill import relabel
from pydistill.data import DistilledData, store
from pydistill.data.recipe import Recipe
from pydistill.data.weights import normalised
from pydistill.nets import build
from tests.data.conftest import make_distilled

WEIGHTS = torch.tensor([0.0, 0.1, 0.5, 1.0, 1.9, 2.5])


def weighed(**options) -> DistilledData:
    return replace(make_distilled(**options), weights=WEIGHTS)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (torch.ones(5), r"expected weights \(6,\) float32, one a stored image, found \(5,\) torch.float32"),
        (torch.ones(6, 1), r"found \(6, 1\) torch.float32"),
        (torch.ones(6).double(), "float64"),
        (torch.ones(6).long(), "int64"),
        (torch.tensor([-1.0, 3, 1, 1, 1, 1]), "finite weights of at least 0, found -1"),
        (torch.tensor([torch.nan, 1, 1, 1, 1, 1]), "finite weights of at least 0, found nan"),
        (torch.tensor([torch.inf, 1, 1, 1, 1, 1]), "found inf"),
        (torch.zeros(6), "weights of mean 1, found 0: divide them by it"),
        (torch.full((6,), 1.001), "weights of mean 1, found 1.001"),
    ],
)
def test_what_are_no_weights_is_refused(weights, words) -> None:
    with pytest.raises(ValueError, match=words):
        replace(make_distilled(), weights=weights)


@pytest.mark.parametrize("count", [1, 7, 50_000])
def test_normalised_weights_are_weights_of_a_set(count) -> None:
    raw = torch.rand(count, generator=torch.Generator().manual_seed(0)) * 1e4
    found = normalised(raw)
    assert found.dtype == torch.float32
    assert float(found.double().mean()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(found / found.sum(), raw / raw.sum())
    assert torch.equal(normalised(found), found)
    with pytest.raises(ValueError, match="expected a weight above 0, found none"):
        normalised(torch.zeros(count))


@pytest.mark.parametrize("options", [{}, {"soft": True}, {"factor": 2}])
def test_saved_and_exported_sets_keep_them(tmp_path, options) -> None:
    made = weighed(**options)
    made.save(tmp_path / "saved")
    assert DistilledData.load(tmp_path / "saved") == made
    made.export_parquet(tmp_path / "set.parquet")
    assert DistilledData.from_parquet(tmp_path / "set.parquet") == made
    assert pd.read_parquet(tmp_path / "set.parquet")["weight"].tolist() == WEIGHTS.tolist()
    made.export_folder(tmp_path / "pictures", "range")
    assert torch.equal(DistilledData.from_folder(tmp_path / "pictures").weights, WEIGHTS)
    pictures = json.loads((tmp_path / "pictures" / "export.json").read_text())["pictures"]
    assert [each["weight"] for each in pictures] == WEIGHTS.tolist()


def test_a_set_without_weights_is_written_as_before_there_were_any(tmp_path) -> None:
    plain = make_distilled()
    assert (store.describe(plain)["version"], store.describe(weighed())["version"]) == (2, 3)
    assert "weights" not in {**store.describe(plain), **store.set_tensors(plain)}
    plain.save(tmp_path)
    assert DistilledData.load(tmp_path).weights is None
    assert plain != weighed()
    assert replace(weighed(), weights=WEIGHTS.clone()) == weighed()


@pytest.mark.parametrize("factor", [1, 2])
def test_parts_and_other_forms_of_a_set_keep_them(factor) -> None:
    made = weighed(soft=True, factor=factor)
    part = made.subset([5, 1, 0])
    torch.testing.assert_close(part.weights, torch.tensor([2.5, 0.1, 0.0]) / (2.6 / 3))
    assert torch.equal(made.subset(slice(None)).weights, WEIGHTS)
    assert made.subset([2]).weights.tolist() == [1.0]
    with pytest.raises(ValueError, match="expected a weight above 0, found none"):
        made.subset([0])
    assert made.to("cpu") == made
    for other in (made.with_classes(), made.as_exported(), relabel(made, teacher(made), "hard")):
        assert torch.equal(other.weights, WEIGHTS)


def teacher(made: DistilledData):
    return build("mlp:width=4", made.shape, 3, torch.Generator().manual_seed(0))


def test_bytes_and_the_line_of_a_set_tell_of_them() -> None:
    plain, made = make_distilled(), weighed()
    assert made.nbytes["weights"] == 24
    assert made.nbytes["total"] == plain.nbytes["total"] + 24
    assert "images weighed 0 to 2.5" in repr(made)
    assert "weighed" not in repr(plain)


def test_views_of_a_stored_image_have_its_weight() -> None:
    packed = weighed(factor=2)
    assert packed.view_weights().tolist() == [value for value in WEIGHTS.tolist() for _ in range(4)]
    assert len(packed.view_weights()) == len(packed.views()[0])
    assert make_distilled(factor=2).view_weights().tolist() == [1.0] * 24


def test_the_loss_of_a_loop_of_ones_own_weighs_images() -> None:
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    hard, soft = weighed(), weighed(soft=True)
    expected = sum(
        float(weight) * float(F.cross_entropy(row[None], target[None]))
        for weight, row, target in zip(WEIGHTS, outputs, hard.targets, strict=True)
    )
    assert float(hard.loss(outputs, hard.targets, hard.view_weights())) == pytest.approx(expected / 6)
    assert torch.equal(hard.loss(outputs, hard.targets), F.cross_entropy(outputs, hard.targets))
    values = replace(soft, recipe=Recipe(loss="squared"))
    targets = values.views()[1]
    squares = (outputs - values.targets).square().mean(1)
    torch.testing.assert_close(
        values.loss(outputs, targets, values.view_weights()), (WEIGHTS * squares).mean()
    )
    with pytest.raises(ValueError, match=r"expected weights \(6,\), one a target, found \(5,\)"):
        hard.loss(outputs, hard.targets, WEIGHTS[:5])
