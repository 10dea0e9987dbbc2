"""Gradient matching: parity with the papers' objective, alternation, classes at once, parts, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import nets
from pydistill.augment import Augmentation
from pydistill.engine.method import make_method
from pydistill.engine.pool import Pool
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.parameter.gradients import Gradients
from pydistill.parameter.single_step import alternation
from pydistill.storage.checkpoint import CACHE

NET = "convnet:width=6,depth=2"
SMALL = {"network": NET, "batch_real": 9, "iterations": 3}


def channels(real: list[Tensor], learned: list[Tensor]) -> Tensor:
    """arXiv:2006.05929, equation 10: 1 - cosine of each output channel of each weight of two dimensions."""
    total = torch.zeros((), dtype=torch.float64)
    for ours, theirs in zip(learned, real, strict=True):
        if ours.ndim < 2:
            continue
        for one, other in zip(ours.flatten(1), theirs.flatten(1), strict=True):
            total = total + 1 - (one @ other) / (one.norm() * other.norm() + 1e-6)
    return total


def filters(real: list[Tensor], learned: list[Tensor]) -> Tensor:
    """arXiv:2205.14959: squared differences of the convolutions' gradients."""
    pairs = zip(learned, real, strict=True)
    return torch.stack([(a - b).square().sum() for a, b in pairs if a.ndim == 4]).sum()


def views(images: Tensor, factor: int) -> Tensor:
    """Each stored image's patches, enlarged."""
    if factor == 1:
        return images
    return torch.cat(
        [
            F.interpolate(patch[None], scale_factor=factor, mode="bilinear")
            for image in images
            for row in image.chunk(factor, 1)
            for patch in row.chunk(factor, 2)
        ]
    )


@pytest.mark.parametrize(
    ("name", "objective", "options"),
    [
        ("dc", channels, {}),
        ("dsa", channels, {"augment": "color_crop_cutout_flip_scale_rotate"}),
        ("dsa", channels, {"factor": 2}),
        ("idc", filters, {"networks": "random"}),
    ],
)
def test_a_step_against_the_papers_objective_written_slowly(name, objective, options, tiny) -> None:
    ipc = 2
    method = make_method(name, **{**SMALL, **options})
    problem = make_problem(tiny, ipc=ipc, seed=5)
    state = method.start(problem)
    method._next_outer(problem, state, 0)
    state[CACHE] = method._stage(problem, state, 0)
    loss, gradient = method._gradient(problem, state)

    purpose = ("pool", 0, 0) if name != "idc" else ("network", 0)
    network = nets.build(NET, tiny.shape, 3, problem.generator(*purpose)).double()
    weights = list(network.parameters())
    augmentation = Augmentation.parse(problem.augment(method.augment))
    rows = augmentation.sample(3, problem.generator("augmentation", 0), together=False, size=(8, 8))
    draw = problem.groups.draw(9, problem.generator("real batch", 0), strict=False)
    leaf = state["images"].double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for group in range(3):
        own = problem.images(draw.indices[draw.groups == group]).double()
        learned = views(leaf[ipc * group : ipc * (group + 1)], method.factor)
        found = []
        for batch in (own, learned):
            seen = augmentation.apply_images(batch, rows.rows(torch.full((len(batch),), group)))
            targets = torch.full((len(seen),), group)
            found.append(
                torch.autograd.grad(F.cross_entropy(network(seen), targets), weights, create_graph=True)
            )
        total = total + objective([g.detach() for g in found[0]], list(found[1]))
    (expected,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(loss.double(), total.detach(), rtol=1e-4, atol=1e-6)
    assert (gradient.double() - expected).norm() < 1e-3 * expected.norm()


def test_published_numbers_of_matches_and_epochs_and_any_other() -> None:
    published = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    assert {ipc: alternation(ipc) for ipc in published} == published
    assert alternation(5) == (5, 23)
    assert alternation(25) == (25, 22)
    assert alternation(1250) == (50, 10)


def test_networks_alternate_between_matching_and_training(tiny) -> None:
    """At two images a class a network is matched in twice and trained in between."""
    method, problem = make_method("dc", **SMALL), make_problem(tiny, ipc=2)
    matches, epochs = alternation(2)
    assert method._networks(problem) == Pool(
        size=1, shortest=matches * epochs, longest=matches * epochs, steps=epochs, momentum=0.0
    )
    state, seen = method.start(problem), []
    for index in range(3):
        method.step(problem, state, index)
        member = state["networks"]["members"][0]
        seen.append((member["generation"], member["age"]))
    assert seen == [(0, 0), (0, epochs), (1, 0)]


@pytest.mark.parametrize("augment", ["none", "color_crop_cutout_flip_scale_rotate"])
def test_classes_in_one_vectorised_pass_make_the_same_gradient(augment, tiny) -> None:
    problem = make_problem(tiny, ipc=2, seed=1)
    found = []
    for count in (1, 2, 3):
        method = make_method("dsa", classes_at_once=count, augment=augment, **SMALL)
        state = method.start(problem)
        method._next_outer(problem, state, 0)
        state[CACHE] = method._stage(problem, state, 0)
        found.append(method._gradient(problem, state))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-4, atol=1e-5)
        assert (gradient - found[0][1]).norm() < 1e-3 * found[0][1].norm()


