"""Small distilled sets, and pictures to make data sets of."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data import DistilledData, Provenance, RealData, Standardise, Whiten
from pydistill.tasks import Classification


def make_distilled(soft: bool = False, zca: bool = False, seed: int = 0, factor: int = 1) -> DistilledData:
    """Six images, two a class, 3x4x5 (3x4x6 where packed), with values that only exact storage keeps."""
    width = 5 if factor == 1 else 6
    generator = torch.Generator().manual_seed(seed)
    real = torch.rand(50, 3, 4, width, generator=generator)
    preprocess = Whiten.fit(real) if zca else Standardise.fit(real)
    targets = torch.arange(3).repeat_interleave(2)
    if soft:
        targets = torch.rand(6, 3, generator=generator) / 3 + torch.eye(3)[targets]
    return DistilledData(
        images=torch.randn(6, 3, 4, width, generator=generator),
        targets=targets,
        task=Classification(("ant", "bee/wasp", "cat")),
        preprocess=preprocess,
        augment="color_crop",
        learning_rate=0.1 + 0.2,
        factor=factor,
        provenance=Provenance(
            "dm",
            {"net": "convnet", "sizes": (1, 2)},
            2,
            7,
            "insects",
            "f" * 64,
            {"torch": torch.__version__},
            1.5,
            100,
            "quick",
        ),
    )


def assert_equal(one: DistilledData, other: DistilledData) -> None:
    """Bit for bit the same set."""
    for a, b in ((one.images, other.images), (one.targets, other.targets)):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert type(one.preprocess) is type(other.preprocess)
    kept = other.preprocess.tensors()
    for name, value in one.preprocess.tensors().items():
        assert torch.equal(value, kept[name])
    names = ("task", "augment", "learning_rate", "factor", "provenance")
    assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


@pytest.fixture(params=["hard", "soft", "zca"])
def distilled(request: pytest.FixtureRequest) -> DistilledData:
    return make_distilled(soft=request.param == "soft", zca=request.param == "zca")


@pytest.fixture(params=["hard", "soft", "zca"])
def packed(request: pytest.FixtureRequest) -> DistilledData:
    """Four views to a stored image."""
    return make_distilled(soft=request.param == "soft", zca=request.param == "zca", factor=2)


@pytest.fixture
def without_rate() -> DistilledData:
    return replace(make_distilled(), learning_rate=None)


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    """A noisy picture of a mode and a (height, width)."""

    def make(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (6, 6)) -> Image.Image:
        shape = size if mode == "L" else (*size, 3)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


def all_pixels(data: RealData) -> torch.Tensor:
    """The images of every split, one a row, in an order that does not depend on the split."""
    rows = torch.cat([split.images.flatten(1) for split in (data.train, data.validation, data.test)])
    return torch.unique(rows, dim=0)
