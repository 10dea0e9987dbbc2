"""Kernels by text, and the limits that random networks tend to."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from pydistill import nets
from pydistill.kernels.functions import Convolutional, Features, Flat, RandomFeatures, layered, parse_kernel
from pydistill.ops import gram


def images(count: int, side: int = 8, channels: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("linear", {"kernel": "linear"}),
        ("rbf:bandwidths=2+4", {"kernel": "rbf", "bandwidths": (2.0, 4.0)}),
        ("polynomial:degree=2,offset=0.5", {"kernel": "polynomial", "degree": 2, "offset": 0.5}),
        ("laplacian:bandwidths=3", {"kernel": "laplacian", "bandwidths": 3.0}),
        ("inverse_multiquadric:bandwidths=3", {"kernel": "inverse_multiquadric", "bandwidths": 3.0}),
        ("nngp:depth=2", {"kernel": "nngp", "depth": 2}),
        ("ntk:depth=3,bias_variance=0.1", {"kernel": "ntk", "depth": 3, "bias_variance": 0.1}),
    ],
)
def test_a_text_is_the_operator_with_those_options(text: str, options: dict) -> None:
    x, y = images(4), images(3, seed=1)
    expected = gram(x.flatten(1)[None], y.flatten(1)[None], **options)[0]
    assert torch.equal(parse_kernel(text).matrix(x, y), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ntkk", "did you mean 'ntk'"),
        ("ntk:width=3", "kernel ntk has no option 'width'"),
        ("ntk:depth", "expected depth=VALUE once"),
        ("ntk:depth=1,depth=2", "expected depth=VALUE once"),
        ("ntk:depth=deep", "depth must be a number"),
        ("ntk:depth=0", "depth"),
        ("rbf:bandwidths=0", "bandwidth"),
        ("rbf:bandwidths=a+b", r"numbers joined by \+"),
        ("teacher", "this one has none"),
    ],
)
def test_texts_that_mean_nothing(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_kernel(text)


@pytest.mark.parametrize("depth", [1, 2])
def test_convolutional_kernels_of_one_pixel_are_the_fully_connected_ones(depth: int) -> None:
    """On 1 x 1 maps a padded 3 x 3 convolution sees a ninth of its fan-in, and nothing is pooled away."""
    x, y = images(3, side=1, channels=5), images(2, side=1, channels=5, seed=1)
    assert Convolutional(False, depth=1).between(x, y).shape == (3, 2)


@pytest.mark.parametrize("tangent", [False, True])
def test_the_convolutional_kernel_is_the_limit_of_wide_networks(tangent: bool) -> None:
    """Sample mean over networks, within four standard errors of the closed form, entry by entry."""
    x = images(3, side=4, channels=2).float()
    exact = Convolutional(tangent, depth=2).matrix(x.double(), x.double())
    found = []
    for at in range(24):
        random = RandomFeatures(networks=1, width=96, depth=2, seed=at)
        if not tangent:
            found.append(random.matrix(x, x))
            continue
        found.append(empirical_ntk(at, x))
    samples = torch.stack(found).double()
    error = samples.std(0) / math.sqrt(len(samples))
    bias = 6 / 96 * exact.abs() if tangent else 0 * exact  # a finite width's, O(1 / width)
    assert ((samples.mean(0) - exact).abs() <= 4 * error + bias).all()
    assert (error < 0.1 * exact.abs().max()).all()


def empirical_ntk(seed: int, x: Tensor, width: int = 96, depth: int = 2) -> Tensor:
    """Inner products of one network's gradients, in the parametrisation that has the limit.

    A weight tensor with fan-in n enters as sqrt(2 / n) times standard normal numbers, so its gradients
    count 2 / n times; the readout as sqrt(1 / n).
    """
    from pydistill import seeds
    from pydistill.kernels.functions import _gaussian

    shape = (x.shape[1], x.shape[2], x.shape[3])
    generator = seeds.generator(seed, "random features", 0)
    network = nets.build(f"convnet:width={width},depth={depth},norm=none", shape, 1, generator)
    network = _gaussian(network, generator).requires_grad_(True)
    readout = network.classifier.weight
    with torch.no_grad():
        readout.mul_(2**-0.5)
    weights = {name: value for name, value in network.named_parameters() if value.ndim > 1}
    rows = []
    for image in x:
        slopes = torch.autograd.grad(network(image[None]).sum(), list(weights.values()))
        parts = []
        for value, slope in zip(weights.values(), slopes, strict=True):
            fan_in = value[0].numel()
            parts.append(slope.flatten() * ((1 if value is readout else 2) / fan_in) ** 0.5)
        rows.append(torch.cat(parts))
    stacked = torch.stack(rows)
    return stacked @ stacked.T


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("depth", [1, 3])
def test_fully_connected_kernels_are_the_limit_of_wide_networks(kernel: str, depth: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 10, generator=generator, dtype=torch.float64)
    exact = gram(x[None], x[None], kernel, depth=depth)[0]
    found = torch.stack([wide_mlp(x, kernel, depth, seed) for seed in range(24)])
    error = found.std(0) / math.sqrt(len(found))
    allowed = 4 * error + (8 * depth / 512 * exact.abs() if kernel == "ntk" else 0)
    assert ((found.mean(0) - exact).abs() <= allowed).all()
    assert (error < 0.1 * exact.abs().max()).all()


def wide_mlp(x: Tensor, kernel: str, depth: int, seed: int, width: int = 512) -> Tensor:
    """One wide ReLU network's features' inner products, or its gradients'."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [x.shape[1], *[width] * depth]
    weights = [
        torch.randn(n, m, generator=generator, dtype=torch.float64).requires_grad_()
        for m, n in itertools.pairwise(sizes)
    ]
    last = torch.randn(width, generator=generator, dtype=torch.float64).requires_grad_()

    def hidden(rows: Tensor) -> Tensor:
        for weight in weights:
            rows = torch.relu(rows @ weight.T * (2 / weight.shape[1]) ** 0.5)
        return rows

    if kernel == "nngp":
        return (hidden(x) @ hidden(x).T / width).detach()
    gradients = []
    for row in x:
        output = hidden(row[None]) @ last / width**0.5
        slopes = torch.autograd.grad(output.sum(), [*weights, last])
        gradients.append(torch.cat([slope.flatten() for slope in slopes]))
    stacked = torch.stack(gradients)
    return stacked @ stacked.T


