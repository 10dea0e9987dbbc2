"""The two layouts most users bring, as they are published: CIFAR-10 as parquet, Fashion-MNIST as IDX."""

from pathlib import Path

import torch

from pydistill.data import load_data


def test_cifar10_from_parquet_is_one_byte_tensor(real_data_folder: Path, tmp_path: Path) -> None:
    """How long it takes is measured by benchmarks/data/load.py."""
    data = load_data(real_data_folder / "cifar10", cache=tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5_000, 10_000)
    assert data.train.images.dtype == torch.uint8
    assert data.shape == (3, 32, 32)
    assert data.task.class_names[3] == "cat"
    assert data.validation.targets.bincount().tolist() == [500] * 10
    torch.testing.assert_close(
        data.preprocess.tensors()["mean"], torch.tensor([0.491, 0.482, 0.447]), atol=2e-3, rtol=0
    )
    assert data.augment == "color_crop_cutout_flip_scale_rotate"


def test_fashion_mnist_from_idx(real_data_folder: Path) -> None:
    data = load_data(real_data_folder / "fashion-mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.shape == (1, 28, 28)
    assert data.task.class_names[9] == "Ankle boot"
    torch.testing.assert_close(data.preprocess.tensors()["std"], torch.tensor([0.353]), atol=2e-3, rtol=0)
    assert data.horizontal_flip
