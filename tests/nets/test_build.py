"""Building: draws from the generator alone, ensembles equal to their members, buffers, cost."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from pydistill import nets, seeds
from pydistill.nets.build import _draw

SHAPE = (3, 16, 16)
SMALL = ("convnet:width=8", "mlp:width=8", "lenet", "alexnet", "vgg11", "resnet18")


def images(count, dtype=torch.float32):
    return torch.randn(count, *SHAPE, generator=seeds.generator(1), dtype=dtype)


@pytest.mark.parametrize("text", [*SMALL, "convnet:width=8,norm=batch", "convnet:width=8,norm=layer"])
def test_weights_come_from_the_generator_alone(text):
    before = torch.get_rng_state()
    one = nets.build(text, SHAPE, 10, seeds.generator(5)).state_dict()
    torch.manual_seed(123)
    same = nets.build(text, SHAPE, 10, seeds.generator(5)).state_dict()
    other = nets.build(text, SHAPE, 10, seeds.generator(6)).state_dict()
    torch.set_rng_state(before)
    nets.build_many(text, SHAPE, 10, [seeds.generator(5)])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name in one if one[name].unique().numel() > 1]
    assert drawn
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def test_weights_follow_torchs_default_distributions():
    network = nets.build("convnet:depth=1,width=128", (16, 8, 8), 10, seeds.generator(0))
    convolution, classifier = network.body[0].convolution, network.classifier
    for weight, fan_in in ((convolution.weight, 16 * 9), (classifier.weight, 128 * 16)):
        bound = 1 / math.sqrt(fan_in)
        assert 0.999 * bound < weight.max() <= bound
        assert -bound <= weight.min() < -0.999 * bound
        # a uniform variance of bound²/3 has a relative standard error of sqrt(0.8 / n)
        error = math.sqrt(0.8 / weight.numel())
        assert abs(weight.var().item() / (bound**2 / 3) - 1) < 5 * error
    assert 0 < convolution.bias.abs().max() <= 1 / 12
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    norm = network.body[0].normalisation
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in network.parameters())


def test_buffers_of_batch_norm_start_as_torchs_do():
    buffers = dict(nets.build("convnet:width=4,norm=batch", SHAPE, 10, seeds.generator(0)).named_buffers())
    fresh = nn.BatchNorm2d(4)
    for name, value in buffers.items():
        expected = getattr(fresh, name.rsplit(".", 1)[1])
        assert torch.equal(value, expected)
        assert value.dtype == expected.dtype


def test_dtype_changes_a_network_by_rounding_only():
    single = nets.build("convnet:width=8", SHAPE, 10, seeds.generator(3)).state_dict()
    double = nets.build("convnet:width=8", SHAPE, 10, seeds.generator(3), dtype=torch.float64).state_dict()
    half = nets.build("convnet:width=8", SHAPE, 10, seeds.generator(3), dtype=torch.bfloat16).state_dict()
    for name, value in single.items():
        assert double[name].dtype == torch.float64
        assert torch.equal(double[name].float(), value)
        assert torch.equal(half[name], value.bfloat16())


@pytest.mark.parametrize(
    "text", [*SMALL, *(f"convnet:width=8,norm={norm}" for norm in ("none", "batch", "layer", "group"))]
)
def test_an_ensemble_equals_its_members(text):
    stacked = nets.build_many(
        text, SHAPE, 5, [seeds.generator(7, index) for index in range(3)], dtype=torch.float64
    )
    stacked.network.eval()
    batch = images(4, torch.float64)
    logits, blocks = stacked(batch), stacked(batch, "blocks")
    each = stacked(torch.stack([batch, batch + 1, batch * 2]), each=True)
    assert len(stacked) == 3
    for index in range(3):
        alone = nets.build(text, SHAPE, 5, seeds.generator(7, index), dtype=torch.float64).eval()
        member = stacked.member(index)
        assert not member.training
        for name, value in alone.state_dict().items():
            assert torch.equal(member.state_dict()[name], value)
            assert torch.equal((stacked.parameters | stacked.buffers)[name][index], value)
        torch.testing.assert_close(logits[index], alone(batch), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            each[index], alone((batch, batch + 1, batch * 2)[index]), rtol=1e-10, atol=1e-10
        )
        for stacked_block, block in zip(blocks, alone(batch, "blocks"), strict=True):
            torch.testing.assert_close(stacked_block[index], block, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "text", ["convnet:width=8", "convnet:width=8,norm=batch", "convnet:width=8,norm=group", "lenet"]
)
def test_gradients_of_an_ensemble_equal_those_of_its_members(text):
    stacked = nets.build_many(
        text, SHAPE, 5, [seeds.generator(index) for index in range(2)], dtype=torch.float64
    )
    stacked.network.eval()
    batch = images(3, torch.float64)

    def loss(parameters, buffers):
        return functional_call(stacked.network, (parameters, buffers), (batch,)).square().sum()

    together = vmap(grad(loss))(stacked.parameters, stacked.buffers)
    for index in range(2):
        member = stacked.member(index)
        member(batch).square().sum().backward()
        for name, parameter in member.named_parameters():
            torch.testing.assert_close(together[name][index], parameter.grad, rtol=1e-9, atol=1e-9)


def test_stack_gathers_trained_networks_and_copies():
    members = [nets.build("convnet:width=4", SHAPE, 5, seeds.generator(index)).eval() for index in range(2)]
    stacked = nets.stack(members)
    assert not stacked.network.training
    batch = images(2)
    expected = torch.stack([member(batch) for member in members])
    torch.testing.assert_close(stacked(batch), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        for parameter in members[0].parameters():
            parameter.zero_()
    torch.testing.assert_close(stacked(batch), expected, rtol=1e-5, atol=1e-5)
    assert stacked.parameters["body.1.convolution.weight"][0].is_contiguous(
        memory_format=torch.channels_last
    )


def test_batch_norm_statistics_move_in_what_was_passed_and_nowhere_else():
    text, batch = "convnet:width=4,depth=1,norm=batch", images(6)
    stacked = nets.build_many(text, SHAPE, 5, [seeds.generator(0), seeds.generator(1)])
    members = [stacked.member(index) for index in range(2)]
    stacked(batch)
    for index, member in enumerate(members):
        own = {name: value.clone() for name, value in member.named_buffers()}
        passed = {name: value.clone() for name, value in own.items()}
        functional_call(member, (dict(member.named_parameters()), passed), (batch,))
        assert all(torch.equal(value, own[name]) for name, value in member.named_buffers())
        member(batch)
        for name, value in member.named_buffers():
            assert not torch.equal(value, own[name])
            torch.testing.assert_close(passed[name], value)
            torch.testing.assert_close(stacked.buffers[name][index], value)


def test_batch_norm_in_training_under_grad_with_buffers_as_arguments():
    network = nets.build("convnet:width=4,depth=1,norm=batch", SHAPE, 5, seeds.generator(0))
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    batch = images(6)

    def loss(parameters, buffers):
        total = functional_call(network, (parameters, buffers), (batch,)).square().sum()
        return total, buffers

    parameters = {name: value.detach() for name, value in network.named_parameters()}
    gradients, moved = grad(loss, has_aux=True)(parameters, buffers)
    network(batch).square().sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)
    for name, value in network.named_buffers():
        torch.testing.assert_close(moved[name], value)


def test_networks_that_do_not_match_are_not_stacked():
    one = nets.build("mlp:width=4", SHAPE, 5, seeds.generator(0))
    other = nets.build("mlp:width=5", SHAPE, 5, seeds.generator(0))
    with pytest.raises(ValueError, match=r"expected networks alike, found mlp:width=4 .* and mlp:width=5"):
        nets.stack([one, other])
    with pytest.raises(ValueError, match="at least one network"):
        nets.stack([])
    with pytest.raises(ValueError, match="at least one generator"):
        nets.build_many("mlp", SHAPE, 5, [])


def test_a_layer_without_an_initialiser_is_refused():
    network = nets.build("mlp:width=4", SHAPE, 5, seeds.generator(0))
    network.extra = nn.Bilinear(2, 2, 2)
    with pytest.raises(TypeError, match=r"no initialiser for Bilinear \(extra\)"):
        _draw(network, seeds.generator(0), "cpu", torch.float32)


def test_flops_count_multiply_adds_of_one_image():
    mlp = nets.build("mlp:width=8", (1, 4, 4), 5, seeds.generator(0))
    assert nets.flops(mlp, (1, 4, 4)) == 16 * 8 + 8 * 8 + 8 * 5
    convnet = nets.build("convnet", (3, 32, 32), 10, seeds.generator(0))
    by_hand = 128 * 9 * (3 * 32**2 + 128 * 16**2 + 128 * 8**2) + 2048 * 10
    assert nets.flops(convnet, (3, 32, 32)) == by_hand


def test_flops_leave_running_statistics_alone():
    network = nets.build("convnet:width=4,norm=batch", SHAPE, 5, seeds.generator(0))
    before = {name: value.clone() for name, value in network.named_buffers()}
    assert nets.flops(network, SHAPE) > 0
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