def test_features_of_several_networks_are_averaged() -> None:
    x = images(3).float()
    one, two = (lambda z: z.flatten(1)), (lambda z: 2 * z.flatten(1))
    flat = x.flatten(1)
    expected = (flat @ flat.T + 4 * flat @ flat.T) / 2 / flat.shape[1]
    torch.testing.assert_close(Features([one, two]).matrix(x, x), expected)


def test_layers_are_weighed_per_feature() -> None:
    network = nets.build("convnet:width=4,depth=2", (1, 8, 8), 3, torch.Generator().manual_seed(0)).eval()
    x = images(3).float()
    blocks = network(x, "blocks")
    matrix = Features([layered(network, "block1:2,block2")]).matrix(x, x)
    parts = [block.flatten(1) @ block.flatten(1).T / block[0].numel() for block in blocks]
    torch.testing.assert_close(matrix, (2 * parts[0] + parts[1]) / 2)


def test_random_features_are_drawn_from_their_seed() -> None:
    x = images(2).float()
    one, same, other = (RandomFeatures(2, 8, 2, seed).matrix(x, x) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kernel", [Flat("ntk", depth=2), Convolutional(True, 2), RandomFeatures(2, 8, 2)])
def test_gradients_reach_the_images(kernel: object) -> None:
    x, y = images(2, side=4).requires_grad_(), images(2, side=4, seed=1)
    assert torch.autograd.gradcheck(lambda z: kernel.matrix(y, z), (x,))  # type: ignore[attr-defined]


CORNER = torch.ones(1, 1, 4, 4)
CORNER[0, 0, :2, :2] = 0
RAMP = (torch.arange(1, 17) / 16).view(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("conv_nngp:depth=1", [0.00055313, 0.00959259, 0.01970966, 0.01560734]),
        ("conv_ntk:depth=1", [-0.00051345, 0.01723848, 0.04073073, 0.02988838]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_patch_of_zeros_has_gradients(text: str, first: list, dtype: torch.dtype) -> None:
    y = RAMP.to(dtype).requires_grad_()
    value = parse_kernel(text).matrix(CORNER.to(dtype), y).sum()
    (gradient,) = torch.autograd.grad(value, y, create_graph=True)
    torch.testing.assert_close(
        gradient.flatten()[:4].double(), torch.tensor(first).double(), rtol=0, atol=1e-8
    )
    (second,) = torch.autograd.grad(gradient.square().sum(), y)
    assert second.isfinite().all()


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
def test_gradients_at_zero_patches_are_the_mean_of_the_one_sided_ones(tangent: bool, depth: int) -> None:
    """Central differences, at images with a zero patch, with themselves and with another."""
    kernel, start = Convolutional(tangent, depth), CORNER.double()
    for other in (None, RAMP.double()):

        def value(x: Tensor, other: Tensor | None = other) -> Tensor:
            return kernel.matrix(x, x if other is None else other).sum()

        x = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(x), x, create_graph=True)
        steps = 1e-6 * torch.eye(16, dtype=torch.float64).view(16, 1, 1, 4, 4)
        expected = torch.stack([(value(start + step) - value(start - step)) / 2e-6 for step in steps])
        torch.testing.assert_close(gradient.detach().flatten(), expected, rtol=1e-5, atol=1e-7)
        assert torch.autograd.grad(gradient.square().sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("tangent", [False, True])
def test_coincident_images_in_float32(tangent: bool) -> None:
    x, kernel = images(3, side=4, channels=2).float(), Convolutional(tangent, 2)
    exact = kernel.matrix(x.double(), x.double())
    assert kernel.matrix(x, x).dtype == torch.float32
    torch.testing.assert_close(kernel.matrix(x, x).double(), exact, rtol=2e-7, atol=0)
    torch.testing.assert_close(kernel.matrix(x, x), kernel.matrix(x, x).T, rtol=1e-6, atol=0)
