"""Layers by name: what a text means, and what it refuses."""

import pytest
import torch

from pydistill import nets
from pydistill.nets.features import Layer, parse_layers

NAMES = ("block1", "block2", "block3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedding", [("block3", 2, False, 1.0)]),
        ("block2", [("block2", 1, False, 1.0)]),
        ("block1:0.5, block3.pooled", [("block1", 0, False, 0.5), ("block3.pooled", 2, True, 1.0)]),
        ("blocks:2", [("block1", 0, False, 2.0), ("block2", 1, False, 2.0), ("block3", 2, False, 2.0)]),
        ("embedding.pooled:3,embedding", [("block3.pooled", 2, True, 3.0), ("block3", 2, False, 1.0)]),
    ],
)
def test_texts_name_layers(text, expected):
    assert parse_layers(text, NAMES) == tuple(Layer(*each) for each in expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("block4", r"unknown layer 'block4'.*has: block1, block2, block3, and embedding"),
        ("", "unknown layer ''"),
        ("block1:0", "a layer's weight must be a number above 0, got 'block1:0'"),
        ("block1:x", "a layer's weight must be a number above 0"),
        ("block1:inf", "a layer's weight must be a number above 0"),
        ("block3,embedding", "each layer may be named once, got block3 twice"),
    ],
)
def test_what_no_layer_is_called_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_layers(text, NAMES)


def test_features_are_the_networks_blocks():
    network = nets.build("convnet:width=4,depth=2", (1, 8, 8), 3, torch.Generator().manual_seed(0))
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    blocks = network(images, "blocks")
    plain, pooled = parse_layers("block1,block2.pooled", network.names)
    assert torch.equal(plain.of(blocks), blocks[0])
    torch.testing.assert_close(pooled.of(blocks), blocks[1].mean((2, 3)))
    assert torch.equal(
        parse_layers("embedding", network.names)[0].of(blocks).flatten(1), network(images, "embedding")
    )
