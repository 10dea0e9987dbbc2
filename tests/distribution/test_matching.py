"""What the engine of distribution matching does around the objective, shown with DM."""

from dataclasses import replace

import pytest
import torch

from pydistill.data.real import RealData, Split
from pydistill.engine.method import make_method
from pydistill.engine.problem import make_problem
from pydistill.engine.run import distill
from pydistill.errors import DivergenceError
from pydistill.storage.checkpoint import Checkpoint
from tests.distribution.test_parity import features, mean_embedding

NETWORK = "convnet:width=6,depth=2"


def paper_gradient(problem, method, images):
    """Equation 6 of arXiv:2110.04181 and its gradient, in outer iteration 0."""
    images = images.clone().requires_grad_()
    loss = mean_embedding(*features(problem, method, images), None, method)
    return torch.autograd.grad(loss, images)[0]


def test_momentum_adds_up_over_steps(tiny):
    method = make_method(
        "dm",
        network=NETWORK,
        batch_real=9,
        learning_rate=0.3,
        momentum=0.5,
        augment="none",
        iterations=2,
        steps_per_network=2,
    )
    problem = make_problem(tiny, ipc=2, seed=11)
    state = method.start(problem)
    start = state["images"].clone()
    first = paper_gradient(problem, method, start)
    method.step(problem, state, 0)
    middle = state["images"].clone()
    second = paper_gradient(problem, method, middle)
    method.step(problem, state, 1)
    expected = middle - 0.3 * (second + 0.5 * first)
    torch.testing.assert_close(state["images"], expected, rtol=1e-3, atol=1e-4)


def test_loss_is_zero_where_the_synthetic_set_is_the_real_one(tiny):
    method = make_method("dm", network=NETWORK, batch_real=27, augment="none", iterations=1)
    problem = make_problem(tiny, ipc=27)
    state = method.start(problem)
    assert method.step(problem, state, 0)["loss"] < 1e-8


def test_a_kept_network_keeps_its_real_means(tiny):
    method = make_method("dm", network=NETWORK, batch_real=9, steps_per_network=3, iterations=4)
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    means = []
    for index in range(4):
        method.step(problem, state, index)
        means.append(state["cache"].real[0].clone())
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])
    assert not torch.equal(means[0], means[3])


def test_bfloat16_rounds_the_real_branch_and_nothing_else(tiny):
    """Real means differ by rounding; the synthetic side is the float32 network's, bit for bit."""
    means, gradients = {}, {}
    for precision in ("float32", "bfloat16"):
        method = make_method(
            "dm", network=NETWORK, batch_real=9, real_precision=precision, momentum=0.0, iterations=2,
            steps_per_network=2, augment="none",
        )  # fmt: skip
        problem = make_problem(tiny, ipc=2)
        state = method.start(problem)
        method.step(problem, state, 0)
        means[precision] = state["cache"].real[0].clone()
        state["cache"].real[0] = means["float32"]
        state["images"] = method.start(problem)["images"]
        before = state["images"].clone()
        method.step(problem, state, 1)
        gradients[precision] = before - state["images"]
    assert torch.equal(gradients["float32"], gradients["bfloat16"])
    assert not torch.equal(means["float32"], means["bfloat16"])
    torch.testing.assert_close(means["bfloat16"], means["float32"], rtol=0.05, atol=0.05)


def test_noise_start_holds_no_real_image(tiny):
    method = make_method("dm", network=NETWORK, init="noise")
    problem = make_problem(tiny, ipc=2)
    images = method.start(problem)["images"]
    assert abs(float(images.mean())) < 0.3
    assert float(images.std()) == pytest.approx(1.0, abs=0.2)


def test_divergence_stops_with_the_step_and_keeps_the_checkpoint(tiny, tmp_path):
    with pytest.raises(
        DivergenceError, match=r"in iteration [1-9]\d*: loss is \w+: a smaller learning_rate .*checkpoint"
    ):
        distill(
            tiny, "dm", ipc=2, folder=tmp_path, checkpoint_every=1,
            network=NETWORK, batch_real=9, learning_rate=1e39, iterations=20, augment="none",
        )  # fmt: skip
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_kmeans_starts_from_representative_images(tiny):
    method = make_method("dm", network=NETWORK, init="kmeans")
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    real = problem.images(torch.arange(len(tiny.train)))
    for image, target in zip(state["images"], state["targets"], strict=True):
        at = (real - image).flatten(1).abs().sum(1).argmin()
        assert torch.equal(real[at], image)
        assert int(tiny.train.targets[at]) == int(target)
    drawn = make_method("dm", network=NETWORK).start(problem)["images"]
    assert not torch.equal(drawn, state["images"])


