"""Kernel matrices in plain torch: the reference of ``gram``, differentiable to any order.

Guarded as the kernels are (``csrc/common/gram.h`` has the formulas): where a difference cancels the entry
is computed again from the rows, angles are carried as the gap between the cosine's magnitude and 1, and
derivatives at a cusp, which the Laplacian kernel and the NTK have where two rows coincide, are the mean of
the one-sided ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

KERNELS = ("linear", "polynomial", "rbf", "laplacian", "inverse_multiquadric", "nngp", "ntk")
DISTANCES = ("rbf", "laplacian", "inverse_multiquadric")
ANGLES = ("nngp", "ntk")


@dataclass(frozen=True)
class Choice:
    """A kernel and its numbers, checked; those that the kernel has no use for are ignored."""

    kernel: str
    bandwidths: tuple[float, ...]
    degree: int
    scale: float
    offset: float
    depth: int
    weight_variance: float
    bias_variance: float


def matrix(x: Tensor, y: Tensor, choice: Choice) -> Tensor:
    """(B, N, M) from x (B, N, D) and y (B, M, D)."""
    if choice.kernel in DISTANCES:
        return _of_distance(x, y, choice)
    if choice.kernel in ANGLES:
        return _of_angle(x, y, choice)
    s = product(x, y)
    return s if choice.kernel == "linear" else (choice.scale * s + choice.offset) ** choice.degree


def diagonal(x: Tensor, choice: Choice) -> Tensor:
    """(B, N): the diagonal of ``matrix(x, x)``."""
    q = (x * x).sum(-1)
    if choice.kernel == "linear":
        return q
    if choice.kernel == "polynomial":
        return (choice.scale * q + choice.offset) ** choice.degree
    if choice.kernel in DISTANCES:
        return 0 * q + len(choice.bandwidths)
    weight, bias = choice.weight_variance, choice.bias_variance
    nngp = ntk = q / max(x.shape[-1], 1)
    for _ in range(choice.depth):
        nngp = (weight * nngp + bias) / 2
        ntk = nngp + (weight * ntk + bias) / 2
    return nngp if choice.kernel == "nngp" else ntk


def product(x: Tensor, y: Tensor) -> Tensor:
    """(B, N, M) of x.y in the dtype of x, also where autocast would round the rows to bfloat16."""
    if x.is_meta:  # there autocast does not exist
        return torch.bmm(x, y.mT)
    with torch.autocast(x.device.type, enabled=False):
        return torch.bmm(x, y.mT)


def centred(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both moved by their common mean row, which no distance sees: so norms are no larger than need be."""
    count = max(x.shape[1] + y.shape[1], 1)
    with torch.no_grad():
        mean = (x.detach().sum(1, keepdim=True) + y.detach().sum(1, keepdim=True)) / count
        mean = mean.nan_to_num(0.0, 0.0, 0.0)  # a row of not-a-numbers must not spread
    return x - mean, y - mean


def _of_distance(x: Tensor, y: Tensor, choice: Choice) -> Tensor:
    moved_x, moved_y = centred(x, y)
    qx, qy = moved_x.square().sum(-1)[:, :, None], moved_y.square().sum(-1)[:, None, :]
    d2 = _not_below_0(qx + qy - 2 * product(moved_x, moved_y))
    d2 = _repaired(d2, d2 < guard(x) * (qx + qy), lambda b, i, j: (x[b, i] - y[b, j]).square().sum(-1))
    most = torch.finfo(x.dtype).max / 4  # finite, so that 0 times it is 0
    profile: dict[str, Callable[[float], Tensor]] = {
        "rbf": lambda w: torch.exp(d2 * -min(0.5 / w / w, most)),
        "laplacian": lambda w: torch.exp(_root(d2) * -min(1 / w, most)),
        "inverse_multiquadric": lambda w: torch.rsqrt(1 + d2 * min(1 / w / w, most)),
    }
    total = profile[choice.kernel](choice.bandwidths[0])
    for bandwidth in choice.bandwidths[1:]:
        total = total + profile[choice.kernel](bandwidth)
    return total


def guard(x: Tensor) -> float:
    """Differences below this share of what they are a difference of are computed again."""
    return 2.0**-7 if x.dtype == torch.float32 else 2.0**-14


def _repaired(base: Tensor, doubtful: Tensor, exact: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    # Which entries are repaired is data: neither vmap nor a compiled graph can look.
    if torch.compiler.is_compiling() or _is_mapped(base):
        return base
    where = doubtful.nonzero(as_tuple=True)
    return base.index_put(where, exact(*where)) if len(where[0]) else base


def _is_mapped(tensor: Tensor) -> bool:
    inside = torch._C._functorch
    while inside.is_functorch_wrapped_tensor(tensor):
        if inside.is_batchedtensor(tensor):
            return True
        tensor = inside.get_unwrapped(tensor)
    return False


def _not_below_0(x: Tensor) -> Tensor:
    """0 where x is below it; not-a-numbers pass with their derivative, which clamping would clear."""
    return torch.where(x < 0, 0, x)


def _root(x: Tensor, least: Tensor | float = 0.0) -> Tensor:
    """Square root; 0 with a derivative of 0 up to ``least``."""
    positive = ~(x <= least)
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)


