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


def arrays(count: int = 20) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8))


def labelled(images: list[Any]) -> Items:
    return Items([(image, at % 2) for at, image in enumerate(images)])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 7, 5), (32, 32, 3), (28, 28, 1), (9, 9)])
def test_channels_of_arrays_and_tensors_are_where_they_can_be(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).random((20, *shape)).astype(np.float32)
    wanted = shape if shape[0] in (1, 3) else (shape[2], *shape[:2]) if len(shape) == 3 else (1, *shape)
    assert load_data(labelled(list(images))).shape == wanted
    assert load_data(labelled([torch.from_numpy(image) for image in images])).shape == wanted


def test_channels_that_cannot_be_told_are_asked_for() -> None:
    for shape in ((4, 8, 8), (3, 8, 3), (1, 8, 3)):
        images = labelled(list(np.zeros((20, *shape), np.uint8)))
        with pytest.raises(DataError, match="it cannot be told which axis holds the channels"):
            load_data(images)
        assert load_data(images, layout="NCHW").shape == shape


def test_arrays_with_negative_strides() -> None:
    images = np.stack(arrays())
    for turned in (images[..., ::-1], images[:, ::-1], images[::-1, :, ::-1]):
        labels = np.arange(20) % 2
        assert load_data((turned, labels)).fingerprint == load_data((turned.copy(), labels)).fingerprint
        assert (
            load_data(labelled(list(turned))).fingerprint == load_data((turned.copy(), labels)).fingerprint
        )


def test_grey_and_coloured_pictures_together_are_coloured(picture: Picture) -> None:
    grey = Items([(picture(at, "L" if at % 3 else "RGB"), at % 2) for at in range(20)])
    data = load_data(grey)
    assert data.shape == (3, 6, 6)
    assert (
        load_data((grey, Subset(labelled([picture(at, "L") for at in range(30, 40)]), range(10)))).shape[0]
        == 3
    )


@pytest.mark.parametrize(
    "wrap", [lambda k: np.array([k]), lambda k: torch.tensor([[k]]), np.int32, lambda k: [k]]
)
def test_a_label_may_be_an_array_of_one(wrap: Callable[[int], Any]) -> None:
    plain = labelled(arrays())
    data = load_data(Items([(image, wrap(label)) for image, label in plain.items]))
    assert data.fingerprint == load_data(plain).fingerprint


@pytest.mark.parametrize("label", [torch.tensor([0, 1]), np.array([0.2, 0.8]), (1, 2), torch.zeros(4, 4)])
def test_several_numbers_for_a_label_are_refused(label: Any) -> None:
    with pytest.raises(DataError, match=r"a label of shape.*classification only"):
        load_data(Items([(image, label) for image in arrays()]))


@pytest.mark.parametrize(
    "keys", [("image", "label"), ("img", "fine_label"), ("pixel_values", "labels"), ("x", "y")]
)
def test_items_may_be_mappings(keys: tuple[str, str]) -> None:
    plain = labelled(arrays())
    made = Items([{keys[0]: image, "id": 3, keys[1]: label} for image, label in plain.items])
    assert load_data(made).fingerprint == load_data(plain).fingerprint
    with pytest.raises(DataError, match="item 0 is a mapping of 'a', 'b': expected an image under one of"):
        load_data(Items([{"a": 1, "b": 2}]))


def test_splits_that_number_their_classes_differently_agree_by_name() -> None:
    images = arrays(18)
    train = Items([(image, at % 3) for at, image in enumerate(images)], ["a", "b", "c"])
    test = Items([(image, at % 2) for at, image in enumerate(images[:6])], ["b", "c"])
    data = load_data((train, test))
    assert data.task.class_names == ("a", "b", "c")
    assert data.test.targets.tolist() == [1, 2] * 3
    test = Items(test.items, ["b", "d"])
    with pytest.raises(DataError, match=r"labels \['d'\] are not among the class names"):
        load_data((train, test))


def test_classes_of_what_a_subset_is_taken_from() -> None:
    whole = Items(labelled(arrays()).items, ["cat", "dog"])
    assert load_data(Subset(whole, range(20))).task.class_names == ("cat", "dog")


@pytest.mark.parametrize("classes", [10, "ab", None, {"a": 0}])
def test_classes_that_are_no_names_are_not_used(classes: Any) -> None:
    found = labelled(arrays())
    found.classes = classes
    assert load_data(found).task.class_names == ("0", "1")


def test_the_kind_of_data_set_tells_of_digits(picture: Picture) -> None:
    class MNIST(Items):
        pass

    items = [(picture(at, "L"), at % 2) for at in range(20)]
    assert not load_data(Subset(MNIST(items), range(20))).horizontal_flip
    assert load_data(Subset(Items(items), range(20))).horizontal_flip


def test_three_splits_and_splits_by_name() -> None:
    train, other, test = labelled(arrays()), labelled(arrays(4)), labelled(arrays(6))
    for source in ((train, other, test), {"train": train, "Valid": other, "testing": test}):
        data = load_data(source)
        assert (len(data.train), len(data.validation), len(data.test)) == (20, 4, 6)
    with pytest.raises(DataError, match="'val' and 'valid' both stand for the validation split"):
        load_data({"train": train, "val": other, "valid": test})


def test_random_transforms_are_refused() -> None:
    class Flipping(Items):
        def __getitem__(self, index: int) -> Any:
            image, label = self.items[index]
            return (image[:, ::-1] if torch.rand(()) < 0.5 else image), label

    torch.manual_seed(0)
    with pytest.raises(DataError, match="differs when it is read again: its transforms are random"):
        load_data(Flipping(labelled(arrays()).items))


@pytest.mark.parametrize("blank", [-1, None])
def test_test_items_without_labels_are_left_out(blank: Any) -> None:
    test = Items([(image, blank) for image in arrays(6)])
    data = load_data((labelled(arrays()), labelled(arrays(6)), test))
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 6)
    assert any("it serves as the test split" in note for note in data.notes)


def test_empty_and_endless_data_sets_are_refused() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return repeat((torch.zeros(1, 2, 2), 0))

    with pytest.raises(DataError, match="no images"):
        load_data(Items([]))
    with pytest.raises(DataError, match="has no length"):
        load_data(Endless())
