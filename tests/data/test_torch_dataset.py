from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from pydistill.data import load_data
from pydistill.errors import DataError

Picture = Callable[..., Image.Image]


class Items(Dataset[Any]):
    """A data set of given items."""

    def __init__(self, items: list[Any], classes: list[str] | None = None) -> None:
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def test_pictures_with_class_names(picture: Picture) -> None:
    items = [(picture(at), at % 2) for at in range(20)]
    data = load_data(Items(items, ["cat", "dog"]))
    assert data.task.class_names == ("cat", "dog")
    assert data.name == "Items"
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    arrays = np.stack([np.asarray(image) for image, _ in items])
    assert data.fingerprint == load_data((arrays, np.arange(20) % 2)).fingerprint


def test_a_pair_is_train_and_test(picture: Picture) -> None:
    train = Items([(picture(at, "L"), at % 2) for at in range(20)])
    test = Subset(train, [3, 4])
    data = load_data((train, test))
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.shape == (1, 6, 6)
    assert data.test.targets.tolist() == [1, 0]
    assert np.array_equal(data.test.images[0, 0].numpy(), np.asarray(picture(3, "L")))


def test_tensors_and_arrays_of_one_image_each() -> None:
    floats = torch.rand(20, 3, 3, 3)
    from_tensors = load_data(TensorDataset(floats, torch.arange(20) % 2))
    from_arrays = load_data(
        Items([(image.permute(1, 2, 0).numpy(), at % 2) for at, image in enumerate(floats)])
    )
    assert from_tensors.fingerprint == from_arrays.fingerprint
    assert from_tensors.train.images.dtype == torch.float32


def test_sizes_must_agree_or_be_given(picture: Picture) -> None:
    items = Items([(picture(at, size=(6, 6 + at % 2)), at % 3) for at in range(30)])
    with pytest.raises(DataError, match=r"train: item 1 has shape \(3, 6, 7\), but item 0 \(3, 6, 6\)"):
        load_data(items)
    assert load_data(items, size=5).shape == (3, 5, 5)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "item 0 is a str, expected a pair"),
        ((torch.zeros(1, 2, 2), 0, 0), "item 0 is a tuple, expected a pair"),
        (("text", 0), "item 0: expected a picture.*found str"),
        ((torch.zeros(5), 0), r"item 0: expected a picture.*found Tensor of shape \(5,\)"),
        ((torch.zeros(1, 2, 2), 0.5), r"expected an integer or text a label, found 0\.5"),
        ((torch.full((1, 2, 2), 3.0), 0), "float pixels must lie in"),
        ((Image.new("I", (2, 2)), 0), "item 0: mode I has more than 8 bits"),
    ],
)
def test_items_that_cannot_be_used(item: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(Items([item] * 4))


def test_empty_and_endless_data_sets_are_refused() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return repeat((torch.zeros(1, 2, 2), 0))

    with pytest.raises(DataError, match="no images"):
        load_data(Items([]))
    with pytest.raises(DataError, match="has no length"):
        load_data(Endless())