@dataclass(frozen=True)
class _Layer:
    """Variances of the values that enter a ReLU, for the rows of x and of y, and the shares in them.

    With p^2 the share of the weights and r^2 that of the bias in a row's variance, the cosine after them is
    p_x p_y c + r_x r_y, and 1 - p_x p_y - r_x r_y is a sum of squares: nothing cancels. Where p is small,
    r_x - r_y is taken from it: both r are near 1.
    """

    deviation: Tensor
    alpha: Tensor | float
    beta: Tensor | float
    gamma: Tensor | float

    @classmethod
    def after(cls, x: Tensor, y: Tensor, bias: float) -> "_Layer":
        """From the weights' part of the variance, x (B, N, 1) and y (B, 1, M)."""
        if not bias:
            return cls(_root(x) * _root(y), 1.0, 0.0, 0.0)
        (px, rx), (py, ry) = (((q / (q + bias)), bias / (q + bias)) for q in (x, y))
        (px, rx), (py, ry) = ((_root(p), r.sqrt()) for p, r in ((px, rx), (py, ry)))
        deviation = (x + bias).sqrt() * (y + bias).sqrt()
        alpha, beta, p = px * py, rx * ry, px - py
        r = torch.where(alpha < beta, -p * (px + py) / (rx + ry), rx - ry)
        return cls(deviation, alpha, beta, (p**2 + r**2) / 2)


def _of_angle(x: Tensor, y: Tensor, choice: Choice) -> Tensor:
    weight, bias, features = choice.weight_variance, choice.bias_variance, max(x.shape[-1], 1)
    qx, qy = (x * x).sum(-1)[:, :, None], (y * y).sum(-1)[:, None, :]
    least = torch.finfo(x.dtype).tiny  # squares below it have lost their digits
    ix, iy = (torch.where(q < least, 0, 1 / _root(torch.where(q < least, 1, q))) for q in (qx, qy))
    s = product(x, y)
    c = s * ix * iy
    negative = c < 0
    gap = _not_below_0(1 - torch.where(negative, -c, c))

    def exact(b: Tensor, i: Tensor, j: Tensor) -> Tensor:
        one, other = x[b, i] * ix[b, i], y[b, j] * iy[b, :, j]
        return (one - torch.where(negative[b, i, j, None], -other, other)).square().sum(-1) / 2

    gap = _repaired(gap, gap < guard(x), exact)
    qx, qy = weight * qx / features, weight * qy / features
    layer = _Layer.after(qx, qy, bias)
    if bias:
        above = layer.alpha * gap + 2 * layer.beta + layer.gamma  # 1 + c where c is negative
        below = layer.alpha * torch.where(negative, 2 - gap, gap) + layer.gamma  # 1 - c
        negative = negative & ~(above > 1)
        gap = torch.where(negative, above, below)
    # An angle below eight roundings has no direction; what the biases leave of it is resolved as far.
    none = 32 * torch.finfo(x.dtype).eps ** 2 * torch.as_tensor(layer.alpha).detach()
    ntk = s / features
    for depth in range(choice.depth):
        angle = 2 * torch.asin(_root(gap / 2, none / 2))
        cosine, sine = 1 - gap, _root(gap * (2 - gap), 2 * none)
        bend = torch.where(angle < 0.5, _bend_of_small(angle), sine - angle * cosine) / math.pi
        share = angle / math.pi
        k0 = torch.where(negative, share, 1 - share)
        nngp = layer.deviation / 2 * torch.where(negative, bend, cosine + bend)
        ntk = nngp + k0 / 2 * (weight * ntk + bias)
        gap = torch.where(negative, 1 - bend, gap - bend)
        negative = torch.zeros_like(negative)
        if depth + 1 < choice.depth:
            qx, qy = (weight * (q + bias) / 2 for q in (qx, qy))
            layer = _Layer.after(qx, qy, bias)
            gap = layer.alpha * gap + layer.gamma
            none = none * torch.as_tensor(layer.alpha).detach()
    return nngp if choice.kernel == "nngp" else ntk


def _bend_of_small(angle: Tensor) -> Tensor:
    """The difference sin t - t cos t for t below 1/2, where it would cancel."""
    square, series = angle * angle, torch.zeros_like(angle)
    for k in range(6, 0, -1):
        series = 2 * k / math.factorial(2 * k + 1) - square * series
    return angle * square * series
