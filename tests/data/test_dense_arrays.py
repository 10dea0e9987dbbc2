"""Arrays of masks and of boxes beside arrays of images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data import RealData, load_data
from pydistill.errors import DataError
from pydistill.tasks import Detection, Segmentation


def images(count: int = 12, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def masks(count: int = 12, classes: int = 3, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.random.default_rng(count + 1).integers(0, classes, (count, *size))


def boxes(count: int = 12) -> np.ndarray:
    """(N, 2, 5): a box of class 0 or 1 an image, the second of every other image being padding."""
    made = np.zeros((count, 2, 5), np.float32)
    made[:] = [[0, 1, 1, 2, 2], [1, 3, 2, 4, 3]]
    made[::2, 1, 0] = -1
    return made


def whole(data: RealData) -> torch.Tensor:
    return torch.cat([data.train.targets, data.validation.targets, data.test.targets])


def told(data: RealData, *pieces: str) -> bool:
    return any(all(piece in note for piece in pieces) for note in data.notes)


@pytest.mark.parametrize(
    "targets",
    [
        masks(),
        masks().astype(np.uint8),
        masks()[:, None],
        masks()[..., None],
        torch.from_numpy(masks()),
        list(masks()),
    ],
)
def test_masks_by_their_shape(targets: Any) -> None:
    data = load_data((images(), targets))
    assert isinstance(data.task, Segmentation)
    assert data.task.class_names == ("class 0", "class 1", "class 2")
    assert torch.equal(whole(data).sum(), torch.from_numpy(masks()).sum())
    assert told(data, "task: segmentation, by the shape of the targets")


def test_masks_by_name_in_a_file_with_void_and_another_size(tmp_path: Path) -> None:
    spoilt = masks()
    spoilt[0, 0] = -1
    path = tmp_path / "set.npz"
    np.savez(path, train_images=images(), train_masks=spoilt, test_images=images(4), test_masks=masks(4))
    data = load_data(path, size=(16, 16))
    assert data.shape == (3, 16, 16)
    assert bool((data.test.targets[:, :2] == 255).all())
    assert told(data, "void, neither learned nor scored, is mask value -1 (below 0)")
    assert load_data(path, void="2").task.outputs == 2


def test_boxes_by_their_shape() -> None:
    data = load_data((images(), boxes()), class_names=("a", "b"))
    assert isinstance(data.task, Detection)
    assert data.task.class_names == ("a", "b")
    assert data.train.targets.shape == (9, 2, 5)
    assert told(data, "1 to 2 objects a training image")
    ragged = [each[each[:, 0] >= 0] for each in boxes()]
    again = load_data((images(), ragged))
    assert torch.equal(again.train.targets, data.train.targets)
    assert again.task.class_names == ("class 0", "class 1")


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (1, np.nan, r"arrays, train, image 3, box 1 is not finite"),
        (3, 40, r"arrays, train, image 3, box 1 leaves its image of 8 x 6 pixels"),
        (0, 0.5, r"arrays, train, image 3, box 1 is of an unknown category 0\.5"),
        (0, np.nan, r"arrays, train, image 3, box 1 is of an unknown category nan"),
    ],
)
def test_wrong_boxes_are_named(at: int, value: float, message: str) -> None:
    spoilt = boxes()
    spoilt[3, 1, at] = value
    with pytest.raises(DataError, match=message):
        load_data((images(), spoilt))


def test_what_may_be_either_is_asked_for() -> None:
    narrow, targets = images(size=(2, 5)), boxes().astype(np.int64)
    targets[..., 1:] = [0, 0, 2, 2]
    targets[..., 0] = 1
    targets[0, 0, 0] = 0
    with pytest.raises(DataError, match=r"y_train of shape \(12, 2, 5\) may be masks or boxes: give task="):
        load_data((narrow, targets))
    assert isinstance(load_data((narrow, targets), task="detection").task, Detection)
    assert isinstance(load_data((narrow, targets), task="segmentation").task, Segmentation)


def test_targets_that_do_not_fit_are_named() -> None:
    with pytest.raises(
        DataError, match=r"y_train cannot be read for task='detection', being of shape \(12,\)"
    ):
        load_data((images(), np.arange(12) % 2), task="detection")
    with pytest.raises(
        DataError, match=r"cannot be read for task='segmentation', being of shape \(12, 5, 8\)"
    ):
        load_data((images(), masks(size=(5, 8))), task="segmentation")
    with pytest.raises(DataError, match="arrays, train: 12 images but targets of 10"):
        load_data((images(), masks(10)))
    with pytest.raises(DataError, match=r"expected one integer or text a label, found shape \(12, 5, 8\)"):
        load_data((images(), masks(size=(5, 8))))
    assert load_data((images(), np.arange(12) % 2), task="classification").task.name == "classification"


def test_a_split_without_targets_is_left_out() -> None:
    source = {"x_train": images(), "y_train": masks(), "x_test": images(4), "y_test": None}
    assert told(load_data(source), "the test split of the source has no targets: it is left out")


class Scenes(torch.utils.data.Dataset):
    """Items of a picture and whatever ``target`` makes of a number."""

    def __init__(
        self, target: Any, count: int = 12, sizes: tuple[tuple[int, int], ...] = ((6, 8),)
    ) -> None:
        self.target, self.count, self.sizes = target, count, sizes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, at: int) -> tuple[Any, Any]:
        size = self.sizes[at % len(self.sizes)]
        return Image.fromarray(images(12, size)[at]), self.target(at, size)


def picture_mask(at: int, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(masks(12, 3, size)[at].astype(np.uint8))


def tensor_mask(at: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.from_numpy(masks(12, 3, size)[at])


def test_torch_data_sets_with_masks() -> None:
    plain = load_data((images(), masks()))
    for target in (picture_mask, tensor_mask, lambda at, size: tensor_mask(at, size)[None].numpy()):
        data = load_data(Scenes(target))
        assert isinstance(data.task, Segmentation)
        assert data.fingerprint == plain.fingerprint
    mixed = Scenes(picture_mask, sizes=((6, 8), (8, 6)))
    with pytest.raises(DataError, match=r"item 1 has shape \(3, 8, 6\).*give size=.* to letter-box"):
        load_data(mixed)
    data = load_data(mixed, size=8)
    assert data.shape == (3, 8, 8)
    assert int((whole(data) == 255).sum()) == 12 * 16
    with pytest.raises(DataError, match="is for segmentation, but task='classification' was asked for"):
        load_data(mixed, task="classification")
    wrong = Scenes(lambda at, size: picture_mask(at, size if at != 5 else (5, 8)))
    with pytest.raises(DataError, match=r"train, image 5: the mask is 5 x 8 .* but its image 6 x 8"):
        load_data(wrong)
    coloured = Scenes(lambda at, size: Image.fromarray(images(12, size)[at]))
    with pytest.raises(DataError, match="train: item 0: this mask codes classes by colours"):
        load_data(coloured)


def test_torch_data_sets_with_boxes() -> None:
    made = Scenes(lambda at, size: boxes()[at, : 2 - (at % 2 == 0)])
    made.classes = ["cat", "dog"]
    data = load_data((made, Scenes(lambda at, size: None, 4)))
    assert isinstance(data.task, Detection)
    assert data.task.class_names == ("cat", "dog")
    assert torch.equal(data.train.targets, load_data((images(), boxes())).train.targets)
    assert told(data, "the test split of the source has no targets: it is left out")


def test_values_of_masks_that_lie_far_apart_are_refused() -> None:
    far = masks().astype(np.int64)
    far[3, 0, 0] = 2**40
    with pytest.raises(DataError, match=r"arrays, train, image 3: mask values run from 0 to 1099511627776"):
        load_data((images(), far))
