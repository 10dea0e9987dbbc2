"""Networks with weights from an explicit generator: one, or several stacked for ``torch.func.vmap``."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils.flop_counter import FlopCounterMode

from pydistill.nets.base import Mode, Network
from pydistill.nets.layers import Convolution, GroupNorm
from pydistill.nets.spec import Shape, Spec, parse
from pydistill.nets.ties import once, refuse_shared_memory


def build(
    architecture: str | Spec,
    shape: Shape,
    outputs: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Network:
    """A network with freshly drawn weights, in training mode.

    Weights follow torch's default distributions: convolutions and linear layers uniform in
    ±1/sqrt(fan-in), their biases too, normalisations one and zero. They are drawn in float32 on the
    generator's device and then moved, so that device and dtype change a network by rounding only.
    Convolutions are channels_last. The global generator is neither read nor advanced.

    Args:
        architecture: For example ``"convnet:width=64"``; see :func:`~pydistill.nets.spec.parse`.
        shape: (C, H, W) of an image.
        outputs: How many logits.
        generator: Where every draw comes from.
        device: Where the weights go.
        dtype: Floating-point format of weights and running statistics.

    Raises:
        ValueError: The architecture is unknown, the images are too small for it, or two of its weights
            share memory without being one.
    """
    network = _skeleton(architecture, shape, outputs)
    network.load_state_dict(_draw(network, generator, device, dtype), assign=True)
    return network


def require_weights(
    architecture: str | Spec, shape: Shape, outputs: int, weights: Mapping[str, Tensor]
) -> None:
    """Refuse weights that are not of such a network, before memory is taken for one.

    Args:
        architecture: As in :func:`build`.
        shape: (C, H, W) of an image.
        outputs: How many logits.
        weights: Parameters and buffers by name.

    Raises:
        ValueError: A name is missing or unknown, or a shape differs; or as :func:`build`.
    """
    needed = {
        name: tuple(value.shape)
        for name, value in _skeleton(architecture, shape, outputs).state_dict().items()
    }
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(needed.keys() | found.keys()):
        if needed.get(name) != found.get(name):
            raise ValueError(
                f"expected {name!r} of shape {needed.get(name)} for {architecture}, found {found.get(name)}"
            )


@dataclass(frozen=True)
class Stacked:
    """Networks of one architecture, their weights stacked along a first dimension of size K.

    Attributes:
        network: The module to call; its own weights hold no data (meta device). ``train()`` and ``eval()``
            choose the mode of batch normalisation.
        parameters: (K, ...) by name.
        buffers: (K, ...) by name; empty but for batch normalisation.
    """

    network: Network
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    @overload
    def __call__(
        self, images: Tensor, mode: Literal["logits", "embedding"] = "logits", *, each: bool = False
    ) -> Tensor: ...

    @overload
    def __call__(self, images: Tensor, mode: Literal["blocks"], *, each: bool = False) -> list[Tensor]: ...

    def __call__(
        self, images: Tensor, mode: Mode = "logits", *, each: bool = False
    ) -> Tensor | list[Tensor]:
        """Every network's output, (K, N, ...).

        In training mode batch normalisation updates :attr:`buffers` in place.

        Args:
            images: (N, C, H, W) shared by all networks, or with ``each`` (K, N, C, H, W).
            mode: As in :meth:`Network.forward`.
            each: Whether every network has images of its own.
        """

        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Any:
            return functional_call(self.network, (parameters, buffers), (images, mode))

        mapped = vmap(call, in_dims=(0, 0, 0 if each else None))
        return cast("Tensor | list[Tensor]", mapped(self.parameters, self.buffers, images))

    def member(self, index: int) -> Network:
        """Network ``index`` as a module of its own, with copies of its weights."""
        network = _skeleton(self.network.spec, self.network.shape, self.network.outputs)
        state = {
            name: value[index].detach().clone() for name, value in (self.parameters | self.buffers).items()
        }
        network.load_state_dict(state, assign=True)
        return network.train(self.network.training)


def build_many(
    architecture: str | Spec,
    shape: Shape,
    outputs: int,
    generators: Sequence[torch.Generator],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Stacked:
    """One network a generator, stacked; each is bit-equal to what :func:`build` makes from that generator.

    Raises:
        ValueError: No generator is given, or as :func:`build`.
    """
    if not generators:
        raise ValueError("expected at least one generator, one for each network; found none")
    network = _skeleton(architecture, shape, outputs)
    return _stack(network, [_draw(network, generator, device, dtype) for generator in generators])


def stack(networks: Sequence[Network]) -> Stacked:
    """Networks of one architecture and shape as one stack; weights are copied.

    Raises:
        ValueError: No network is given, or two of them differ in architecture, image shape or outputs.
    """
    if not networks:
        raise ValueError("expected at least one network to stack; found none")
    first = networks[0]
    for network in networks[1:]:
        if (network.spec, network.shape, network.outputs) != (first.spec, first.shape, first.outputs):
            raise ValueError(
                f"expected networks alike, found {first.spec} for {first.shape} with {first.outputs} "
                f"outputs and {network.spec} for {network.shape} with {network.outputs}"
            )
    skeleton = _skeleton(first.spec, first.shape, first.outputs).train(first.training)
    return _stack(skeleton, [network.state_dict() for network in networks])


def block_names(architecture: str | Spec, shape: Shape, outputs: int) -> tuple[str, ...]:
    """The names of a network's blocks, without drawing its weights.

    Raises:
        ValueError: As :func:`build`.
    """
    return _skeleton(architecture, shape, outputs).names


def flops(network: Network, shape: Shape) -> int:
    """Multiply-adds of convolutions and matrix products in one forward pass of one image.

    Counted on the meta device: nothing is computed and no running statistic changes.
    """
    counted = copy.deepcopy(network).to("meta")  # functional_call would import torch's compiler: seconds
    dtype = next(counted.parameters()).dtype
    images = torch.empty((2, *shape), dtype=dtype, device="meta")  # batch norm refuses a batch of one
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(images)
    return int(counter.get_total_flops()) // 4  # two images, two operations a multiply-add


def _skeleton(architecture: str | Spec, shape: Shape, outputs: int) -> Network:
    """The module on the meta device: shapes without data, so that nothing is drawn twice."""
    spec = parse(architecture) if isinstance(architecture, str) else architecture
    shape = (shape[0], shape[1], shape[2]) if len(shape) == 3 else shape
    spec.check(shape, outputs)
    with torch.device("meta"):
        return spec.make(shape, outputs)


def _draw(
    network: Network, generator: torch.Generator, device: torch.device | str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """A state for ``network``: parameters drawn module by module, buffers at their start."""
    refuse_shared_memory(network)
    state: dict[str, Tensor] = {}
    for path, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if not own:
            continue
        initialise = _INITIALISERS.get(type(module))
        if initialise is None:
            raise TypeError(
                f"no initialiser for {type(module).__name__} ({path}); add one to nets/build.py"
            )
        for name, tensor in initialise(own, generator).items():
            like = own[name]
            memory = torch.channels_last if like.ndim == 4 else torch.contiguous_format
            kind = dtype if like.is_floating_point() else like.dtype
            state[f"{path}.{name}" if path else name] = tensor.to(device, kind).contiguous(
                memory_format=memory
            )
    once(network, state, "")
    return state


def _uniform(own: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    bound = 1 / math.sqrt(own["weight"][0].numel())
    return {
        name: torch.empty(like.shape, device=generator.device).uniform_(-bound, bound, generator=generator)
        for name, like in own.items()
    }


def _unit(own: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    ones = ("weight", "running_var")
    return {
        name: (torch.ones if name in ones else torch.zeros)(like.shape, device=generator.device)
        for name, like in own.items()
    }


_INITIALISERS: Mapping[
    type[nn.Module], Callable[[Mapping[str, Tensor], torch.Generator], dict[str, Tensor]]
] = {
    nn.Conv2d: _uniform,
    Convolution: _uniform,
    nn.Linear: _uniform,
    nn.BatchNorm2d: _unit,
    GroupNorm: _unit,
    nn.LayerNorm: _unit,
}


def _stack(network: Network, states: Sequence[Mapping[str, Tensor]]) -> Stacked:
    parameters = {name: _pile([state[name] for state in states]) for name, _ in network.named_parameters()}
    buffers = {name: _pile([state[name] for state in states]) for name, _ in network.named_buffers()}
    return Stacked(network, parameters, buffers)


def _pile(tensors: Sequence[Tensor]) -> Tensor:
    """``torch.stack`` that leaves each convolution's weight channels_last."""
    if tensors[0].ndim != 4:
        return torch.stack([tensor.detach() for tensor in tensors])
    return torch.stack([tensor.detach().permute(0, 2, 3, 1) for tensor in tensors]).permute(0, 1, 4, 2, 3)
