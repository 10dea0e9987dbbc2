from typing import Any

import pytest
import torch

from pydistill.data.flips import keeps_class_flipped
from pydistill.data.real import Split
from pydistill.data.sources import Raw
from pydistill.tasks import Classification

WORDS = ("cat", "dog", "cow")


def raw(
    name: str = "some",
    classes: tuple[str, ...] = ("0", "1", "2"),
    named: bool = False,
    shape: tuple[int, int, int] = (1, 8, 8),
    **more: Any,
) -> Raw:
    images = torch.zeros(len(classes), *shape, dtype=torch.uint8)
    return Raw(
        name, Classification(classes), Split(images, torch.arange(len(classes))), named=named, **more
    )


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("mnist", False),
        ("MNIST", False),
        ("kmnist", False),
        ("digits", False),
        ("ufldl-stanford/svhn", False),
        ("usps", False),
        ("A_Z Handwritten Data", False),
        ("fashion-mnist", True),
        ("FashionMNIST", True),
        ("zalando-datasets/fashion_mnist", True),
        ("pathmnist", True),
        ("cifar10", True),
    ],
)
def test_the_sets_own_name(name: str, kept: bool) -> None:
    found, why = keeps_class_flipped(raw(name))
    assert found == kept
    assert name in why or "nothing speaks" in why
    assert keeps_class_flipped(raw("some", hints=(name,)))[0] == kept


@pytest.mark.parametrize(
    ("folders", "kept"),
    [
        (("raw", "MNIST", "data"), False),
        (("data", "mnist_png"), False),
        (("raw", "FashionMNIST", "mnist"), True),
        (("other", "test_only_digits_forbid_mirror0"), True),
        (("flowers", "mnist-experiments"), True),
    ],
)
def test_the_nearest_folder_that_is_named_after_a_set(folders: tuple[str, ...], kept: bool) -> None:
    assert keeps_class_flipped(raw(folders=folders))[0] == kept
    assert keeps_class_flipped(raw(classes=WORDS, named=True, folders=folders))[0]


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        (("0", "1", "2"), False),
        (("A", "B", "c"), False),
        (("zero", "one", "Two"), False),
        (("digit_0", "digit_1"), False),
        (("0 - zero", "1 - one"), False),
        (("cat", "dog"), True),
        (("00012", "00013"), True),
        (("T-shirt/top", "Trouser", "Pullover", "Sneaker", "Ankle boot"), True),
    ],
)
def test_class_names(classes: tuple[str, ...], kept: bool) -> None:
    assert keeps_class_flipped(raw(classes=classes, named=True))[0] == kept


def test_images_like_mnists_without_names() -> None:
    ten = tuple(map(str, range(10)))
    assert not keeps_class_flipped(raw(classes=ten, shape=(1, 28, 28)))[0]
    assert keeps_class_flipped(raw(classes=ten, shape=(3, 32, 32)))[0]
    assert keeps_class_flipped(raw(classes=ten, shape=(1, 28, 28), folders=("fashion",)))[0]
    assert keeps_class_flipped(raw(shape=(1, 28, 28)))[0]
    assert not keeps_class_flipped(raw(shape=(1, 28, 28), origins={"train": "train-images-idx3-ubyte"}))[0]
    named = tuple(f"plant {k}" for k in range(10))
    assert keeps_class_flipped(raw(classes=named, named=True, shape=(1, 28, 28)))[0]
