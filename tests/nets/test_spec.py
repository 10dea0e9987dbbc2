"""Networks as text: round trips, and messages that name what is known."""

import itertools

import pytest

from pydistill import nets
from pydistill.nets.convnet import ConvNetSpec
from pydistill.nets.spec import Spec


def test_text_and_spec_are_two_forms_of_one_thing():
    assert nets.parse("convnet") == ConvNetSpec()
    assert nets.parse(" convnet: norm=batch , width=64 ") == ConvNetSpec(width=64, norm="batch")
    assert str(ConvNetSpec(norm="batch", width=64)) == "convnet:width=64,norm=batch"
    assert str(ConvNetSpec()) == "convnet"


def test_the_search_space_of_720_networks_round_trips():
    grid = itertools.product(
        (32, 64, 128, 256),
        (1, 2, 3, 4),
        ("none", "batch", "layer", "instance", "group"),
        ("sigmoid", "relu", "leakyrelu"),
        ("none", "max", "avg"),
    )
    specs = [ConvNetSpec(*options) for options in grid]
    assert len(set(map(str, specs))) == 720
    assert [nets.parse(str(spec)) for spec in specs] == specs


def test_every_network_is_found_by_name():
    assert list(nets.architectures()) == [
        "alexnet", "centernet", "convnet", "lenet", "mlp", "resnet18", "unet", "vgg11",
    ]  # fmt: skip
    for name, spec in nets.architectures().items():
        assert nets.parse(name) == spec()
        assert spec.summary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "convnett",
            r"unknown network 'convnett' \(did you mean 'convnet'\?\); known: alexnet, centernet, convnet",
        ),
        ("", "unknown network ''; known: alexnet"),
        ("convnet:widht=3", r"no option 'widht' \(did you mean 'width'\?\); it has: width, depth, norm"),
        ("lenet:width=3", "lenet has no option 'width'; it has: none"),
        ("convnet:width=wide", "width must be an integer, found 'wide'"),
        ("convnet:width=0", "width must be at least 1, found 0"),
        ("convnet:width", "expected width=VALUE once"),
        ("convnet:width=3,width=4", "expected width=VALUE once"),
        ("convnet:norm=batchnorm", r"norm must be one of none, batch, layer.*did you mean 'batch'"),
        ("resnet18:norm=group", "norm must be one of instance, batch; found 'group'|found 'group'"),
    ],
)
def test_wrong_text_is_refused_with_what_is_known(text, message):
    with pytest.raises(ValueError, match=message):
        nets.parse(text)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"width must be an integer, found 2\.5"):
        ConvNetSpec(width=2.5)
    with pytest.raises(TypeError, match="depth must be an integer, found True"):
        ConvNetSpec(depth=True)


def test_a_name_is_registered_once():
    class Other(ConvNetSpec):
        pass

    assert issubclass(Other, Spec)
    with pytest.raises(ValueError, match="'convnet' is registered already"):
        nets.register(Other)
