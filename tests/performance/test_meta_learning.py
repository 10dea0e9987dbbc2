"""Meta-learning: closed forms, a hand-derived gradient, and what the options mean."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import nets, seeds
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.errors import DivergenceError
from pydistill.optim import Tensors
from pydistill.training.unrolled import State, unroll

NET = "convnet:width=4,depth=2"
SMALL = {"network": NET, "batch_real": 20, "iterations": 2, "inner_steps": 4}


def regression_step(index: int, state: State, learned: Tensors) -> tuple[State, Tensor]:
    """One step of gradient descent on the mean squared error of a linear model, its gradient by hand."""
    error = learned["x"] @ state["w"] - learned["y"]
    slope = learned["x"].T @ error / len(error)
    return {"w": state["w"] - learned["rate"] * slope}, error.square().mean() / 2


def test_linear_regression_at_its_known_optimum() -> None:
    """arXiv:1811.10959, section 3.4: with x^T x = (M / rate) I one step from any weights lands on
    (rate / M) x^T y, so x = sqrt(M / rate) I and y = x w* give the least-squares solution w* exactly: the
    outer loss is at its minimum and its gradient to the set vanishes."""
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    answers = torch.randn(50, 1, generator=generator, dtype=torch.float64)
    best = torch.linalg.lstsq(real, answers).solution
    x = ((4 / 0.1) ** 0.5 * torch.eye(4, dtype=torch.float64)).requires_grad_()
    y = (x.detach() @ best).requires_grad_()
    rate = torch.tensor(0.1, dtype=torch.float64)
    for seed in range(3):
        start = {"w": torch.randn(4, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)}
        done = unroll(regression_step, start, {"x": x, "y": y, "rate": rate}, steps=1)
        torch.testing.assert_close(done.state["w"], best)
        loss = (real @ done.state["w"] - answers).square().mean() / 2
        assert all(g.norm() < 1e-10 for g in torch.autograd.grad(loss, (x, y)))


def test_linear_regression_is_learned_from_noise() -> None:
    """Outer steps on x, y and the rate come within a hundredth of the least-squares loss."""
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    answers = real @ torch.ones(3, 1).double() + 0.1 * torch.randn(60, 1, generator=generator).double()
    best = torch.linalg.lstsq(real, answers).solution
    floor = float((real @ best - answers).square().mean() / 2)
    learned = {
        "x": torch.randn(3, 3, generator=generator, dtype=torch.float64),
        "y": torch.randn(3, 1, generator=generator, dtype=torch.float64),
        "rate": torch.tensor(0.1, dtype=torch.float64),
    }
    leaves = [value.requires_grad_() for value in learned.values()]
    moving = torch.optim.Adam(leaves, lr=0.02)
    for _ in range(600):
        start = {"w": torch.randn(3, 1, generator=generator, dtype=torch.float64)}
        done = unroll(regression_step, start, learned, steps=3)
        loss = (real @ done.state["w"] - answers).square().mean() / 2
        moving.zero_grad()
        loss.backward()
        moving.step()
    start = {"w": torch.zeros(3, 1, dtype=torch.float64)}
    end = unroll(regression_step, start, learned, steps=3).state["w"]
    assert float((real @ end.detach() - answers).square().mean() / 2) <= 1.01 * floor


def test_one_step_against_the_gradient_by_hand(tiny) -> None:
    """T = 1: d outer / d images = - rate d/d images (g(images) . v), v the outer gradient at the moved
    weights; to the rate it is - g . v."""
    method = make_method(
        "dd", inner_steps=1, inner_rate=0.05, learn_rates="one", network=NET, batch_real=20
    )
    problem = make_problem(tiny, ipc=2, seed=3)
    state = method.start(problem)
    leaves = {name: value.clone().requires_grad_() for name, value in state["learned"].items()}
    _, ours = method._gradients(problem, state, leaves, 0)

    network = nets.build(NET, tiny.shape, 3, problem.generator("network", 0, 0))
    weights = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    images = state["learned"]["images"].clone().requires_grad_()

    def loss(at: dict[str, Tensor], batch: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(network, at, (batch,)), targets)

    slopes = torch.autograd.grad(
        loss(weights, images, state["targets"]), list(weights.values()), create_graph=True
    )
    moved = {
        n: (w - 0.05 * g).detach().requires_grad_()
        for (n, w), g in zip(weights.items(), slopes, strict=True)
    }
    picked = torch.randint(len(tiny.train), (20,), generator=problem.generator("real batch", 0, 0))
    real = loss(moved, problem.images(picked), tiny.train.targets[picked])
    v = torch.autograd.grad(real, list(moved.values()))
    along = sum((g * each).sum() for g, each in zip(slopes, v, strict=True))
    (to_images,) = torch.autograd.grad(-0.05 * along, images)
    torch.testing.assert_close(ours["images"], to_images, rtol=1e-4, atol=1e-8)
    assert math.isclose(
        float(ours["rate"]), -0.05 * float(along.detach()), rel_tol=1e-4
    )  # of its logarithm


def test_what_may_be_learned_is_learned_and_kept(tiny, tmp_path) -> None:
    made = distill(
        tiny,
        "dd",
        ipc=2,
        learn_rates="steps",
        learn_labels=True,
        learn_hyper=True,
        learn_weights=True,
        momentum=0.5,
        weight_decay=1e-4,
        **SMALL,
    )
    training = made.recipe.training
    assert training is not None
    assert len(training.rates) == training.steps == 4
    assert made.learning_rate is None
    assert 0 < training.momentum != 0.5
    assert 0 < training.weight_decay != 1e-4
    assert made.targets.sum(1).allclose(torch.ones(6))
    drawn = nets.build(NET, tiny.shape, 3, make_problem(tiny, ipc=2).generator("network", 0))
    assert training.start is not None
    assert any(not torch.equal(training.start[name], p) for name, p in drawn.named_parameters())
    made.save(tmp_path)
    again = type(made).load(tmp_path).recipe.training
    assert again.describe() == training.describe()
    assert all(torch.equal(again.start[name], value) for name, value in training.start.items())
    assert made.nbytes["networks"] == sum(value.nbytes for value in training.start.values()) > 0
    assert made.nbytes["rates"] == 8 * (4 + 2)


def test_a_window_ends_at_random_within_the_training(tiny) -> None:
    method = make_method("rat_bptt", inner_steps=10, window=3)
    problem = make_problem(tiny, ipc=1)
    ends = {method.span(problem, index)[0] for index in range(300)}
    assert ends == set(range(3, 11))
    assert method.span(problem, 7) == method.span(problem, 7)


def test_a_window_longer_than_the_training_is_refused(tiny) -> None:
    with pytest.raises(ValueError, match="window must be at most inner_steps = 5, got 6"):
        distill(tiny, "rat_bptt", ipc=1, network=NET, inner_steps=5, window=6)
    with pytest.raises(ValueError, match="inner_steps must be at least 1"):
        distill(tiny, "dd", ipc=1, network=NET, inner_steps=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"learn_hyper": True, "inner_optimiser": "adam"},
            "learn_hyper is of .* under inner_optimiser=sgd",
        ),
        ({"weights": "fixed", "networks_per_step": 2}, "one network a step, got networks_per_step = 2"),
        ({"learn_weights": True, "networks_per_step": 2}, "one network a step, got networks_per_step = 2"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tiny, options, words) -> None:
    with pytest.raises(ValueError, match=words):
        distill(tiny, "dd", ipc=1, **{**SMALL, **options})


def test_momentum_is_learned_from_none(tiny) -> None:
    made = distill(tiny, "dd", ipc=1, learn_hyper=True, **SMALL)
    assert made.recipe.training.momentum == pytest.approx(0.01, rel=0.2)
    assert made.recipe.training.momentum != 0.01


def test_an_inner_loss_that_is_not_finite_stops_the_run_and_loses_nothing(tiny, tmp_path) -> None:
    run = {"ipc": 1, "network": NET, "batch_real": 20, "inner_steps": 4, "folder": tmp_path}
    with pytest.raises(DivergenceError, match=r"in step \d of 4, at a learning rate of 1e\+30") as caught:
        distill(tiny, "dd", iterations=3, inner_rate=1e30, checkpoint_every=1, **run)
    assert "iteration 0" in str(caught.value)


def test_gradients_are_shortened_only_where_they_are_unusual() -> None:
    method, state = make_method("rat_bptt"), {"norm": None}
    assert method._clipped(state, {"images": torch.ones(4)}) == 1.0
    assert method._clipped(state, {"images": 10 * torch.ones(4)}) == pytest.approx(0.2)
    assert method._clipped(state, {"images": torch.ones(4)}) == 1.0


def test_several_networks_a_step_are_averaged(tiny) -> None:
    problem = make_problem(tiny, ipc=1)
    both = make_method("dd", networks_per_step=2, **SMALL)
    state = both.start(problem)
    leaves = {"images": state["learned"]["images"].clone().requires_grad_()}
    _, mean = both._gradients(problem, state, leaves, 0)
    purposes = [seeds.derive(problem.seed, "inner", 0, member) for member in (0, 1)]
    assert purposes[0] != purposes[1]
    assert mean["images"].abs().sum() > 0
