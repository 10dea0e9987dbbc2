"""A trained network as a file: its weights as safetensors, its description as metadata. Never pickle."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pydistill.errors import FileFormatError
from pydistill.files import write_atomically
from pydistill.nets.base import Network
from pydistill.nets.build import build

FORMAT = "pydistill.network"
VERSION = 1


def save_network(network: Network, path: Path | str) -> None:
    """Write parameters and buffers, and what :func:`~pydistill.nets.build` needs to make the module again.

    Raises:
        OutputError: It could not be written; what stood there before is untouched.
    """
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": str(network.spec),
        "shape": list(network.shape),
        "outputs": network.outputs,
    }
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    metadata = {"pydistill": json.dumps(facts)}
    write_atomically(Path(path), lambda temporary: save_file(tensors, temporary, metadata=metadata))


def load_network(path: Path | str, device: torch.device | str = "cpu") -> Network:
    """The network that :func:`save_network` wrote, in training mode.

    Raises:
        FileFormatError: The file is missing, damaged, or holds no network of a known format.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            facts = json.loads((handle.metadata() or {}).get("pydistill", "{}"))
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(f"{path} cannot be read as a network: {error}") from error
    if (facts.get("format"), facts.get("version")) != (FORMAT, VERSION):
        raise FileFormatError(
            f"{path} holds no network: expected format {FORMAT} {VERSION}, "
            f"found {facts.get('format')} {facts.get('version')}"
        )
    try:
        shape = (facts["shape"][0], facts["shape"][1], facts["shape"][2])
        network = build(facts["architecture"], shape, facts["outputs"], torch.Generator(), device=device)
        network.load_state_dict(tensors)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise FileFormatError(f"{path} does not hold the network it describes: {error}") from error
    return network
