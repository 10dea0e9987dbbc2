"""Scores of images from what was recorded while networks learned them.

Records are arrays (E, N): a row an epoch, a column an image, each value taken in the step in which the
image was trained on, before the parameters moved, on the augmented image as the network saw it.

[0] M. Paul, S. Ganguli, G. K. Dziugaite: Deep Learning on a Data Diet. NeurIPS 2021, arXiv:2107.07075.
[1] M. Toneva et al.: An Empirical Study of Example Forgetting. ICLR 2019, arXiv:1812.05159.
[2] G. Pleiss et al.: Identifying Mislabeled Data using the Area Under the Margin Ranking. NeurIPS 2020,
    arXiv:2001.10528.
[3] S. Swayamdipta et al.: Dataset Cartography. EMNLP 2020, arXiv:2009.10795.
[4] Y. Cho et al.: Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction
    Uncertainty. ICML 2025, arXiv:2502.06905.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Record: TypeAlias = npt.NDArray[np.floating]
Score: TypeAlias = npt.NDArray[np.float32]

WINDOW = 10
"""Epochs of a window of [4]; of shorter trainings a third, at least two."""
_COLUMNS = 1 << 16
"""Images that are scored at once: bounds memory."""


def el2n(error: Record, early: int) -> Score:
    """(N,) the length of p - y in epoch ``early``, counted from 1 ([0], definition 2.2)."""
    return _single(error[early - 1])


def forgetting(correct: Record) -> Score:
    """(N,) how often a correct answer is followed by a wrong one; E where none was ([1], section 3).

    [1] counts images that were never learned as forgotten infinitely often; E is above every count.
    """
    right = correct > 0.5
    events = (right[:-1] & ~right[1:]).sum(0)
    return _single(np.where(right.any(0), events, len(correct)))


def mean(record: Record) -> Score:
    """(N,) the mean over epochs: of margins the area under the margin ([2], eq. 1)."""
    return _single(record.mean(0, dtype=np.float32))


def spread(record: Record) -> Score:
    """(N,) the standard deviation over epochs: of p_y the variability of [3], section 2."""
    return _single(record.astype(np.float32).std(0))


def last(record: Record) -> Score:
    """(N,) in the last epoch."""
    return _single(record[-1])


def dual(probability: Record, window: int | None = None) -> Score:
    """(N,) difficulty times uncertainty, (1 - mean) * deviation of p_y over windows of epochs ([4], eq. 5).

    The deviation has Bessel's correction; the mean is over all windows of consecutive epochs.

    Args:
        probability: (E, N) of the image's class.
        window: Epochs of a window; None: :data:`WINDOW`, in short trainings a third, at least two.
    """
    epochs = len(probability)
    size = min(epochs, window or max(2, min(WINDOW, epochs // 3)))
    if size < 2:
        return np.zeros(probability.shape[1], dtype=np.float32)
    values = probability.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(values, size, axis=0)
    return _single(((1 - windows.mean(-1)) * windows.std(-1, ddof=1)).mean(0))


FORMULAS: Mapping[str, tuple[str, Callable[[Record], Score]]] = {
    "forgetting": ("correct", forgetting),
    "aum": ("margin", mean),
    "entropy": ("entropy", last),
    "mean": ("probability", mean),
    "spread": ("probability", spread),
    "correctness": ("correct", mean),
    "dual": ("probability", dual),
    "loss": ("loss", mean),
}
"""Scores that a record alone gives, by name: which record, and how."""

HARD_IS_LOW = ("aum", "mean", "correctness")
"""Scores that are low where an image is hard; the others are high there."""


def scored(record: Record, formula: Callable[[Record], Score]) -> Score:
    """``formula`` over a record, some images at a time."""
    parts = range(0, record.shape[1], _COLUMNS)
    return np.concatenate([formula(record[:, at : at + _COLUMNS]) for at in parts])


def _single(values: npt.NDArray[Any]) -> Score:
    found: Score = values.astype(np.float32)
    return found
