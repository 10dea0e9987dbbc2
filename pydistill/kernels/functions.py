"""Kernels between images: closed-form ones, and those of features in networks.

A kernel is used in two steps, so that what one image costs is paid once: :meth:`Kernel.rows` turns images
into rows, :meth:`Kernel.between` makes matrices of rows with rows. It is written as a short text:

- ``linear``, ``polynomial:degree=2``, ``rbf:bandwidths=10``, ``laplacian:...``,
  ``inverse_multiquadric:...``: of flattened images;
- ``nngp:depth=3``, ``ntk:depth=3``: of fully connected ReLU networks of infinite width (arXiv:2011.00050);
- ``conv_nngp:depth=2``, ``conv_ntk:depth=2``: of the ConvNet without normalisation, exact, for tiny images;
- ``random_features:networks=8,width=128,seed=0``: of that ConvNet at finite width, averaged over
  random networks (arXiv:2210.12067), which tends to ``conv_nngp``;
- ``teacher:layers=embedding``: of features in the network that a distilled set carries;
- ``trained``: of features in each network that ``evaluate`` trains on a set, known there alone.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pydistill import nets, seeds
from pydistill.data.recipe import TRAINED
from pydistill.errors import did_you_mean
from pydistill.modes import plain_modes
from pydistill.nets.convnet import ConvNetSpec
from pydistill.nets.features import Layer, parse_layers
from pydistill.ops import gram
from pydistill.options import parse_options
from pydistill.tasks.base import chunks

_AT_ONCE = 256
"""Images that go through a network at a time where no gradient is asked for."""


class Kernel(ABC):
    """A positive semi-definite function of two images."""

    @abstractmethod
    def rows(self, images: Tensor) -> Tensor:
        """What is kept of images (N, C, H, W): (N, ...), differentiable in them."""

    @abstractmethod
    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """The matrix (N, M) of rows (N, ...) with rows (M, ...), twice differentiable."""

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """The matrix (N, M) of images with images."""
        return self.between(self.rows(x), self.rows(y))


@dataclass(frozen=True)
class Flat(Kernel):
    """A kernel of flattened images, see :func:`pydistill.ops.gram` for formulas and options.

    Attributes:
        name: ``linear``, ``polynomial``, ``rbf``, ``laplacian``, ``inverse_multiquadric``, ``nngp``,
            ``ntk``.
        bandwidths: Of the kernels of a distance, in units of the distance.
        degree: Of the polynomial.
        scale: Of the polynomial; None: one over the number of pixels.
        offset: Of the polynomial.
        depth: Hidden layers of the network.
        weight_variance: Of its weights, times fan-in.
        bias_variance: Of its biases.
    """

    name: str
    bandwidths: float | tuple[float, ...] = 1.0
    degree: int = 3
    scale: float | None = None
    offset: float = 1.0
    depth: int = 1
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def rows(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return gram(
            x[None],
            y[None],
            self.name,
            bandwidths=self.bandwidths,
            degree=self.degree,
            scale=self.scale,
            offset=self.offset,
            depth=self.depth,
            weight_variance=self.weight_variance,
            bias_variance=self.bias_variance,
        )[0]


class Features(Kernel):
    """The mean over networks of inner products of embeddings, each over its number of features.

    Args:
        networks: In evaluation mode; where there are several, they take the same images.
    """

    def __init__(self, networks: Sequence[Callable[[Tensor], Tensor]]) -> None:
        self.networks = networks

    @plain_modes()
    def rows(self, images: Tensor) -> Tensor:
        """(N, D) features of all networks, scaled such that an inner product is the kernel."""
        if torch.is_grad_enabled() and images.requires_grad:
            return self._rows(images)
        return torch.cat([self._rows(images[part]) for part in chunks(len(images), _AT_ONCE)])

    def _rows(self, images: Tensor) -> Tensor:
        return self.scaled([network(images).flatten(1) for network in self.networks])

    @staticmethod
    def scaled(features: Sequence[Tensor]) -> Tensor:
        """Rows from the networks' features, (N, D) each."""
        return torch.cat(list(features), 1) / math.sqrt(len(features) * features[0].shape[1])

    @plain_modes()
    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y.T


