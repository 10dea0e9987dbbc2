"""Data and networks at the edge: every registered method ends with finite images or names the class."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from pydistill import nets
from pydistill.data import RealData
from pydistill.data.real import Split
from pydistill.engine.method import methods
from pydistill.engine.run import distill
from pydistill.training.inner_loop import InnerLoop
from tests.engine.test_methods import every_method, small


def options(name: str) -> set[str]:
    return {field.name for field in dataclasses.fields(methods()[name])}


def with_training(data: RealData, images: torch.Tensor, targets: torch.Tensor) -> RealData:
    return replace(data, train=Split(images, targets))


def poor(data: RealData) -> RealData:
    """Class 0 has one training image, class 2 nothing but white ones."""
    images, targets = data.train.images.clone(), data.train.targets
    images[targets == 2] = 255
    kept = (targets != 0) | (torch.arange(len(targets)) == int((targets == 0).nonzero()[0]))
    return with_training(data, images[kept], targets[kept])


def repeated(data: RealData) -> RealData:
    """Every class is one image, again and again."""
    images, targets = data.train.images.clone(), data.train.targets
    for group in range(3):
        images[targets == group] = images[targets == group][:1].clone()
    return with_training(data, images, targets)


def short(name: str, **changed: object) -> object:
    known = {key: value for key, value in {"iterations": 2, **changed}.items() if key in options(name)}
    return replace(small(name), **known)


@every_method
@pytest.mark.parametrize("degenerate", [poor, repeated])
def test_classes_whose_images_do_not_differ(name, degenerate, tiny):
    try:
        made = distill(degenerate(tiny), short(name), ipc=1)
    except ValueError as error:
        assert "class '0'" in str(error)  # noqa: PT017 (either outcome is right)
        assert options(name) & {"factor"}
    else:
        assert made.images.isfinite().all()
        assert made.targets.isfinite().all()


@pytest.mark.parametrize("name", [name for name in methods() if "network" in options(name)])
def test_batch_normalisation(name, tiny):
    made = distill(tiny, short(name, network="convnet:width=4,depth=2,norm=batch"), ipc=2)
    assert made.images.isfinite().all()


@pytest.mark.parametrize("name", ["dd", "rat_bptt"])
@pytest.mark.parametrize("changed", [{"keep_every": 2}, {"learn_weights": True, "networks_per_step": 1}])
def test_batch_normalisation_in_the_variants_of_a_training(name, changed, tiny):
    network = "convnet:width=4,depth=2,norm=batch"
    made = distill(tiny, short(name, network=network, **changed), ipc=2)
    assert made.images.isfinite().all()


def test_running_statistics_after_a_training_carry_no_graph():
    network = nets.build(
        "convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, torch.Generator().manual_seed(0)
    )
    loop = InnerLoop(network, torch.nn.functional.cross_entropy)
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    learned = {"images": images, "targets": torch.arange(6) % 3, "rate": torch.tensor(0.1)}
    weights = {name: value.detach() for name, value in network.named_parameters()}
    done = loop.train(loop.start(weights, dict(network.named_buffers())), learned, steps=2)
    assert not any(value.requires_grad for value in done.state["buffers"].values())
    assert all(value.requires_grad for value in done.state["parameters"].values())
    outputs = torch.func.functional_call(
        network, {**done.state["parameters"], **done.state["buffers"]}, images
    )
    assert torch.autograd.grad(outputs.square().sum(), images)[0].isfinite().all()
