"""The networks themselves: published sizes, any image, what a block is, second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, vmap

from pydistill import nets, ops, seeds
from pydistill.nets.layers import Convolution, GroupNorm
from pydistill.ops import norm_relu_pool

NETWORKS = (
    "convnet",
    "mlp",
    "lenet",
    "alexnet",
    "vgg11",
    "vgg11:norm=batch",
    "resnet18",
    "resnet18:norm=batch",
)
SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 33, 17), (4, 9, 12))


def make(text, shape, outputs=10, seed=0, **options):
    return nets.build(text, shape, outputs, seeds.generator(seed), **options)


def images(count, shape, dtype=torch.float32, seed=1):
    return torch.randn(count, *shape, generator=seeds.generator(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("text", "shape", "count"),
    [
        ("convnet", (3, 32, 32), 320_010),
        ("mlp", (3, 32, 32), 411_146),
        ("lenet", (3, 32, 32), 62_006),
        ("lenet", (1, 28, 28), 61_706),
        ("alexnet", (3, 32, 32), 1_872_202),
        ("vgg11:norm=batch", (3, 32, 32), 9_231_114),
        ("resnet18:norm=batch", (3, 32, 32), 11_173_962),
        ("resnet18", (3, 32, 32), 11_173_962),
    ],
)
def test_parameter_counts_are_the_published_ones(text, shape, count):
    assert sum(parameter.numel() for parameter in make(text, shape).parameters()) == count


def test_a_convnet_has_as_many_blocks_as_suit_its_images():
    sides = {2: 1, 4: 2, 8: 2, 16: 2, 28: 3, 32: 3, 64: 4, 128: 5}
    found = {side: nets.block_names("convnet:width=1", (1, side, side + 5), 2) for side in sides}
    assert {side: len(names) for side, names in found.items()} == sides
    assert len(nets.block_names("convnet:depth=3", (1, 8, 8), 2)) == 3
    assert len(nets.block_names("convnet:pooling=none", (1, 8, 8), 2)) == 3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("text", NETWORKS)
def test_every_network_takes_every_image_and_gives_all_blocks_in_one_pass(text, shape):
    network = make(text, shape, 7)
    batch = images(2, shape)
    with torch.no_grad():
        blocks = network.eval()(batch, "blocks")
        embedding, logits = network(batch, "embedding"), network(batch)
    assert len(blocks) == len(network.names) == len(set(network.names))
    assert all(len(block) == 2 and block[0].numel() for block in blocks)
    assert torch.equal(embedding, blocks[-1].flatten(1))
    assert torch.equal(logits, network.head(blocks))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    assert not torch.equal(embedding[0], embedding[1])  # no map was normalised to nothing on the way


def test_block_shapes_of_the_standard_convnet():
    network = make("convnet", (3, 32, 32))
    shapes = [tuple(block.shape) for block in network(images(2, (3, 32, 32)), "blocks")]
    assert shapes == [(2, 128, 16, 16), (2, 128, 8, 8), (2, 128, 4, 4)]
    assert network(images(2, (3, 32, 32)), "embedding").shape == (2, 2048)


def test_block_shapes_of_resnet18_end_in_the_mean_of_the_last_map():
    network = make("resnet18", (3, 32, 32))
    *_, last, mean = network(images(1, (3, 32, 32)), "blocks")
    assert last.shape == (1, 512, 4, 4)
    torch.testing.assert_close(mean, last.mean((2, 3)))


def test_convnet_is_convolution_instance_norm_relu_and_average_pooling():
    network = make("convnet:width=6,depth=2", (3, 11, 8), dtype=torch.float64)
    state = network.state_dict()
    for name in state:
        if "normalisation" in name:
            state[name].uniform_(-1, 1, generator=seeds.generator(2, name))
    batch = maps = images(3, (3, 11, 8), torch.float64)
    for index in range(2):
        part = {name.split(f"body.{index}.")[-1]: value for name, value in state.items()}
        maps = F.conv2d(maps, part["convolution.weight"], part["convolution.bias"], padding=1)
        mean = maps.mean((2, 3), keepdim=True)
        spread = (maps.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        maps = (maps - mean) / spread * part["normalisation.weight"].view(-1, 1, 1)
        maps = (maps + part["normalisation.bias"].view(-1, 1, 1)).clamp_min(0)
        maps = maps[:, :, : maps.shape[2] // 2 * 2, : maps.shape[3] // 2 * 2]
        maps = sum(maps[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)) / 4
    logits = maps.flatten(1) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(network(batch), logits)


def test_the_standard_block_runs_the_fused_op(monkeypatch):
    seen = []

    def spy(maps, *rest):
        seen.append(tuple(maps.shape))
        return norm_relu_pool(maps, *rest)

    monkeypatch.setattr("pydistill.nets.layers.norm_relu_pool", spy)
    make("convnet:width=4,depth=2", (1, 8, 8))(images(2, (1, 8, 8)))
    assert seen == [(2, 4, 8, 8), (2, 4, 4, 4)]
    make("convnet:width=4,depth=2,pooling=max", (1, 8, 8))(images(2, (1, 8, 8)))
    assert len(seen) == 2


@pytest.mark.parametrize("pooling", ["none", "max", "avg"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "leakyrelu"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_a_block_of_every_norm_activation_and_pooling(norm, activation, pooling):
    network = make(
        f"convnet:width=8,depth=1,norm={norm},activation={activation},pooling={pooling}",
        (2, 6, 5),
        dtype=torch.float64,
    )
    batch = images(4, (2, 6, 5), torch.float64)
    convolution = network.body[0].convolution
    maps = F.conv2d(batch, convolution.weight, convolution.bias, padding=1)
    groups = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}
    if norm in groups:
        axes = groups[norm]
        variance = maps.var(axes, correction=0, keepdim=True)
        maps = (maps - maps.mean(axes, keepdim=True)) / (variance + 1e-5).sqrt()
    if norm == "group":
        grouped = maps.reshape(4, 4, -1)
        variance = grouped.var(2, correction=0, keepdim=True)
        maps = ((grouped - grouped.mean(2, keepdim=True)) / (variance + 1e-5).sqrt()).reshape(maps.shape)
    shape = {
        "sigmoid": lambda x: 1 / (1 + (-x).exp()),
        "relu": lambda x: x * (x > 0),
        "leakyrelu": lambda x: torch.where(x > 0, x, 0.01 * x),
    }
    maps = shape[activation](maps)
    if pooling != "none":
        windows = maps[:, :, :6, :4].reshape(4, 8, 3, 2, 2, 2)
        maps = windows.amax((3, 5)) if pooling == "max" else windows.mean((3, 5))
    torch.testing.assert_close(network(batch, "blocks")[0], maps)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("convnet:depth=4", (1, 8, 8), r"convnet:depth=4 needs images of at least 16x16 pixels, found 8x8"),
        ("convnet:depth=3", (3, 32, 7), "at least 8x8 pixels, found 32x7"),
        ("convnet", (3, 32, 1), "at least 2x2 pixels, found 32x1"),
        ("convnet:pooling=none", (3, 1, 1), "at least 2x2 pixels, found 1x1"),
        ("alexnet", (3, 7, 7), "at least 8x8"),
        ("lenet", (3, 3, 9), "at least 4x4"),
        ("vgg11", (3, 1, 1), "at least 2x2"),
        ("resnet18", (3, 1, 5), "at least 2x2"),
        ("mlp", (3, 0, 5), "each at least 1"),
        ("mlp", (3, 5), "shape must be"),
        ("convnet:norm=group,width=6", (3, 8, 8), "width divisible by 4"),
    ],
)
def test_images_a_network_cannot_take_are_refused_with_the_least_size(text, shape, message):
    with pytest.raises(ValueError, match=message):
        make(text, shape)


@pytest.mark.parametrize("text", ["convnet", "alexnet", "lenet", "vgg11", "resnet18", "mlp"])
def test_the_least_size_is_enough(text):
    smallest = nets.parse(text).smallest
    assert make(text, (2, smallest, smallest))(images(2, (2, smallest, smallest))).isfinite().all()


def test_no_outputs_are_refused():
    with pytest.raises(ValueError, match="outputs must be at least 1, found 0"):
        make("mlp", (1, 4, 4), 0)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 8, 9), (3, 8, 8)])
def test_images_of_another_shape_are_refused(shape):
    network = make("resnet18", (3, 8, 8))
    with pytest.raises(ValueError, match=r"resnet18 was built for images \(N, 3, 8, 8\), found"):
        network(torch.zeros(shape))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="logits, embedding or blocks, found 'features'"):
        make("mlp", (1, 4, 4))(images(1, (1, 4, 4)), "features")


@pytest.mark.parametrize(
    "text",
    [
        "convnet:width=3,depth=1",
        "convnet:width=4,depth=2,norm=group,activation=sigmoid",
        "convnet:width=3,depth=1,norm=layer,activation=leakyrelu,pooling=max",
        "convnet:width=3,depth=2,norm=batch,activation=sigmoid",
        "mlp:width=4",
    ],
)
def test_derivatives_are_right_to_second_order(text):
    network = make(text, (1, 5, 4), 2, dtype=torch.float64).eval()
    state = {name: value.detach() for name, value in network.named_parameters()}
    weight = next(iter(state))

    def loss(batch, value):
        logits = functional_call(network, {**state, weight: value}, (batch,))
        return F.cross_entropy(logits, torch.tensor([0, 1]))

    arguments = (
        images(2, (1, 5, 4), torch.float64).requires_grad_(),
        state[weight].clone().requires_grad_(),
    )
    assert torch.autograd.gradcheck(loss, arguments)
    assert torch.autograd.gradgradcheck(loss, arguments)


@pytest.mark.parametrize("text", ["convnet:width=16", "resnet18", "vgg11"])
def test_channels_last_images_stay_channels_last(text):
    network = make(text, (3, 16, 16))
    batch = images(4, (3, 16, 16))
    plain, last = network(batch, "blocks"), network(batch.to(memory_format=torch.channels_last), "blocks")
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert other.ndim == 2 or other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 4, 8])
def test_group_norm_is_torchs_and_maps_over_channels_last(groups, layout):
    norm = GroupNorm(groups, 8).double()
    weight, bias = (torch.randn(3, 8, generator=seeds.generator(i), dtype=torch.float64) for i in range(2))
    batch = images(2, (8, 5, 4), torch.float64).to(memory_format=layout)
    mapped = vmap(lambda w, b: functional_call(norm, {"weight": w, "bias": b}, (batch,)))(weight, bias)
    for index in range(3):
        expected = F.group_norm(batch, groups, weight[index], bias[index])
        torch.testing.assert_close(mapped[index], expected)


@pytest.mark.parametrize(("channels", "width", "side"), [(64, 64, 16), (3, 64, 32)])
def test_large_3x3_convolutions_run_on_the_operator_and_agree_with_torch(channels, width, side):
    layer = Convolution(channels, width, 3, padding=1)
    images = torch.randn(8, channels, side, side, generator=torch.Generator().manual_seed(0))
    plain = torch.conv2d(images, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(images), plain, rtol=1e-4, atol=1e-4)
    if ops.status().loaded:
        assert "conv3x3" in type(layer(images).grad_fn).__name__
    small = layer(images[:1, :, :4, :4])
    assert "conv3x3" not in type(small.grad_fn).__name__


def test_autocast_and_torch_func_keep_torch_s_convolution():
    layer = Convolution(64, 64, 3, padding=1)
    images = torch.randn(8, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(images).dtype == torch.bfloat16
    stacked = torch.func.vmap(lambda batch: torch.func.functional_call(layer, {}, (batch,)))
    torch.testing.assert_close(stacked(images[None])[0], layer(images), rtol=1e-4, atol=1e-4)
