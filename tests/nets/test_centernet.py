"""CenterNet: its maps for images of any size, second derivatives, stacking, and that it learns."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from pydistill import nets, seeds
from pydistill.tasks import Detection

TASK = Detection(("a", "b"))


def make(text="centernet:width=8", shape=(3, 24, 32), outputs=6, seed=0, **options):
    return nets.build(text, shape, outputs, seeds.generator(seed), **options)


def images(count, shape, dtype=torch.float32, seed=1):
    return torch.randn(count, *shape, generator=seeds.generator(seed), dtype=dtype)


def test_it_is_for_detection_and_says_so():
    assert nets.architectures()["centernet"].tasks == ("detection",) == (TASK.name,)
    assert TASK.network == "centernet"
    assert str(nets.parse("centernet:width=16,activation=silu")) == "centernet:width=16,activation=silu"


@pytest.mark.parametrize(
    "shape", [(3, 120, 160), (1, 8, 8), (3, 9, 8), (2, 37, 50), (3, 15, 33), (3, 16, 16)], ids=str
)
@pytest.mark.parametrize("text", ["centernet:width=8", "centernet:width=8,depth=1,activation=silu"])
def test_images_of_any_size_have_a_cell_for_every_four_pixels(text, shape):
    network, batch = make(text, shape), images(2, shape)
    with torch.no_grad():
        outputs, blocks, embedding = (network(batch, mode) for mode in ("logits", "blocks", "embedding"))
    TASK.check_outputs(outputs, batch)
    assert outputs.shape[2:] == (-(-shape[1] // 4), -(-shape[2] // 4))
    assert outputs.isfinite().all()
    assert torch.equal(network.head(blocks), outputs)
    assert torch.equal(network.embed(blocks), embedding)
    assert embedding.shape == (2, 32)
    assert not torch.equal(embedding[0], embedding[1])
    assert len(blocks) == len(network.names)
    for name, block in zip(network.names, blocks, strict=True):
        stride = int(name.removeprefix("down").removeprefix("up"))
        assert block.shape[2:] == (-(-shape[1] // stride), -(-shape[2] // stride)), name
    assert blocks[-1].shape[1] == 8


def test_centres_begin_about_as_rare_as_the_prior():
    outputs = make("centernet", (3, 48, 64))(images(4, (3, 48, 64))).detach()
    logits = outputs[:, :2]
    assert abs(float(logits.mean()) - math.log(0.1 / 0.9)) < 0.5
    assert float(outputs[:, 2:].abs().mean()) < 1


def test_blocks_are_convolutions_group_norms_and_activations_then_upsampling_with_skips():
    network = make(shape=(3, 13, 22), dtype=torch.float64)
    state = network.state_dict()
    for name in state:
        if "norms" in name:
            state[name].uniform_(-1, 1, generator=seeds.generator(2, name))

    def stage(maps, prefix, stride=1):
        for at in range(2):
            if f"{prefix}.convolutions.{at}.weight" not in state:
                continue
            convolution, norm = (f"{prefix}.{kind}.{at}." for kind in ("convolutions", "norms"))
            weight, bias = state[convolution + "weight"], state[convolution + "bias"]
            scale, shift = state[norm + "weight"], state[norm + "bias"]
            maps = F.conv2d(maps, weight, bias, stride if at == 0 else 1, padding=1)
            maps = F.group_norm(maps, 4, scale, shift).clamp_min(0)
        return maps

    def halved(maps):
        rows, columns = -(-maps.shape[2] // 2), -(-maps.shape[3] // 2)
        cells = [
            [maps[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3)) for j in range(columns)]
            for i in range(rows)
        ]
        return torch.stack([torch.stack(row, -1) for row in cells], -2)

    def doubled(maps, like):
        return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, : like.shape[2], : like.shape[3]]

    batch = images(2, (3, 13, 22), torch.float64)
    two = stage(batch, "encoder.0", 2)
    four = stage(halved(two), "encoder.1")
    eight = stage(halved(four), "encoder.2")
    sixteen = stage(halved(eight), "encoder.3")
    up = stage(torch.cat([doubled(sixteen, eight), eight], 1), "decoder.0")
    last = stage(torch.cat([doubled(up, four), four], 1), "decoder.1")
    outputs = F.conv2d(last, state["classifier.weight"], state["classifier.bias"])
    outputs[:, :2] += math.log(0.1 / 0.9)
    for found, expected in zip(
        network(batch, "blocks"), (two, four, eight, sixteen, up, last), strict=True
    ):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(network(batch), outputs)
    torch.testing.assert_close(network(batch, "embedding"), sixteen.mean((2, 3)))


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_derivatives_are_right_to_second_order(activation):
    network = make(f"centernet:width=8,depth=1,activation={activation}", (1, 9, 10), dtype=torch.float64)
    targets = torch.tensor([[[0.0, 1, 1, 6, 5], [-1, 0, 0, 0, 0]], [[1.0, 4, 3, 5, 6], [0, 0, 0, 3, 3]]])
    state = {name: value.detach() for name, value in network.named_parameters()}
    weight = "decoder.1.norms.0.weight"

    def loss(batch, value):
        return TASK.loss(functional_call(network, {**state, weight: value}, (batch,)), targets)

    arguments = (
        images(2, (1, 9, 10), torch.float64).requires_grad_(),
        state[weight].clone().requires_grad_(),
    )
    assert torch.autograd.gradcheck(loss, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, arguments, fast_mode=True)


def test_a_gradient_through_a_gradient_step_reaches_the_images():
    """What matching gradients needs: the loss's gradient in the weights, differentiated in the images."""
    network = make()
    batch = images(2, (3, 24, 32)).requires_grad_()
    targets = torch.tensor([[[0.0, 3, 4, 10, 8]], [[1.0, 12, 6, 9, 9]]])
    gradients = torch.autograd.grad(
        TASK.loss(network(batch), targets), list(network.parameters()), create_graph=True
    )
    (slope,) = torch.autograd.grad(sum(gradient.square().sum() for gradient in gradients), batch)
    assert slope.isfinite().all()
    assert float(slope.abs().sum()) > 0