def test_a_class_in_parts_makes_the_same_gradient(tiny) -> None:
    found = []
    for most in (None, 1, 2):
        problem = make_problem(tiny, ipc=5, seed=1, max_batch=most)
        method = make_method("dsa", **SMALL)
        state = method.start(problem)
        method._next_outer(problem, state, 0)
        state[CACHE] = method._stage(problem, state, 0)
        found.append(method._gradient(problem, state))
    for loss, gradient in found[1:]:
        torch.testing.assert_close(loss, found[0][0], rtol=1e-4, atol=1e-5)
        assert (gradient - found[0][1]).norm() < 1e-3 * found[0][1].norm()


def test_matching_lowers_the_distance_it_measures(tiny) -> None:
    losses = []

    def listen(event) -> None:
        if type(event).__name__ == "Step":
            losses.append(event.metrics["loss"])

    distill(
        tiny, "dc", ipc=2, network=NET, iterations=40, networks="pool:size=1,shortest=10000,longest=10000,"
        "steps=1,rate=1e-12", batch_real=27, optimiser="adam", learning_rate=0.05, on_event=listen,
    )  # fmt: skip
    assert losses[-1] < 0.5 * losses[0]


def test_batch_normalisation_takes_its_statistics_from_real_images(tiny) -> None:
    network = "convnet:width=4,depth=2,norm=batch"
    method = make_method("dc", **{**SMALL, "network": network})
    problem = make_problem(tiny, ipc=1)
    state = method.start(problem)
    method._next_outer(problem, state, 0)
    stage = method._stage(problem, state, 0)
    layers = [m for m in stage.gradients._network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    draw = problem.groups.draw(16, problem.generator("settling", 0), strict=False)
    fresh = nets.build(network, tiny.shape, 3, problem.generator("pool", 0, 0))
    maps = fresh.body[0].convolution(problem.images(draw.indices))
    torch.testing.assert_close(layers[0].running_mean, maps.mean((0, 2, 3)).detach())
    assert not any(layer.training for layer in layers)
    assert distill(tiny, method, ipc=1).images.isfinite().all()


def test_segments_are_output_channels_or_all() -> None:
    network = nets.build("convnet:width=4,depth=1", (1, 8, 8), 3, torch.Generator())
    gradients = Gradients(network, F.cross_entropy, "all")
    assert gradients.offsets("all") == [0, gradients.size]
    marks = gradients.offsets("channel")
    # a filter of 9 for each of 4 channels, three vectors of 4, a row of 64 for each of 3 outputs, a bias
    assert marks == [0, 9, 18, 27, 36, 40, 44, 48, 112, 176, 240, 243]
    flat = gradients.of(torch.randn(2, 1, 8, 8), torch.tensor([0, 2]), differentiable=False)
    assert len(flat) == marks[-1]


def test_what_is_not_there_cannot_be_matched(tiny) -> None:
    with pytest.raises(ValueError, match="mlp has no parameters of the kind 'filters' to match"):
        distill(tiny, "idc", ipc=1, network="mlp", iterations=1, networks="random", factor=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"distance": "l3"}, "distance must be one of cosine, l2, l1; got 'l3'"),
        ({"networks": "fresh"}, "networks must be random, pool"),
        ({"augment": "blur"}, "unknown transform 'blur'"),
        ({"classes_at_once": 0}, "classes_at_once must be at least 1"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(options, words, tiny) -> None:
    with pytest.raises(ValueError, match=words):
        distill(tiny, "dc", ipc=1, **{**SMALL, **options})
