"""Networks on disk: what comes back, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from pydistill import nets
from pydistill.errors import FileFormatError
from pydistill.nets import store
from pydistill.seeds import generator
from pydistill.storage.records import write_tensors


@pytest.mark.parametrize("architecture", ["convnet:width=4,depth=2", "convnet:width=4,depth=1,norm=batch"])
def test_a_network_comes_back_as_it_was(architecture, tmp_path):
    network = nets.build(architecture, (1, 8, 8), 3, generator(0))
    images = torch.randn(4, 1, 8, 8, generator=generator(1))
    network(images)  # moves running statistics
    nets.save_network(network, tmp_path / "a.safetensors")
    again = nets.load_network(tmp_path / "a.safetensors")
    assert (again.spec, again.shape, again.outputs) == (network.spec, network.shape, network.outputs)
    assert again.state_dict().keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert torch.equal(again.eval()(images), network.eval()(images))


def test_what_is_no_network_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileFormatError, match="cannot be read as a network"):
        nets.load_network(path)
    path.write_bytes(b"not tensors")
    with pytest.raises(FileFormatError, match="cannot be read as a network"):
        nets.load_network(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(
        FileFormatError, match=r"no record of a network: expected format pydistill\.network, found None"
    ):
        nets.load_network(path)


def test_weights_of_another_network_are_refused(tmp_path):
    network = nets.build("convnet:width=4,depth=2", (1, 8, 8), 3, generator(0))
    facts = {"architecture": "convnet:width=8,depth=2", "shape": [1, 8, 8], "outputs": 3}
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    write_tensors(tmp_path / "a.safetensors", store.RECORD, facts, weights)
    with pytest.raises(FileFormatError, match="does not hold the network it describes"):
        nets.load_network(tmp_path / "a.safetensors")
    nets.save_network(network, tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(content.replace(b"width=4", b"width=8"))
    with pytest.raises(FileFormatError, match="does not match its digest"):
        nets.load_network(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "architecture",
    ["convnet:width=100000,depth=2", "mlp:width=1000000000", "convnet:width=4,depth=3", "x", ""],
)
def test_a_network_too_large_for_its_weights_is_refused_before_it_is_made(architecture, tmp_path):
    network = nets.build("convnet:width=4,depth=2", (1, 8, 8), 3, generator(0))
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    for facts in (
        {"architecture": architecture, "shape": [1, 8, 8], "outputs": 3},
        {"architecture": "convnet:width=4,depth=2", "shape": [10**9, 8, 8], "outputs": 3},
        {"architecture": "convnet:width=4,depth=2", "shape": [1, 8, 8], "outputs": 10**12},
        {"architecture": "convnet:width=4,depth=2", "shape": "abc", "outputs": 3},
        {"architecture": 3, "shape": [1, 8, 8], "outputs": None},
    ):
        write_tensors(tmp_path / "a.safetensors", store.RECORD, facts, weights)
        with pytest.raises(FileFormatError, match="does not hold the network it describes"):
            nets.load_network(tmp_path / "a.safetensors")
