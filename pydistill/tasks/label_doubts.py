"""Labels that look wrong to networks that were not trained on them: confident learning, with a guard.

[0] C. Northcutt, L. Jiang, I. Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR
    2021, arXiv:1911.00068.
[1] C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On Calibration of Modern Neural Networks. ICML 2017,
    arXiv:1706.04599.

Differs from [0] in what is flagged. The confident joint calls every image wrong that a network mistakes
with confidence, of clean data several in a hundred. Here the rate of wrong labels is counted where networks
are surest, since nothing is ambiguous there: f(y | j), the share labelled y of the surest quarter of the
images answered j. With probabilities p calibrated to the labels, f(y | j) / p(y) is the chance that a label
y of an image answered j is wrong; it is flagged where that is above a half, and at most as many for a pair
of classes as the confident joint counts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_SUREST, _LIKELY = 0.25, 0.5
"""Share of the images answered with a class, the surest, in which wrong labels are counted; chance from
which a label is flagged."""
_CONCENTRATED = 0.5
"""Share of the wrong labels that is of one class an answer, from which they are of similar classes."""
_LEAST = 1e-6


@dataclass(frozen=True)
class LabelDoubts:
    """What is doubtful about labels of N images in K classes.

    Attributes:
        quality: (N,) float32, smaller is more doubtful: the probability of the label; where wrong labels
            concentrate on one class for each answer, less the largest probability of another class.
        suggested: (N,) int64, the most probable class other than the label.
        flagged: (M,) int64 positions, the most doubtful first.
        chance: (N,) float32, that the label is wrong.
        noise: (K, K) float64, estimated number of images by label (row) and true class (column).
        joint: (K, K) float64, the calibrated confident joint of [0] by label and true class.
        thresholds: (K,) float32, the mean probability of a class over the images labelled with it.
    """

    quality: Tensor
    suggested: Tensor
    flagged: Tensor
    chance: Tensor
    noise: Tensor
    joint: Tensor
    thresholds: Tensor


def label_doubts(probabilities: Tensor, labels: Tensor) -> LabelDoubts:
    """Rank labels by doubt and flag those that are estimated to be wrong.

    Args:
        probabilities: (N, K) of networks that were not trained on the image.
        labels: (N,) int64.

    Raises:
        ValueError: Shapes do not fit, probabilities are not finite, or there are fewer than two classes.
    """
    _check(probabilities, labels)
    given = probabilities.float()
    classes = given.shape[1]
    own, best, suggested = _own_and_best(given, labels)
    thresholds = _means(own, labels, classes)
    joint = confident_joint(given, labels, thresholds)
    rates = surest_disagreement(given, labels)
    quality = own - best if concentration(rates) > _CONCENTRATED else own
    settled, runner_up, _ = _own_and_best(calibrated(given, labels), labels)
    chance = (rates[labels, suggested].float() / settled.clamp_min(_LEAST)).clamp_max(1)
    likely = (chance > _LIKELY) & (runner_up > settled)
    flagged = _most_likely(likely, chance, quality, labels, suggested, joint)
    answers = torch.bincount(given.max(1).indices, minlength=classes)
    noise = rates * answers
    return LabelDoubts(quality, suggested, flagged, chance, noise, joint, thresholds)


def calibrated(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Probabilities at the temperature that gives the labels the largest likelihood ([1], section 4.2)."""
    logs = probabilities.clamp_min(_LEAST).log()
    rows = logs[:: max(1, len(logs) // 20_000)], labels[:: max(1, len(logs) // 20_000)]
    temperatures = torch.logspace(-0.5, 0.7, 49).tolist()
    losses = [
        float(torch.nn.functional.cross_entropy(rows[0] / temperature, rows[1]))
        for temperature in temperatures
    ]
    return torch.softmax(logs / temperatures[losses.index(min(losses))], 1)


def concentration(rates: Tensor) -> float:
    """Share of wrong labels (K, K) by label and answer that is of the commonest label of each answer."""
    apart = rates.clone().fill_diagonal_(0)
    return float(apart.amax(0).sum() / apart.sum().clamp_min(1e-12))


def confident_joint(probabilities: Tensor, labels: Tensor, thresholds: Tensor) -> Tensor:
    """(K, K) float64 images by label and true class, calibrated to the labels' counts ([0], 3.1).

    An image counts for the most probable of the classes whose threshold its probability reaches.
    """
    classes = len(thresholds)
    reached = torch.where(probabilities >= thresholds, probabilities, -1.0)
    top, true = reached.max(1)
    counted = top >= 0
    pairs = labels[counted] * classes + true[counted]
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()
    size = torch.bincount(labels, minlength=classes).double()
    rows = counts.sum(1)
    counts.diagonal().add_((rows == 0).double())
    return counts / counts.sum(1, keepdim=True) * size[:, None]


def surest_disagreement(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(K, K) float64: shares of labels (row) in the surest quarter of each answer (column)."""
    classes = probabilities.shape[1]
    top, answer = probabilities.max(1)
    found = torch.zeros(classes, classes, dtype=torch.float64)
    for at in range(classes):
        here = torch.nonzero(answer == at).flatten()
        if len(here):
            order = top[here].argsort(descending=True, stable=True)
            surest = here[order[: max(1, round(len(here) * _SUREST))]]
            found[:, at] = torch.bincount(labels[surest], minlength=classes).double() / len(surest)
    return found


def _own_and_best(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N,) each: the label's probability, the largest other one, and whose that is."""
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    best, at = probabilities.scatter(1, labels[:, None], -1.0).max(1)
    return own, best, at


def _most_likely(
    likely: Tensor, chance: Tensor, quality: Tensor, labels: Tensor, suggested: Tensor, joint: Tensor
) -> Tensor:
    """Likely wrong labels, of each pair of classes as many as the joint counts, the most doubtful first."""
    classes = len(joint)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    found = torch.nonzero(likely).flatten()
    pairs = labels[found] * classes + suggested[found]
    for pair in torch.unique(pairs).tolist():
        here = found[pairs == pair]
        order = chance[here].argsort(descending=True, stable=True)
        chosen[here[order[: round(float(joint[pair // classes, pair % classes]))]]] = True
    found = torch.nonzero(chosen).flatten()
    return found[quality[found].argsort(stable=True)]


def _means(own: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K,) mean over the images of each label; 1 where there are none, which nothing exceeds."""
    count = torch.bincount(labels, minlength=classes)
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, own.double())
    return torch.where(count > 0, sums / count.clamp_min(1), 1.0).float()


def _check(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"expected probabilities (N, K) and labels (N,), found {tuple(probabilities.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if probabilities.shape[1] < 2:
        raise ValueError(f"expected two classes or more, found {probabilities.shape[1]}")
    if not bool(probabilities.isfinite().all()):
        raise ValueError("expected finite probabilities, found NaN or infinity")