def test_representative_real_images_are_kept_and_renewed(tiny):
    method = make_method(
        "dm", network=NETWORK, batch_real=4, real_batch="representative", renew_every=2, iterations=4
    )
    problem = make_problem(tiny, ipc=2)
    state, seen = method.start(problem), []
    for index in range(4):
        method.step(problem, state, index)
        seen.append(state["representatives"]["indices"].clone())
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], seen[2])
    assert len(seen[0]) == 12


@pytest.mark.parametrize("name", ["dm", "mmd", "layer_statistics", "attention"])
def test_passes_bounded_in_memory_give_the_same_step(name, tiny):
    """Two images a pass, then all at once: equal to rounding, also where classes are spread over passes."""
    moved = {}
    for size in (2, 1000):
        method = make_method(name, network=NETWORK, batch_real=9, iterations=1, factor=2, learning_rate=0.3)
        problem = make_problem(tiny, ipc=3, seed=2, max_batch=size)
        state = method.start(problem)
        method.step(problem, state, 0)
        moved[size] = state["images"]
    torch.testing.assert_close(moved[2], moved[1000], rtol=1e-4, atol=1e-5)


def test_the_cache_is_not_written_down(tiny, tmp_path):
    method = make_method("mmd", network=NETWORK, batch_real=9, iterations=2, steps_per_network=2)
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    method.step(problem, state, 0)
    assert "cache" in state
    Checkpoint({}, 1, 0.0, state).save(tmp_path / "a.safetensors")
    again = Checkpoint.load(tmp_path / "a.safetensors", problem.device).state
    assert "cache" not in again
    assert again.keys() == state.keys() - {"cache"}
    method.step(problem, state, 1)
    method.step(problem, again, 1)
    assert torch.equal(state["images"], again["images"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "block9"}, "unknown layer 'block9'.*has: block1, block2, and embedding"),
        ({"factor": 3}, "factor 3 does not divide images of 8x8 pixels"),
        ({"networks": "pond"}, "networks must be random, pool"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_done(options, message, tiny):
    with pytest.raises(ValueError, match=message):
        distill(tiny, "dm", ipc=2, network=NETWORK, **options)


def test_features_that_are_not_finite_stop_the_run(tiny):
    method = make_method("dm", network=NETWORK, batch_real=9, iterations=3, learning_rate=0.1)
    problem = make_problem(tiny, ipc=2)
    state = method.start(problem)
    state["images"][0] = float("nan")
    assert not torch.isfinite(method.step(problem, state, 0)["loss"])


def test_terms_are_told_apart_in_what_is_measured(tiny):
    method = make_method("attention", network=NETWORK, batch_real=9, iterations=1)
    problem = make_problem(tiny, ipc=2)
    measured = method.step(problem, method.start(problem), 0)
    assert set(measured) == {"loss", "attention block1", "embedding"}
    torch.testing.assert_close(measured["loss"], measured["attention block1"] + measured["embedding"])


def test_the_unbiased_estimate_of_a_class_smaller_than_the_batch(tiny):
    """Its own images are looked at, and none of them twice; one of a single image is named."""

    def cut(count: int) -> RealData:
        kept = (tiny.train.targets != 1) | (
            torch.arange(len(tiny.train)) < int((tiny.train.targets == 1).nonzero()[count])
        )
        return replace(tiny, train=Split(tiny.train.images[kept], tiny.train.targets[kept]))

    method = make_method(
        "mmd", unbiased=True, bandwidth=1.0, batch_real=64, network="convnet:width=4,depth=2", iterations=1
    )
    problem = make_problem(cut(5), ipc=2)
    state = method.start(problem)
    method.step(problem, state, 0)
    assert state["learned"][0]["sizes"] == {"synthetic": [2, 2, 2], "real": [27, 5, 27]}
    with pytest.raises(ValueError, match=r"mmd .* needs 2 images a class, found 1 real one of class '1'"):
        distill(cut(1), method, ipc=1)
    with pytest.raises(ValueError, match=r"needs 2 images a class, found 1 synthetic one of class '0'"):
        distill(tiny, method, ipc=1)