@dataclass(frozen=True)
class RandomFeatures(Kernel):
    """:class:`Features` of random ConvNets without normalisation, weights N(0, 2 / fan-in), no bias.

    As width grows this tends to the convolutional NNGP (arXiv:2210.12067 distils with it).

    Attributes:
        networks: How many.
        width: Channels of every block.
        depth: Blocks; None: as many as a ConvNet for such images has.
        seed: What the weights derive from.
    """

    networks: int = 8
    width: int = 128
    depth: int | None = None
    seed: int = 0

    def rows(self, images: Tensor) -> Tensor:
        channels, height, width = images.shape[1:]
        return _random_features(self, (channels, height, width), images.device, images.dtype).rows(images)

    @plain_modes()
    def between(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y.T


@functools.lru_cache(maxsize=1)  # real and synthetic images go through the same networks, batch after batch
@plain_modes()  # they are kept beyond the call that made them
def _random_features(
    kernel: RandomFeatures, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> Features:
    spec = ConvNetSpec(width=kernel.width, depth=kernel.depth, norm="none")
    drawn = []
    for at in range(kernel.networks):
        generator = seeds.generator(kernel.seed, "random features", at)
        network = nets.build(spec, shape, 1, generator, device=device)
        drawn.append(_gaussian(network, generator).to(dtype))
    return Features([layered(network) for network in drawn])


def _gaussian(network: nets.Network, generator: torch.Generator) -> nets.Network:
    """Weights N(0, 2 / fan-in) and no bias, which the infinite-width limit asks for."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                fan_in = parameter[0].numel()
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn * (2 / fan_in) ** 0.5)
    return network.requires_grad_(False).eval()


def layered(network: nets.Network, layers: str = "embedding") -> Callable[[Tensor], Tensor]:
    """Images to features (N, D) at the layers that :func:`pydistill.nets.features.parse_layers` takes.

    Each layer's are scaled to its weight over its number of features, so that no layer outweighs another.
    """
    chosen = parse_layers(layers, network.names)
    return lambda images: joined(network(images, "blocks"), chosen)


def joined(blocks: Sequence[Tensor], layers: Sequence[Layer]) -> Tensor:
    """The features of :func:`layered` from the outputs of ``network(images, "blocks")``."""
    parts = [(layer.of(blocks).flatten(1), layer.weight) for layer in layers]
    total = sum(part.shape[1] for part, _ in parts) / len(parts)
    return torch.cat([part * (weight * total / part.shape[1]) ** 0.5 for part, weight in parts], 1)


@dataclass(frozen=True)
class Convolutional(Kernel):
    """The exact NNGP or NTK of the ConvNet without normalisation, of infinite width.

    Blocks of a 3 x 3 convolution padded by 1, a ReLU and 2 x 2 average pooling, then a linear readout of
    the flattened map; weights N(0, 2 / fan-in), readout N(0, 1 / fan-in), no biases. A pair of images costs
    (H W)^2 numbers, so this is for tiny images: the reference that :class:`RandomFeatures` is tested
    against. It is computed in float64 whatever the rows are: in float32 the angle between coincident
    patches is known to 3e-4 at best. Where a patch is zero, and where two coincide, derivatives are the
    mean of the one-sided ones, and finite.

    Source: S. Arora et al.: On Exact Computation with an Infinitely Wide Neural Net. NeurIPS 2019,
    arXiv:1904.11955, section 4, with pooling after every convolution.

    Attributes:
        tangent: Whether the NTK is wanted, not the NNGP.
        depth: Blocks.
    """

    tangent: bool
    depth: int = 2

    def rows(self, images: Tensor) -> Tensor:
        return images

    @plain_modes()
    def between(self, x: Tensor, y: Tensor) -> Tensor:
        wide = y.double()
        return torch.stack([self._of_row(image, wide) for image in x.double()]).to(x.dtype)

    def _of_row(self, image: Tensor, others: Tensor) -> Tensor:
        """(M,) kernel values of one image with many, from covariances (M, H, W, H, W) of pixels."""
        channels = image.shape[0]
        own = torch.einsum("chw,cij->hwij", image, image)[None] / channels
        theirs = torch.einsum("mchw,mcij->mhwij", others, others) / channels
        cross = torch.einsum("chw,mcij->mhwij", image, others) / channels
        tangent = cross
        for _ in range(self.depth):
            own, theirs, cross, tangent = (2 * _patches(each) for each in (own, theirs, cross, tangent))
            vx, vy = _variances(own), _variances(theirs)
            after, slope = _relu(cross, vx[:, :, :, None, None], vy[:, None, None])
            tangent = _pooled(after + slope * tangent)
            own = _pooled(_relu(own, vx[:, :, :, None, None], vx[:, None, None])[0])
            theirs = _pooled(_relu(theirs, vy[:, :, :, None, None], vy[:, None, None])[0])
            cross = _pooled(after)
        return _variances(tangent if self.tangent else cross).mean((1, 2))


def _patches(covariance: Tensor) -> Tensor:
    """Of 3 x 3 patches, padded with zeros: the mean over offsets that both pixels share."""
    height, width = covariance.shape[1:3]
    padded = F.pad(covariance, (1, 1, 1, 1, 1, 1, 1, 1))
    total = torch.zeros_like(covariance)
    for i in range(3):
        for j in range(3):
            total = total + padded[:, i : i + height, j : j + width, i : i + height, j : j + width]
    return total / 9


def _variances(covariance: Tensor) -> Tensor:
    """(M, H, W): of each pixel with itself."""
    return torch.einsum("mhwhw->mhw", covariance)


def _relu(covariance: Tensor, vx: Tensor, vy: Tensor) -> tuple[Tensor, Tensor]:
    """E[relu(u) relu(v)] and E[relu'(u) relu'(v)] of Gaussians (Cho and Saul, 2009)."""
    product = vx * vy
    inside = product > 0
    norm = torch.where(inside, product, 1).sqrt()  # masked before the root: its slope at 0 is infinite
    cosine = torch.where(inside, covariance / norm, 0).clamp(-1, 1)
    edge = 1 - torch.finfo(cosine.dtype).eps
    angle = torch.acos(cosine.clamp(-edge, edge))
    after = norm * (torch.sin(angle) + (torch.pi - angle) * cosine) / (2 * torch.pi)
    return torch.where(inside, after, covariance / 4), (torch.pi - angle) / (2 * torch.pi)


def _pooled(covariance: Tensor) -> Tensor:
    """Of 2 x 2 means; an odd last row or column is dropped."""
    count, height, width = covariance.shape[:3]
    h, w = height // 2, width // 2
    kept = covariance[:, : 2 * h, : 2 * w, : 2 * h, : 2 * w]
    return kept.reshape(count, h, 2, w, 2, h, 2, w, 2).mean((2, 4, 6, 8))


# ---- kernels as text ------------------------------------------------------------------------------------

_KINDS: Mapping[str, tuple[Callable[..., Kernel], tuple[str, ...]]] = {
    "linear": (lambda **o: Flat("linear", **o), ()),
    "polynomial": (lambda **o: Flat("polynomial", **o), ("degree", "scale", "offset")),
    "rbf": (lambda **o: Flat("rbf", **o), ("bandwidths",)),
    "laplacian": (lambda **o: Flat("laplacian", **o), ("bandwidths",)),
    "inverse_multiquadric": (lambda **o: Flat("inverse_multiquadric", **o), ("bandwidths",)),
    "nngp": (lambda **o: Flat("nngp", **o), ("depth", "weight_variance", "bias_variance")),
    "ntk": (lambda **o: Flat("ntk", **o), ("depth", "weight_variance", "bias_variance")),
    "conv_nngp": (lambda **o: Convolutional(False, **o), ("depth",)),
    "conv_ntk": (lambda **o: Convolutional(True, **o), ("depth",)),
    "random_features": (RandomFeatures, ("networks", "width", "depth", "seed")),
}
_WHOLE = ("degree", "depth", "networks", "width", "seed")


def parse_kernel(text: str, teacher: nets.Network | None = None) -> Kernel:
    """A kernel from its text; the module's head shows them.

    Args:
        text: Its name and options.
        teacher: The network of the kernel ``teacher``.

    Raises:
        ValueError: The kernel, an option or a value is unknown or out of range, or there is no teacher.
    """
    name, _, rest = text.strip().partition(":")
    if name == TRAINED:
        raise ValueError("the kernel trained is of networks that evaluate trains: name another")
    if name == "teacher":
        if teacher is None:
            raise ValueError("the kernel teacher is of a set that carries its teacher; this one has none")
        return Features([layered(teacher, rest.removeprefix("layers=") or "embedding")])
    if name not in _KINDS:
        raise ValueError(f"unknown kernel {name!r}{did_you_mean(name, _KINDS)}; known: {', '.join(_KINDS)}")
    return _closed_form(name, rest)


@functools.lru_cache(maxsize=64)  # a method asks for its kernel in every step
def _closed_form(name: str, rest: str) -> Kernel:
    make, known = _KINDS[name]
    options = parse_options(f"kernel {name}", rest, known)
    kernel = make(**{key: _value(name, key, value) for key, value in options.items()})
    kernel.matrix(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8))  # refuses what is out of range
    return kernel


def _value(name: str, key: str, text: str) -> Any:
    try:
        if key == "bandwidths":
            return tuple(float(part) for part in text.split("+"))
        return int(text) if key in _WHOLE else float(text)
    except ValueError:
        wanted = "numbers joined by +" if key == "bandwidths" else "a number"
        raise ValueError(f"kernel {name}: {key} must be {wanted}, got {text!r}") from None
