"""Sets that know which real images they are made of, wherever they go."""

import json
from dataclasses import replace

import pytest
import torch

from pydistill import distill
from pydistill.data import DistilledData
from pydistill.data.formation import encode
from tests.data.conftest import make_distilled


def made_of_real(factor: int = 1, **changes: bool) -> DistilledData:
    made = make_distilled(factor=factor, **changes)
    return replace(made, indices=torch.arange(6 * factor**2).flip(0) * 3)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("soft", [False, True])
def test_they_are_kept_by_everything_that_keeps_a_set(factor, soft, tmp_path):
    made = made_of_real(factor, soft=soft)
    made.save(tmp_path / "saved")
    assert DistilledData.load(tmp_path / "saved") == made
    made.export_parquet(tmp_path / "set.parquet")
    assert DistilledData.from_parquet(tmp_path / "set.parquet") == made
    made.export_folder(tmp_path / "pictures")
    assert torch.equal(DistilledData.load(tmp_path / "pictures").indices, made.indices)
    assert torch.equal(made.to("cpu").indices, made.indices)
    assert torch.equal(made.with_classes().indices, made.indices)
    assert made != replace(made, indices=None)
    assert made.nbytes == replace(made, indices=None).nbytes


@pytest.mark.parametrize("factor", [1, 2])
def test_a_part_has_those_of_its_views(factor):
    made = made_of_real(factor)
    part, each = made.subset([4, 1]), factor**2
    expected = [*range(4 * each, 5 * each), *range(each, 2 * each)]
    assert torch.equal(part.indices, made.indices[expected])


def test_sets_without_them_are_written_as_before(tmp_path):
    make_distilled().save(tmp_path)
    facts = json.loads((tmp_path / "distilled.json").read_text())
    assert facts["version"] == 2
    assert "indices" not in facts
    made_of_real().save(tmp_path)
    facts = json.loads((tmp_path / "distilled.json").read_text())
    assert (facts["version"], facts["indices"]) == (3, [6])


@pytest.mark.parametrize(
    "wrong", [torch.arange(5), torch.arange(6).float(), torch.arange(6) - 1, torch.arange(6)[None]]
)
def test_what_is_no_position_for_each_view_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected indices \(6,\) int64 of at least 0, one a view"):
        replace(make_distilled(), indices=wrong)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_selectors_set_names_the_image_of_each_view(factor, tiny):
    made = distill(tiny, "greedy", ipc=2, factor=factor, embedding="thumbnails")
    real = tiny.inputs(tiny.train, made.indices)
    torch.testing.assert_close(encode(real, factor), made.images)
    assert torch.equal(tiny.train.targets[made.indices], made.targets.repeat_interleave(factor**2))
    assert distill(tiny, "random", ipc=2, factor=factor).indices is None
