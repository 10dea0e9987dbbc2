"""Small distilled sets, and pictures to make data sets of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.data import DistilledData, Provenance, RealData, Standardise, Whiten
from pydistill.tasks import Classification

Fill = Callable[..., None]


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


@pytest.fixture
def unlike(tmp_path: Path) -> Fill:
    """Write ``each`` pictures into every folder; no two are alike."""
    made = [0]

    def make(*folders: str, each: int = 6, ending: str = ".png", root: Path = tmp_path) -> None:
        for folder in folders:
            (root / folder).mkdir(parents=True, exist_ok=True)
            for at in range(each):
                made[0] += 1
                pixels = np.random.default_rng(made[0]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{at}{ending}", format="PNG")

    return make


def counts(data: RealData) -> tuple[int, int]:
    """Training with validation images, and test images."""
    return len(data.train) + len(data.validation), len(data.test)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and nothing left in the user's own cache."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(picture: Callable[..., Image.Image]) -> Callable[..., Any]:
    """A data set of pictures and labels, whose columns and class names can be chosen."""
    import datasets

    def make(
        count: int = 20,
        first: int = 0,
        image: str = "img",
        target: str = "label",
        named: bool = True,
        **more: Any,
    ) -> Any:
        columns = {
            image: [picture(first + at) for at in range(count)],
            target: [at % 2 for at in range(count)],
        }
        label = datasets.ClassLabel(names=["cat", "dog"]) if named else datasets.Value("int64")
        features = {image: datasets.Image(), target: label}
        for name, (values, kind) in more.items():
            columns[name], features[name] = values, kind
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    return make
