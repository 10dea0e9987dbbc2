from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pydistill.data import DistilledData, Provenance
from pydistill.data.formation import decode, repeat_targets
from pydistill.errors import DataError, OutputError
from tests.data.conftest import make_distilled


def test_it_is_a_data_set_of_its_views(distilled: DistilledData) -> None:
    images, targets = distilled.views()
    assert len(distilled) == len(images) == 6
    assert distilled.shape == (3, 4, 5)
    assert torch.equal(distilled[4][0], images[4])
    assert torch.equal(distilled[4][1], targets[4])
    batches = list(DataLoader(distilled, batch_size=4))
    assert torch.equal(torch.cat([batch[0] for batch in batches]), images)
    assert torch.equal(torch.cat([batch[1] for batch in batches]), targets)


def test_a_packed_set_is_a_data_set_of_its_decoded_views(packed: DistilledData) -> None:
    images, targets = packed.views()
    assert torch.equal(images, decode(packed.images, 2))
    assert torch.equal(targets, repeat_targets(packed.targets, 2))
    assert len(packed) == len(images) == len(targets) == 24
    assert packed.shape == (3, 4, 6)
    assert packed.classes.tolist() == [0, 0, 1, 1, 2, 2]
    for index in (0, 5, 23, -1, -24):
        torch.testing.assert_close(packed[index][0], images[index], rtol=1e-6, atol=1e-6)
        assert torch.equal(packed[index][1], targets[index])
    for index in (24, -25):
        with pytest.raises(IndexError, match=f"index {index} is out of range for 24 views"):
            packed[index]
    seen = torch.cat([batch[0] for batch in DataLoader(packed, batch_size=5)])
    torch.testing.assert_close(seen, images, rtol=1e-6, atol=1e-6)


def test_packing_costs_no_bytes(packed: DistilledData) -> None:
    assert packed.nbytes == replace(packed, factor=1).nbytes
    assert packed.nbytes["images"] == 6 * 3 * 4 * 6 * 4


def test_bytes_by_part() -> None:
    assert make_distilled().nbytes == {
        "images": 6 * 60 * 4,
        "targets": 6 * 8,
        "weights": 0,
        "rates": 8,
        "networks": 0,
        "augmentations": 0,
        "preprocess": 24,
        "total": 6 * 60 * 4 + 6 * 8 + 8 + 24,
    }
    soft = replace(make_distilled(soft=True), learning_rate=None).nbytes
    assert (soft["targets"], soft["rates"]) == (6 * 3 * 4, 0)
    assert make_distilled(zca=True).nbytes["preprocess"] == 4 * (60 * 61 + 60 + 3 + 3)


def test_classes_of_hard_and_soft_targets() -> None:
    assert make_distilled().classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert make_distilled(soft=True).classes.tolist() == [0, 0, 1, 1, 2, 2]


def test_pixels_invert_the_preprocessing(distilled: DistilledData) -> None:
    torch.testing.assert_close(
        distilled.preprocess.apply(distilled.pixels()), distilled.images, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(6, 60)}, r"expected images \(M, C, H, W\) float32"),
        ({"images": torch.zeros(6, 3, 4, 5).double()}, "float32, found .*float64"),
        ({"images": torch.full((6, 3, 4, 5), torch.nan)}, "only finite values"),
        ({"images": torch.zeros(0, 3, 4, 5)}, "at least one image"),
        (
            {"images": torch.zeros(6, 1, 4, 5)},
            r"standardise preprocessing is not of images of shape \(1, 4, 5\)",
        ),
        ({"factor": 2}, "factor 2 does not divide images of 4x5 pixels"),
        ({"factor": 0}, "factor must be at least 1"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"learning_rate": float("nan")}, "learning rate above 0"),
        ({"learning_rate": float("inf")}, "learning rate above 0"),
        ({"targets": torch.zeros(6, 4)}, r"expected soft targets \(6, 3\) float32, found \(6, 4\)"),
        ({"targets": torch.zeros(5, 3)}, r"expected soft targets \(6, 3\)"),
        ({"targets": torch.zeros(6, 3).double()}, "found .*float64"),
        ({"targets": torch.full((6, 3), torch.inf)}, "finite soft targets"),
    ],
)
def test_parts_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make_distilled(), **changes)


@pytest.mark.parametrize("targets", [torch.arange(6), torch.zeros(5).long(), torch.zeros(6).int()])
def test_hard_targets_are_checked_by_the_task(targets: torch.Tensor) -> None:
    with pytest.raises(DataError, match="distilled set"):
        replace(make_distilled(), targets=targets)


def test_a_configuration_is_what_json_can_hold() -> None:
    kept = make_distilled().provenance
    assert kept.config == {"net": "convnet", "sizes": [1, 2]}
    for config in ({"net": object()}, {"rate": float("nan")}):
        with pytest.raises(ValueError, match="config must hold what JSON can hold"):
            replace(kept, config=config)


def test_provenance_needs_no_preset() -> None:
    made = Provenance("dm", {}, 1, 0, "digits", "0" * 64, {}, 0.0, 0)
    assert made.preset is None


def test_preview_shows_a_row_a_class(tmp_path: Path, distilled: DistilledData) -> None:
    distilled.preview(tmp_path / "all.png")
    distilled.preview(tmp_path / "one.png", columns=1)
    with Image.open(tmp_path / "all.png") as whole, Image.open(tmp_path / "one.png") as first:
        assert whole.height == first.height >= 3 * 52
        assert whole.width - first.width == 65 + 4  # two images a class: one more column


def test_preview_shows_images_as_stored(tmp_path: Path) -> None:
    for name, factor in (("packed", 2), ("plain", 1)):
        replace(make_distilled(factor=2), factor=factor).preview(tmp_path / f"{name}.png")
    assert (tmp_path / "packed.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_factor_is_a_whole_number() -> None:
    with pytest.raises(TypeError, match=r"factor must be an integer, got 2\.0"):
        replace(make_distilled(factor=2), factor=2.0)


def test_preview_into_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        make_distilled().preview(tmp_path / "file" / "preview.png")
    with pytest.raises(ValueError, match="at least 1 column"):
        make_distilled().preview(tmp_path / "preview.png", columns=0)
