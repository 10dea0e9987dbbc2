"""Maximum mean discrepancy under a kernel: every moment at once, where means are the first alone.

[0] A. Gretton et al.: A Kernel Two-Sample Test. JMLR 13 (2012).
[1] H. Zhang et al.: M3D, Dataset Condensation by Minimizing Maximum Mean Discrepancy. AAAI 2024,
    arXiv:2312.15927.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill import checks
from pydistill.distribution.discrepancies.base import Discrepancy, State, rounding
from pydistill.ops import gram, mmd

KERNELS = ("rbf", "polynomial", "linear")
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the median rule: factors on the squared bandwidth."""

_MOST_ROWS = 512


@dataclass(frozen=True)
class KernelMMD(Discrepancy):
    """Squared MMD of a class's features ([0], equation 3 unbiased, equation 5 biased; used by [1]).

    Attributes:
        kernel: ``rbf``: a sum over bandwidths; ``polynomial``: ``(x.y / D + 1) ** degree``; ``linear``.
        bandwidths: Standard deviations of the RBF kernel; empty: by the median rule, the squared ones
            being :data:`MULTIPLES` of half the median squared distance between real images of a class.
        degree: Of the polynomial.
        unbiased: Leave an image's kernel with itself out of the means, which needs two images a class.
    """

    kernel: str = "rbf"
    bandwidths: tuple[float, ...] = ()
    degree: int = 3
    unbiased: bool = False

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: The kernel is unknown, or a bandwidth is not a number above 0.
        """
        checks.choice("kernel", self.kernel, KERNELS)
        for bandwidth in self.bandwidths:
            if not 0 < bandwidth < math.inf:
                raise ValueError(f"bandwidths must be numbers above 0, got {bandwidth}")

    def prepare(self, real: Tensor, state: State) -> None:
        if self.kernel == "rbf" and not self.bandwidths:
            state["bandwidths"] = list(median_bandwidths(real))

    @property
    def least_images(self) -> int:
        return 2 if self.unbiased else 1

    def told_sizes(self, synthetic: Sequence[int], real: Sequence[int], state: State) -> None:
        if self.unbiased:
            state["sizes"] = {"synthetic": list(synthetic), "real": list(real)}

    def loss(self, synthetic: Tensor, real: Tensor, state: State, progress: float) -> Tensor:
        if self.unbiased and min(synthetic.shape[1], real.shape[1]) < 2:
            raise ValueError(
                "the unbiased estimator needs two images a class, "
                f"found {synthetic.shape[1]} synthetic and {real.shape[1]} real ones"
            )
        full = {"synthetic": [synthetic.shape[1]] * len(real), "real": [real.shape[1]] * len(real)}
        sizes = state.get("sizes", full)
        if sizes == full:
            return self._loss(synthetic, real, state)
        # a repeated row's pair with itself is not of two images: each group's own rows alone
        pairs = zip(synthetic, sizes["synthetic"], real, sizes["real"], strict=True)
        return torch.stack([self._loss(a[None, :n], b[None, :m], state) for a, n, b, m in pairs]).sum()

    def _loss(self, synthetic: Tensor, real: Tensor, state: State) -> Tensor:
        if self.kernel == "rbf":
            bandwidths = self.bandwidths or state["bandwidths"]
            return mmd(real, synthetic, bandwidths=bandwidths, unbiased=self.unbiased).sum()
        options = {"degree": self.degree} if self.kernel == "polynomial" else {}
        means = [
            _mean(gram(a, b, kernel=self.kernel, **options), a is b and self.unbiased)
            for a, b in ((real, real), (synthetic, synthetic), (real, synthetic))
        ]
        return (means[0] + means[1] - 2 * means[2]).sum()


def median_bandwidths(real: Tensor, multiples: Sequence[float] = MULTIPLES) -> tuple[float, ...]:
    """Bandwidths about the typical distance between two images of a class: the median rule.

    Where half of the pairs or more do not differ (classes of one image, or of the same several times), the
    median is that of the pairs that do; where none does, that of images of different classes.

    Args:
        real: Sets (G, N, D); of each at most 512 rows are looked at.
        multiples: Of half the median squared distance, one for each squared bandwidth.

    Raises:
        ValueError: No two images differ, or features are not finite.
    """
    few = real.detach()[:, :_MOST_ROWS].float()
    apart = (
        torch.cat([torch.pdist(rows) for rows in few]).square() if few.shape[1] > 1 else few.new_zeros(1)
    )
    least = float(rounding(few).max()) * few.shape[2]
    median = float(apart.median())
    if median <= least:
        differ = apart[apart > least]
        if not len(differ):
            across = torch.pdist(few.transpose(0, 1).flatten(0, 1)[:_MOST_ROWS]).square()
            differ = across[across > least]
        median = float(differ.median()) if len(differ) else 0.0
    if not 0 < median < math.inf:
        raise ValueError(
            f"the median rule needs real images that differ and finite features, found a median squared "
            f"distance of {median}; give bandwidths instead"
        )
    return tuple(math.sqrt(multiple * median / 2) for multiple in multiples)


def _mean(kernel: Tensor, without_diagonal: bool) -> Tensor:
    """Mean of kernel matrices (G, N, M) over pairs: (G,)."""
    if not without_diagonal:
        return kernel.mean((1, 2))
    size = kernel.shape[1]
    return (kernel.sum((1, 2)) - kernel.diagonal(dim1=1, dim2=2).sum(1)) / (size * (size - 1))
