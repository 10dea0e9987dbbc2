"""DM against its paper's objective, written slowly, class by class."""

import pytest
import torch
from torch import nn

from pydistill import nets
from pydistill.augment import Augmentation
from pydistill.distill import distill
from pydistill.errors import DivergenceError
from pydistill.method import make_method
from pydistill.problem import make_problem

NETWORK = "convnet:width=6,depth=2"


class Slow(nn.Module):
    """The same network out of torch's own layers, in float64."""

    def __init__(self, network):
        super().__init__()
        weights = [value.detach().double() for name, value in network.named_parameters()]
        layers = []
        for conv, bias, scale, shift in zip(*[iter(weights[:8])] * 4, strict=True):
            convolution = nn.Conv2d(conv.shape[1], len(conv), 3, padding=1).double()
            norm = nn.InstanceNorm2d(len(conv), affine=True).double()
            convolution.weight.data, convolution.bias.data = conv, bias
            norm.weight.data, norm.bias.data = scale, shift
            layers += [convolution, norm, nn.ReLU(), nn.AvgPool2d(2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers(images.double()).flatten(1)


def paper_gradient(problem, method, images, turn):
    """Equation 6 of arXiv:2110.04181, summed over classes, differentiated by autograd."""
    network = Slow(nets.build(NETWORK, problem.data.shape, 3, problem.generator("network", turn)))
    augmentation = Augmentation.parse(method.augment)
    views = augmentation.sample(3, problem.generator("augmentation", turn), together=False, size=(8, 8))
    draw = problem.groups.draw(method.batch_real, problem.generator("real batch", turn), strict=False)
    images = images.clone().requires_grad_()
    loss = 0.0
    for group in range(3):
        own = draw.indices[draw.groups == group]
        real = augmentation.apply(problem.images(own), views.rows(torch.full((len(own),), group)))
        synthetic = augmentation.apply(
            images[2 * group : 2 * group + 2], views.rows(torch.full((2,), group))
        )
        loss = loss + (network(real).mean(0) - network(synthetic).mean(0)).square().sum()
    return loss.detach(), torch.autograd.grad(loss, images)[0]


@pytest.mark.parametrize("augment", ["none", "color_crop_cutout_scale_rotate"])
def test_one_step_is_the_papers(tiny, augment):
    method = make_method(
        "dm", network=NETWORK, batch_real=9, learning_rate=0.3, momentum=0.0, augment=augment, iterations=1
    )
    problem = make_problem(tiny, ipc=2, seed=11, max_batch=4)
    state = method.start(problem)
    before = state["images"].clone()
    loss, gradient = paper_gradient(problem, method, before, 0)
    measured = method.step(problem, state, 0)
    torch.testing.assert_close(measured["loss"].double(), loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((before - state["images"]) / 0.3, gradient, rtol=1e-3, atol=1e-4)
    assert gradient.abs().max() > 1e-3


def test_momentum_adds_up_over_steps(tiny):
    method = make_method(
        "dm", network=NETWORK, batch_real=9, learning_rate=0.3, momentum=0.5, augment="none", iterations=2
    )
    problem = make_problem(tiny, ipc=2, seed=11)
    state = method.start(problem)
    start = state["images"].clone()
    _, first = paper_gradient(problem, method, start, 0)
    method.step(problem, state, 0)
    middle = state["images"].clone()
    _, second = paper_gradient(problem, method, middle, 1)
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
        means.append(state["real means"].clone())
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
        means[precision] = state["real means"]
        state["real means"] = means["float32"]
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
        DivergenceError, match=r"in iteration [1-9]\d*: a smaller learning_rate may help; .*checkpoint"
    ):
        distill(
            tiny, "dm", ipc=2, folder=tmp_path, checkpoint_every=1,
            network=NETWORK, batch_real=9, learning_rate=1e39, iterations=20, augment="none",
        )  # fmt: skip
    assert (tmp_path / "checkpoint.safetensors").exists()
