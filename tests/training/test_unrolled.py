"""Back-propagation step by step gives what the full graph gives."""

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import nets
from pydistill.errors import DivergenceError
from pydistill.optim import Adam, Optimiser, Sgd, Tensors
from pydistill.training import unrolled
from pydistill.training.inner_loop import InnerLoop
from pydistill.training.unrolled import State, unroll

NETWORKS = {
    "mlp": "mlp:width=16",
    "convnet": "convnet:width=4,depth=2",
    "batch norm": "convnet:width=4,depth=2,norm=batch",
}
RULES: dict[str, Optimiser] = {
    "sgd": Sgd(),
    "momentum and decay": Sgd(momentum=0.9, weight_decay=1e-3),
    "nesterov": Sgd(momentum=0.5, nesterov=True),
    "adam": Adam(weight_decay=1e-3),
}


def learned(steps: int, *, rates: bool = True, dtype: torch.dtype = torch.float64) -> Tensors:
    """Six images of three classes with soft targets, and a rate a step."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 1, 8, 8, generator=generator, dtype=dtype)
    logits = torch.randn(6, 3, generator=generator, dtype=dtype)
    rate = torch.full((steps,) if rates else (), 0.05, dtype=dtype)
    found = {"images": images, "targets": F.softmax(logits, 1), "rate": rate}
    return {name: value.requires_grad_() for name, value in found.items()}


def loop(
    architecture: str, rule: Optimiser, dtype: torch.dtype = torch.float64, **options: object
) -> InnerLoop:
    network = nets.build(architecture, (1, 8, 8), 3, torch.Generator().manual_seed(2), dtype=dtype)
    return InnerLoop(network, F.cross_entropy, rule, **options)  # type: ignore[arg-type]


def first(loop: InnerLoop) -> tuple[State, list[Tensor]]:
    """The first state, its weights leaves."""
    weights = {name: value.detach().requires_grad_() for name, value in loop.network.named_parameters()}
    buffers = {name: value.clone() for name, value in loop.network.named_buffers()}
    return loop.start(weights, buffers), list(weights.values())


def outer(state: State) -> Tensor:
    """A number that depends on every weight."""
    return torch.stack(
        [(value * value.detach().cos()).sum() for value in state["parameters"].values()]
    ).sum()


def full_graph(loop: InnerLoop, start: State, what: Tensors, steps: int, constant: int = 0) -> State:
    """The same training, every step in one graph; the first ``constant`` steps outside it."""
    state = start
    for index in range(steps):
        if index < constant:
            with torch.no_grad():
                state = loop.step(index, state, what)[0]
        else:
            state = loop.step(index, state, what)[0]
    return state


def gradients(state: State, inputs: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(outer(state), inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]


def agree(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= tolerance * other.norm() + 1e-12


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("steps", [1, 5])
def test_gradients_are_those_of_the_full_graph(network: str, rule: str, steps: int) -> None:
    trained = loop(NETWORKS[network], RULES[rule], augment="crop_flip", batch_size=4)
    what = learned(steps)
    start, weights = first(trained)
    inputs = [*what.values(), *weights]
    theirs = gradients(full_graph(trained, start, what, steps), inputs)
    ours = gradients(trained.train(start, what, steps=steps).state, inputs)
    agree(ours, theirs, 1e-9)
    assert all(float(gradient.norm()) > 0 for gradient in ours[:3])


@pytest.mark.parametrize("network", NETWORKS)
def test_twenty_steps_in_float32(network: str) -> None:
    trained = loop(NETWORKS[network], Sgd(momentum=0.5), torch.float32)
    what = learned(20, dtype=torch.float32)
    start, weights = first(trained)
    inputs = [*what.values(), *weights]
    theirs = gradients(full_graph(trained, start, what, 20), inputs)
    agree(gradients(trained.train(start, what, steps=20).state, inputs), theirs, 1e-5)


@pytest.mark.parametrize("keep_every", [1, 2, 3, 7, 50])
def test_spacing_of_kept_states_changes_nothing(keep_every: int) -> None:
    trained = loop(NETWORKS["convnet"], Adam(), batch_size=2)
    what = learned(7)
    start, weights = first(trained)
    inputs = [*what.values(), *weights]
    one = gradients(trained.train(start, what, steps=7).state, inputs)
    other = gradients(trained.train(start, what, steps=7, keep_every=keep_every).state, inputs)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("network", NETWORKS)
def test_kept_graphs_give_the_same_gradients(network: str, rule: str) -> None:
    trained = loop(NETWORKS[network], RULES[rule], augment="crop_flip", batch_size=4)
    what = learned(5)
    start, weights = first(trained)
    inputs = [*what.values(), *weights]
    again = trained.train(start, what, steps=5)
    kept = trained.train(start, what, steps=5, keep_every=0)
    torch.testing.assert_close(kept.losses, again.losses)
    twice = [gradients(kept.state, inputs) for _ in range(2)]
    agree(twice[0], gradients(again.state, inputs), 1e-9)
    assert all(torch.equal(a, b) for a, b in zip(*twice, strict=True))


def test_a_kept_graph_takes_no_step_again() -> None:
    taken: list[int] = []

    def step(index: int, state: State, learned: Tensors) -> tuple[State, Tensor]:
        taken.append(index)
        return {"w": state["w"] * learned["rate"]}, state["w"].sum()

    for keep_every, times in ((0, 4), (1, 8), (2, 10)):
        taken.clear()
        rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
        start = {"w": torch.ones(3, dtype=torch.float64)}
        done = unroll(step, start, {"rate": rate}, steps=4, keep_every=keep_every)
        (slope,) = torch.autograd.grad(done.state["w"].sum(), rate)
        assert float(slope) == 3 * 4 * 2.0**3
        assert len(taken) == times


@pytest.mark.parametrize(("memory", "times"), [(4_000, 6), (3_999, 11)])
def test_graphs_are_kept_unasked_where_a_quarter_of_the_memory_holds_them(memory, times, monkeypatch):
    """Six graphs, judged by the first one; where they are too large, states are kept from there on."""
    taken: list[int] = []

    def step(index: int, state: State, learned: Tensors) -> tuple[State, Tensor]:
        taken.append(index)
        return {"w": state["w"] * learned["rate"]}, state["w"].sum()

    held = itertools.count(0, 1)
    monkeypatch.setattr(unrolled, "_gpus", lambda tensors: {"a GPU"})
    monkeypatch.setattr(unrolled, "_allocated", lambda devices: 1_000 * next(held) / 6)
    monkeypatch.setattr(unrolled, "_memory", lambda devices: memory)
    rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    start = {"w": torch.ones(3, dtype=torch.float64)}
    done = unroll(step, start, {"rate": rate}, steps=6, keep_every=None)
    (slope,) = torch.autograd.grad(done.state["w"].sum(), rate)
    assert float(slope) == 3 * 6 * 2.0**5
    assert len(taken) == times


def test_on_a_cpu_states_are_kept_unasked():
    trained = loop(NETWORKS["mlp"], Sgd())
    what = learned(4)
    start, weights = first(trained)
    inputs = [*what.values(), *weights]
    one, other = (
        gradients(trained.train(start, what, steps=4, keep_every=every).state, inputs)
        for every in (1, None)
    )
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.cuda
def test_on_a_gpu_graphs_are_kept_unasked():
    def on_gpu(state: State) -> State:
        return {
            key: on_gpu(value) if isinstance(value, dict) else value.detach().cuda()
            for key, value in state.items()
        }

    trained = loop(NETWORKS["convnet"], Sgd())
    trained = dataclasses.replace(trained, network=trained.network.cuda())
    what = {name: value.detach().cuda().requires_grad_() for name, value in learned(4).items()}
    start = on_gpu(first(trained)[0])
    one, other = (
        gradients(trained.train(start, what, steps=4, keep_every=every).state, list(what.values()))
        for every in (1, None)
    )
    agree(one, other, 1e-9)


@pytest.mark.parametrize(("window", "keep_every"), [(1, 1), (3, 2), (5, 1), (6, 4), (3, 0), (6, 0)])
def test_a_window_differentiates_the_last_steps_alone(window: int, keep_every: int) -> None:
    trained = loop(NETWORKS["convnet"], Sgd(momentum=0.9))
    what = learned(6)
    start, weights = first(trained)
    done = trained.train(start, what, steps=6, window=window, keep_every=keep_every)
    theirs = gradients(full_graph(trained, start, what, 6, constant=6 - window), list(what.values()))
    agree(gradients(done.state, list(what.values())), theirs, 1e-9)
    to_weights = torch.autograd.grad(outer(done.state), weights, allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in to_weights) == (window < 6)


def test_a_training_goes_on_where_another_ended() -> None:
    trained = loop(NETWORKS["mlp"], Adam(), batch_size=4)
    what = learned(6)
    start, _ = first(trained)
    whole = trained.train(start, what, steps=6)
    half = trained.train(start, what, steps=2)
    rest = trained.train(half.state, what, steps=4, first=2)
    for name, value in whole.state["parameters"].items():
        assert torch.equal(value, rest.state["parameters"][name])
    agree(gradients(rest.state, list(what.values())), gradients(whole.state, list(what.values())), 1e-9)


def test_learned_momentum_and_weight_decay() -> None:
    trained = loop(NETWORKS["mlp"], Sgd(momentum=0.5, weight_decay=0.1))
    what = learned(4, rates=False)
    for name, value in {"momentum": 0.5, "weight_decay": 0.1}.items():
        what[name] = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    start, _ = first(trained)
    ours = gradients(trained.train(start, what, steps=4).state, list(what.values()))
    eps = 1e-6
    for at, name in ((3, "momentum"), (4, "weight_decay")):
        moved = []
        for sign in (1, -1):
            other = {key: value.detach() for key, value in what.items()}
            other[name] = other[name] + sign * eps
            moved.append(outer_fixed(trained.train(start, other, steps=4).state, trained, start, what))
        assert math.isclose(float(ours[at]), (moved[0] - moved[1]) / (2 * eps), rel_tol=1e-5)


def outer_fixed(state: State, trained: InnerLoop, start: State, what: Tensors) -> float:
    """``outer`` with its weights held where the unmoved training ended."""
    end = trained.train(start, {k: v.detach() for k, v in what.items()}, steps=4).state["parameters"]
    return float(
        sum((value * end[name].cos()).sum().detach() for name, value in state["parameters"].items())
    )


def test_several_networks_at_once_are_each_on_its_own() -> None:
    single = loop(NETWORKS["mlp"], Sgd(momentum=0.5))
    networks = [
        nets.build(NETWORKS["mlp"], (1, 8, 8), 3, torch.Generator().manual_seed(at), dtype=torch.float64)
        for at in range(3)
    ]
    what, stacked = learned(4), nets.stack(networks)
    together = InnerLoop(networks[0], F.cross_entropy, Sgd(momentum=0.5), networks=3)
    done = together.train(together.start(stacked.parameters), what, steps=4)
    total = [torch.zeros_like(value) for value in what.values()]
    for at, network in enumerate(networks):
        own = single.train(
            single.start({n: p.detach() for n, p in network.named_parameters()}), what, steps=4
        )
        for name, value in own.state["parameters"].items():
            torch.testing.assert_close(done.state["parameters"][name][at], value)
        torch.testing.assert_close(done.losses[:, at], own.losses)
        total = [a + b for a, b in zip(total, gradients(own.state, list(what.values())), strict=True)]
    agree(gradients(done.state, list(what.values())), total, 1e-9)


def test_minibatches_cover_the_set_in_a_new_order_each_pass() -> None:
    trained = loop(NETWORKS["mlp"], Sgd(), batch_size=2)
    orders = [torch.cat([trained.picked(at + 3 * epoch, 6, 0) for at in range(3)]) for epoch in range(4)]
    assert all(sorted(order.tolist()) == list(range(6)) for order in orders)
    assert any(not torch.equal(a, b) for a, b in itertools.pairwise(orders))
    assert torch.equal(trained.picked(4, 6, 0), trained.picked(4, 6, 0))
    assert any(not torch.equal(trained.picked(at, 6, 0), trained.picked(at, 6, 1)) for at in range(3))


def test_arguments_out_of_range_are_refused() -> None:
    trained = loop(NETWORKS["mlp"], Sgd())
    start, _ = first(trained)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        trained.train(start, learned(1), steps=0)
    with pytest.raises(ValueError, match="window must be at most steps = 2, got 3"):
        trained.train(start, learned(2), steps=2, window=3)
    with pytest.raises(ValueError, match="keep_every must be at least 0, got -1"):
        trained.train(start, learned(2), steps=2, keep_every=-1)
    with pytest.raises(ValueError, match="a rate for each of 3 steps, got 2"):
        trained.train(start, learned(2), steps=3)
    with pytest.raises(TypeError, match="steps must be an integer"):
        trained.train(start, learned(2), steps=2.0)  # type: ignore[arg-type]


def test_a_training_that_blows_up_names_step_and_rate() -> None:
    trained = loop(NETWORKS["mlp"], Sgd())
    what = {**learned(5), "rate": torch.tensor([0.1, 0.1, 1e308, 1e308, 0.1], dtype=torch.float64)}
    start, _ = first(trained)
    with pytest.raises(DivergenceError, match=r"in step [34] of 5, at a learning rate of"):
        trained.train(start, what, steps=5)


def test_a_step_of_any_kind() -> None:
    """A scalar recursion whose derivative is known: s_(t+1) = u s_t, so ds_T/du = T u^(T-1) s_0."""

    def step(index: int, state: State, given: Tensors) -> tuple[State, Tensor]:
        return {"s": given["u"] * state["s"]}, state["s"].detach()

    u = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    s = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    done = unroll(step, {"s": s}, {"u": u}, steps=6)
    to_u, to_s = torch.autograd.grad(done.state["s"], (u, s))
    assert math.isclose(float(to_u), 6 * 1.5**5 * 2.0)
    assert math.isclose(float(to_s), 1.5**6)
    assert done.losses.tolist() == [2.0 * 1.5**t for t in range(6)]
