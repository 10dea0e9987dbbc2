"""A trained network as a file: its weights as safetensors, its description as metadata. Never pickle."""

from pathlib import Path

import torch

from pydistill.errors import FileFormatError
from pydistill.nets.base import Network
from pydistill.nets.build import build, require_weights
from pydistill.storage.records import Kind, read_tensors, write_tensors

RECORD = Kind("pydistill.network", 2, "a network", "train and save it again")


def save_network(network: Network, path: Path | str) -> None:
    """Write parameters and buffers, and what :func:`~pydistill.nets.build` needs to make the module again.

    Raises:
        OutputError: It could not be written; what stood there before is untouched.
    """
    facts = {
        "architecture": str(network.spec),
        "shape": list(network.shape),
        "outputs": network.outputs,
    }
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    write_tensors(Path(path), RECORD, facts, tensors)


def load_network(path: Path | str, device: torch.device | str = "cpu") -> Network:
    """The network that :func:`save_network` wrote, in training mode.

    Raises:
        FileFormatError: The file is missing, damaged, or holds no network of a known format.
    """
    facts, tensors = read_tensors(Path(path), RECORD)
    try:
        shape = (facts["shape"][0], facts["shape"][1], facts["shape"][2])
        require_weights(facts["architecture"], shape, facts["outputs"], tensors)
        network = build(facts["architecture"], shape, facts["outputs"], torch.Generator(), device=device)
        network.load_state_dict(tensors)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise FileFormatError(f"{path} does not hold the network it describes: {error}") from error
    return network
