"""The U-Net: what its blocks are, any size of image, layouts, second derivatives, stacks of networks."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from pydistill import nets, seeds
from pydistill.tasks.segmentation import Segmentation

SHAPE = (3, 16, 12)


def make(text="unet:width=4,depth=2", shape=SHAPE, outputs=5, seed=0, **options):
    return nets.build(text, shape, outputs, seeds.generator(seed), **options)


def images(count, shape=SHAPE, dtype=torch.float32, seed=1):
    return torch.randn(count, *shape, generator=seeds.generator(seed), dtype=dtype)


def normalised(maps, weight, bias, groups=4):
    """Group normalisation, channels of a group at a time."""
    found = torch.zeros_like(maps)
    each = maps.shape[1] // groups
    for group in range(groups):
        part = maps[:, group * each : (group + 1) * each]
        mean = part.mean((1, 2, 3), keepdim=True)
        spread = (part.var((1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        found[:, group * each : (group + 1) * each] = (part - mean) / spread
    return found * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)


def pooled(maps):
    """2×2 means; the last window of an odd side is the mean of what there is."""
    height, width = maps.shape[2:]
    rows = [maps[:, :, top : top + 2].mean(2) for top in range(0, height, 2)]
    tall = torch.stack(rows, 2)
    return torch.stack([tall[:, :, :, left : left + 2].mean(3) for left in range(0, width, 2)], 3)


def enlarged(maps, height, width):
    """Twice as large between the centres of pixels, pixel by pixel, cut to a size."""
    found = torch.zeros(*maps.shape[:2], height, width, dtype=maps.dtype)
    for row in range(height):
        for column in range(width):
            y, x = (row + 0.5) / 2 - 0.5, (column + 0.5) / 2 - 0.5
            y, x = min(max(y, 0), maps.shape[2] - 1), min(max(x, 0), maps.shape[3] - 1)
            top, left = int(y), int(x)
            low, right = min(top + 1, maps.shape[2] - 1), min(left + 1, maps.shape[3] - 1)
            down, across = y - top, x - left
            upper = maps[:, :, top, left] * (1 - across) + maps[:, :, top, right] * across
            lower = maps[:, :, low, left] * (1 - across) + maps[:, :, low, right] * across
            found[:, :, row, column] = upper * (1 - down) + lower * down
    return found


def level(maps, state, name, activation):
    for part in ("first", "second"):
        maps = F.conv2d(maps, state[f"{name}.{part}.weight"], padding=1)
        norm = f"{name}.{part}_norm"
        maps = activation(normalised(maps, state[f"{norm}.weight"], state[f"{norm}.bias"]))
    return maps


@pytest.mark.parametrize("shape", [(3, 16, 12), (2, 11, 7)], ids=str)
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_a_unet_is_levels_joined_at_every_size(shape, activation):
    network = make(f"unet:width=4,depth=2,activation={activation}", shape, dtype=torch.float64)
    state = network.state_dict()
    for name in state:
        if "norm" in name:
            state[name].uniform_(-1, 1, generator=seeds.generator(2, name))
    shapes = {"relu": lambda x: x.clamp_min(0), "silu": lambda x: x / (1 + (-x).exp())}
    act, batch = shapes[activation], images(2, shape, torch.float64)
    first = level(batch, state, "encoder.0", act)
    second = level(pooled(first), state, "encoder.1", act)
    deepest = level(pooled(second), state, "encoder.2", act)
    up = enlarged(F.conv2d(deepest, state["narrow.0.weight"], state["narrow.0.bias"]), *second.shape[2:])
    lower = level(torch.cat([second, up], 1), state, "decoder.0", act)
    up = enlarged(F.conv2d(lower, state["narrow.1.weight"], state["narrow.1.bias"]), *first.shape[2:])
    upper = level(torch.cat([first, up], 1), state, "decoder.1", act)
    outputs = F.conv2d(upper, state["classifier.weight"], state["classifier.bias"])
    for found, expected in zip(
        network(batch, "blocks"), (first, second, deepest, lower, upper), strict=True
    ):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(network(batch), outputs)
    torch.testing.assert_close(network(batch, "embedding"), deepest.mean((2, 3)))


def test_blocks_are_named_from_the_images_down_to_the_bottleneck_and_up_again():
    network = make("unet:width=8,depth=3", (3, 96, 128))
    assert network.names == nets.block_names("unet:width=8,depth=3", (3, 96, 128), 5)
    shapes = {
        name: tuple(block.shape[1:])
        for name, block in zip(network.names, network(images(1, (3, 96, 128)), "blocks"), strict=True)
    }
    assert shapes == {
        "encoder1": (8, 96, 128),
        "encoder2": (16, 48, 64),
        "encoder3": (32, 24, 32),
        "bottleneck": (64, 12, 16),
        "decoder3": (32, 24, 32),
        "decoder2": (16, 48, 64),
        "decoder1": (8, 96, 128),
    }
    assert network(images(1, (3, 96, 128)), "embedding").shape == (1, 64)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 17), (4, 9, 12), (3, 45, 60), (3, 23, 96)], ids=str)
@pytest.mark.parametrize("text", ["unet:width=4", "unet:width=4,depth=3", "unet:width=4,activation=silu"])
def test_outputs_have_the_size_of_any_image(text, shape):
    network, batch = make(text, shape, 7), images(2, shape)
    with torch.no_grad():
        outputs, blocks = network(batch), network(batch, "blocks")
    assert outputs.shape == (2, 7, *shape[1:])
    assert outputs.isfinite().all()
    assert torch.equal(outputs, network.head(blocks))
    assert not torch.equal(outputs[0], outputs[1])
    assert len(blocks) == len(network.names) == len(set(network.names))
    Segmentation(tuple("abcdefg")).check_outputs(outputs, batch)


def test_the_depth_suits_the_images():
    found = {
        side: (len(nets.block_names("unet:width=4", (1, side, side + 5), 2)) - 1) // 2
        for side in (2, 8, 16, 32, 64, 96, 128, 512)
    }
    assert found == {2: 1, 8: 1, 16: 1, 32: 2, 64: 3, 96: 4, 128: 4, 512: 4}
    assert len(nets.block_names("unet:width=4,depth=2", (1, 96, 128), 2)) == 5


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("unet:depth=4", (3, 15, 20), "unet:depth=4 needs images of at least 16x16 pixels, found 15x20"),
        ("unet", (3, 1, 20), "at least 2x2 pixels"),
        ("unet:width=6", (3, 16, 16), "unet:width=6: group normalisation needs a width divisible by 4"),
    ],
)
def test_what_it_cannot_take_is_refused(text, shape, message):
    with pytest.raises(ValueError, match=message):
        make(text, shape)


def test_the_least_size_is_enough():
    for text, side in (("unet", 2), ("unet:depth=3", 8)):
        assert nets.parse(text).smallest == side
        assert make(text, (2, side, side))(images(2, (2, side, side))).isfinite().all()


def test_it_is_registered_for_segmentation_and_read_from_text():
    spec = nets.parse("unet:width=8,activation=silu")
    assert nets.parse(str(spec)) == spec
    assert spec.tasks == ("segmentation",)
    assert Segmentation.network == type(spec).name
    with pytest.raises(ValueError, match=r"unet: activation must be one of relu, silu, found 'sigmoid'"):
        nets.parse("unet:activation=sigmoid")


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 5, 3)], ids=str)
@pytest.mark.parametrize("text", ["unet:width=4,depth=1", "unet:width=4,depth=1,activation=silu"])
def test_derivatives_are_right_to_second_order(text, shape):
    network = make(text, shape, 2, dtype=torch.float64)
    state = {name: value.detach() for name, value in network.named_parameters()}
    task = Segmentation(("a", "b"))
    targets = torch.randint(0, 2, (1, *shape[1:]), generator=seeds.generator(3)).to(torch.uint8)
    targets[0, 0] = 255

    def loss(batch, narrow):
        outputs = functional_call(network, {**state, "narrow.0.weight": narrow}, (batch,))
        return task.loss(outputs, targets)

    arguments = (
        images(1, shape, torch.float64).requires_grad_(),
        state["narrow.0.weight"].clone().requires_grad_(),
    )
    assert torch.autograd.gradcheck(loss, arguments)
    assert torch.autograd.gradgradcheck(loss, arguments)


@pytest.mark.parametrize("shape", [(3, 16, 12), (3, 17, 11)], ids=str)
def test_channels_last_images_stay_channels_last(shape):
    network = make("unet:width=16,depth=2", shape)
    batch = images(4, shape)
    plain, last = network(batch, "blocks"), network(batch.to(memory_format=torch.channels_last), "blocks")
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_stacked_networks_give_what_each_gives_and_so_do_their_gradients(layout):
    stacked = nets.build_many("unet:width=4,depth=2", (3, 9, 12), 5, [seeds.generator(i) for i in range(2)])
    batch = images(2, (3, 9, 12)).to(memory_format=layout)
    targets = torch.randint(0, 5, (2, 9, 12), generator=seeds.generator(4)).to(torch.uint8)
    task = Segmentation(tuple("abcde"))
    each = stacked(batch)
    losses = torch.func.vmap(task.loss, in_dims=(0, None))(each, targets)
    for index in range(2):
        member = stacked.member(index)
        torch.testing.assert_close(each[index], member(batch), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(losses[index], task.loss(member(batch), targets), rtol=1e-4, atol=1e-5)

    def trained(parameters):
        return task.loss(functional_call(stacked.network, parameters, (batch,)), targets)

    slopes = torch.func.vmap(torch.func.grad(trained))(stacked.parameters)
    member = stacked.member(1)
    task.loss(member(batch), targets).backward()
    for name, value in member.named_parameters():
        torch.testing.assert_close(slopes[name][1], value.grad, rtol=1e-3, atol=1e-5)


def test_a_few_steps_teach_it_to_mark_the_bright_half():
    generator = seeds.generator(5)
    where = torch.randint(2, 10, (8,), generator=generator)
    targets = (torch.arange(12)[None, None, :] >= where[:, None, None]).expand(8, 16, 12).to(torch.uint8)
    batch = images(8) * 0.5 + targets[:, None] * 2.0
    task, network = Segmentation(("dark", "bright")), make(outputs=2)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(40):
        optimiser.zero_grad()
        task.loss(network(batch), targets).backward()
        optimiser.step()
    metric = task.make_metric()
    metric.update(network(batch), targets)
    assert metric.value > 0.95