def test_stacked_networks_are_as_each_of_them_under_the_loss():
    stacked = nets.build_many("centernet:width=8", (3, 22, 30), 6, [seeds.generator(at) for at in range(3)])
    batch = images(2, (3, 22, 30))
    targets = torch.tensor([[[0.0, 3, 4, 10, 8]], [[1.0, 12, 6, 9, 9]]])
    outputs = stacked(batch)
    losses = torch.func.vmap(lambda each: TASK.loss(each, targets))(outputs)
    for at in range(3):
        alone = make(shape=(3, 22, 30), seed=at)(batch)
        torch.testing.assert_close(outputs[at], alone, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(losses[at], TASK.loss(alone, targets), rtol=1e-4, atol=1e-4)


def test_channels_last_images_stay_channels_last():
    network, batch = make(), images(4, (3, 24, 32))
    plain, last = network(batch, "blocks"), network(batch.to(memory_format=torch.channels_last), "blocks")
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert other.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("text", "shape", "outputs", "message"),
    [
        ("centernet:width=12", (3, 16, 16), 6, "width divisible by 8"),
        ("centernet", (3, 16, 16), 4, "expected at least 5 outputs, one a class and 4 of boxes, found 4"),
        ("centernet", (3, 16, 7), 6, "at least 8x8 pixels, found 16x7"),
        ("centernet:activation=tanh", (3, 16, 16), 6, "one of relu, silu"),
    ],
)
def test_what_it_cannot_be_is_refused(text, shape, outputs, message):
    with pytest.raises(ValueError, match=message):
        make(text, shape, outputs)


def squares(count, seed):
    """Images of a bright and a dark square on noise, with their boxes."""
    generator = seeds.generator(seed)
    noise = torch.randn(count, 1, 32, 40, generator=generator) * 0.1
    targets = torch.zeros(count, 2, 5)
    for image in range(count):
        for kind, value in enumerate((1.0, -1.0)):
            side = int(torch.randint(6, 12, (), generator=generator))
            x = int(torch.randint(20 * kind, 20 * kind + 20 - side, (), generator=generator))
            y = int(torch.randint(0, 32 - side, (), generator=generator))
            noise[image, 0, y : y + side, x : x + side] += value
            targets[image, kind] = torch.tensor([kind, x, y, side, side])
    return noise, targets


def test_it_learns_to_find_squares():
    network = make("centernet:width=8", (1, 32, 40))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, 240)
    for step in range(240):
        train, boxes = squares(8, step)
        optimiser.zero_grad()
        TASK.loss(network(train), boxes).backward()
        optimiser.step()
        decay.step()
    test, truth = squares(32, -1)
    metric = TASK.make_metric()
    with torch.no_grad():
        metric.update(network(test), truth)
    assert metric.value > 0.9
    assert metric.compute()["count_error"] < 0.2
