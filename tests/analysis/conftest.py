"""Small data sets of every task, and what was learned of them."""

import numpy as np
import pytest
import torch

from pydistill import load_data
from pydistill.analysis.findings import distillability
from pydistill.data import RealData
from pydistill.scores import compute_scores


def textures(count: int, side: int = 20, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """(N, C, side, side) uint8 images of smooth noise, no two alike."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, channels, side + 4, side + 4, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(noise, 3, 1), 3, 1)
    return (smooth * 90 + 128).clamp(0, 255).round().to(torch.uint8)


def classified(count: int = 120, seed: int = 0, **options) -> RealData:
    """Brightness falls downwards, upwards or not at all, by class."""
    images = textures(count + 30, seed=seed)
    labels = torch.arange(count + 30) % 3
    ramp = torch.linspace(-1, 1, 20)[:, None] * (labels - 1)[:, None, None, None]
    images = (images + 40 * ramp).clamp(0, 255).to(torch.uint8)
    arrays = {
        "x_train": images[:count].numpy(),
        "y_train": labels[:count].numpy(),
        "x_test": images[count:].numpy(),
        "y_test": labels[count:].numpy(),
    }
    return load_data(arrays, name="textures", **options)


def segmented() -> RealData:
    images = textures(40, channels=3, seed=1)
    masks = (images.float().mean(1) > 120).to(torch.uint8)
    masks[:, :4, :4] = 2
    arrays = {
        "x_train": images[:30].numpy(),
        "y_train": masks[:30].numpy(),
        "x_test": images[30:].numpy(),
        "y_test": masks[30:].numpy(),
    }
    return load_data(arrays, name="masks", class_names=("dark", "bright", "corner"))


def detected() -> RealData:
    images = textures(40, channels=3, seed=2)
    generator = np.random.default_rng(0)
    boxes = np.full((40, 3, 5), -1.0, np.float32)
    for at in range(40):
        for box in range(1 + at % 3):
            x, y = generator.uniform(0, 10, 2)
            boxes[at, box] = (box % 2, x, y, *generator.uniform(3, 9, 2))
    arrays = {
        "x_train": images[:30].numpy(),
        "y_train": boxes[:30],
        "x_test": images[30:].numpy(),
        "y_test": boxes[30:],
    }
    return load_data(arrays, name="boxes", task="detection", class_names=("cell", "plate"))


TINY = {"epochs": 2, "batch_size": 32}


@pytest.fixture(scope="package")
def pictures():
    return classified()


@pytest.fixture(scope="package")
def masks():
    return segmented()


@pytest.fixture(scope="package")
def boxes():
    return detected()


@pytest.fixture(scope="package")
def scores(pictures):
    return compute_scores(pictures, "convnet:width=4,depth=2", folds=2, **TINY)


@pytest.fixture(scope="package")
def every(pictures, scores, masks, boxes):
    """Data of every task with its scores."""
    return {
        "classification": (pictures, scores),
        "segmentation": (masks, compute_scores(masks, "unet:width=8,depth=2", **TINY)),
        "detection": (boxes, compute_scores(boxes, "centernet:width=8", **TINY)),
    }


@pytest.fixture(autouse=True)
def _short_trainings(monkeypatch):
    """Networks of the curve are trained for a few steps."""
    trained = distillability.accuracy_of

    def briefly(data, size, steps, draws, network, seed, device):
        return trained(data, size, min(steps, 5), draws, "convnet:width=4,depth=2", seed, device)

    monkeypatch.setattr(distillability, "accuracy_of", briefly)
