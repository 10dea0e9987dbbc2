"""Learned images kept within the range of pixels."""

from dataclasses import replace

import pytest
import torch

from pydistill import distill, load_data
from pydistill.engine.clamp import WITHIN, within_pixels
from pydistill.errors import CheckpointError
from pydistill.events import Saved
from tests.conftest import blobs
from tests.engine.test_methods import InterruptedRunError, every_method, small


def outside(made):
    pixels = made.pixels()
    return float(torch.maximum(-pixels, pixels - 1).max())


def restless(name):
    """A run whose steps are large."""
    method = small(name)
    large = {"learning_rate": 50.0} if hasattr(method, "learning_rate") else {}
    return replace(method, **large, **({"init": "noise"} if hasattr(method, "init") else {}))


@every_method
def test_every_method_keeps_its_images_within_pixels_where_asked(name, tiny):
    made = distill(tiny, restless(name), ipc=2, seed=3, clamp=True)
    assert outside(made) <= WITHIN
    assert made.provenance.clamp


@pytest.mark.parametrize("name", ["dm", "rfad"])
def test_packed_images_too_and_not_where_it_is_not_asked(name, tiny):
    method = replace(restless(name), factor=2)
    assert outside(distill(tiny, method, ipc=2, seed=3, clamp=True)) <= WITHIN
    assert outside(distill(tiny, method, ipc=2, seed=3)) > 0.1


@pytest.fixture(scope="module")
def whitened():
    return load_data(blobs(), name="tiny", preprocess="zca")


def test_under_whitening_too(whitened):
    assert outside(distill(whitened, restless("dm"), ipc=2)) > 0.1
    assert outside(distill(whitened, restless("dm"), ipc=2, clamp=True)) <= WITHIN


@pytest.mark.parametrize("preprocess", ["standardise", "zca"])
def test_images_within_stay_as_they_are_and_the_others_are_clamped_in_pixels(preprocess, tiny, whitened):
    data = {"standardise": tiny, "zca": whitened}[preprocess]
    pixels = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    pixels[2:] = pixels[2:] * 4 - 1.5
    images = data.preprocess.apply(pixels).to(memory_format=torch.channels_last)
    found = within_pixels(images, data.preprocess)
    assert torch.equal(found[:2], images[:2])
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(data.preprocess.invert(found), pixels.clamp(0, 1), atol=WITHIN, rtol=0)
    again = within_pixels(found, data.preprocess)
    torch.testing.assert_close(again, found, atol=1e-4, rtol=0)


def test_a_clamped_run_resumes_and_is_another_run_than_one_without(tiny, tmp_path):
    def interrupt(event):
        if isinstance(event, Saved):
            raise InterruptedRunError

    run = {"ipc": 2, "seed": 4, "folder": tmp_path, "checkpoint_every": 3}
    whole = distill(tiny, restless("dm"), ipc=2, seed=4, clamp=True)
    with pytest.raises(InterruptedRunError):
        distill(tiny, restless("dm"), **run, clamp=True, on_event=interrupt)
    with pytest.raises(CheckpointError, match="clamp is True there, None here"):
        distill(tiny, restless("dm"), **run, resume=True)
    resumed = distill(tiny, restless("dm"), **run, clamp=True, resume=True)
    assert torch.equal(resumed.images, whole.images)
