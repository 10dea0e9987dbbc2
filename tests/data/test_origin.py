"""The class that an image was made for stays beside learned targets; pictures and folders go by it."""

import dataclasses

import pytest
import torch
from PIL import Image

from pydistill import DistilledData, distill, load_data
from pydistill.data.recipe import Recipe
from pydistill.errors import DataError
from tests.data.conftest import make_distilled


def learned() -> DistilledData:
    """Six images, two a class, whose learned values are all largest at class 0."""
    made = make_distilled(soft=True)
    values = torch.zeros(6, 3)
    values[:, 0] = 1.0
    return dataclasses.replace(
        made,
        targets=values,
        origin=torch.arange(3).repeat_interleave(2),
        recipe=Recipe(loss="squared"),
    )


def test_classes_are_those_the_images_were_made_for():
    made = learned()
    assert made.classes.tolist() == [0, 0, 1, 1, 2, 2]
    unknown = dataclasses.replace(made, origin=None)
    assert unknown.classes.tolist() == [0] * 6
    assert made.nbytes == unknown.nbytes


def test_classes_of_origin_are_checked():
    for wrong in (torch.arange(5), torch.full((6,), 3), torch.zeros(6)):
        with pytest.raises(DataError, match="classes of origin"):
            dataclasses.replace(learned(), origin=wrong)


def test_they_are_kept_on_disk_and_in_parquet(tmp_path):
    made = learned()
    made.save(tmp_path / "set")
    made.export_parquet(tmp_path / "set.parquet")
    given = dataclasses.replace(make_distilled(), origin=torch.tensor([2, 2, 1, 1, 0, 0]))
    given.export_parquet(tmp_path / "given.parquet")
    given.save(tmp_path / "given")
    for found, expected in (
        (DistilledData.load(tmp_path / "set"), made),
        (DistilledData.from_parquet(tmp_path / "set.parquet"), made),
        (DistilledData.load(tmp_path / "given"), given),
        (DistilledData.from_parquet(tmp_path / "given.parquet"), given),
    ):
        assert torch.equal(found.origin, expected.origin)
        assert torch.equal(found.targets, expected.targets)
        assert torch.equal(found.classes, expected.classes)


def test_a_preview_has_a_row_for_every_class(tmp_path):
    made = learned()
    made.preview(tmp_path / "with.png")
    dataclasses.replace(made, targets=made.classes, recipe=Recipe()).preview(tmp_path / "hard.png")
    dataclasses.replace(made, origin=None).preview(tmp_path / "unknown.png")
    sizes = {}
    for name in ("with", "hard", "unknown"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            sizes[name] = picture.size[1]
    assert sizes["with"] == sizes["hard"] > sizes["unknown"]  # no empty rows where nothing is known


def test_exported_folders_are_of_origin_and_load_again(tmp_path):
    made = learned()
    many = dataclasses.replace(
        made,
        images=made.images.repeat(4, 1, 1, 1),
        targets=made.targets.repeat(4, 1),
        origin=made.origin.repeat(4),
    )
    many.export_folder(tmp_path / "out")
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folders) == ["ant", "bee_wasp", "cat"]
    assert all(len(list(path.glob("*.png"))) == 8 for path in folders)
    data = load_data(tmp_path / "out")
    assert data.task.class_names == ("ant", "bee_wasp", "cat")

    dataclasses.replace(many, origin=None).export_folder(tmp_path / "unknown")
    assert [path.name for path in (tmp_path / "unknown").iterdir() if path.is_dir()] == ["ant"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("kip", {"batch_real": 9}),
        ("dd", {"learn_labels": True, "inner_steps": 2, "batch_real": 9, "network": "mlp:width=4"}),
        ("tesla", {"inner_steps": 2, "network": "mlp:width=4", "own_experts": "epochs=1"}),
        ("rfad", {"learn_labels": False, "batch_real": 9, "width": 4, "networks_per_step": 1}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*experts give the first images")
def test_methods_say_which_class_an_image_was_started_for(tiny, method, options):
    made = distill(tiny, method, ipc=2, iterations=1, **options)
    expected = [0, 0, 1, 1, 2, 2]
    assert made.classes.tolist() == expected
    if made.label_kind == "classes":
        assert made.origin is None
    else:
        assert made.origin.tolist() == expected
