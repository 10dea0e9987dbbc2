"""Selection by gradients: images that stand for what all images would do to the last layer.

All three look at the gradients of the last layer's weights and biases after the scores' training, class by
class, as their authors' experiments do.

[0] B. Mirzasoleiman, J. Bilmes, J. Leskovec: Coresets for Data-efficient Training of Machine Learning
    Models. ICML 2020, arXiv:1906.01827.
[1] K. Killamsetty et al.: GRAD-MATCH, Gradient Matching based Data Subset Selection for Efficient Deep
    Model Training. ICML 2021, arXiv:2103.00123.
[2] K. Killamsetty et al.: GLISTER, Generalization based Data Subset Selection for Efficient and Robust
    Learning. AAAI 2021, arXiv:2012.10630.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pydistill.engine.method import option, register
from pydistill.selection.base import Candidates, Chosen, ScoredSelector
from pydistill.selection.factored import Gradients
from pydistill.selection.lazy_greedy import cover
from pydistill.selection.pursuit import leading, pursue
from pydistill.selection.similarity import Index

_KEPT_BYTES = 64 << 20
"""Similarities of a class that are kept at most."""
_LEAST = 0.01
"""The smallest weight of a matched set, of the mean of its class."""


@register
@dataclass(frozen=True, kw_only=True)
class Craig(ScoredSelector):
    """Medoids of the gradients, weighted by how many images each stands for ([0], algorithm 1).

    Of each class greedily maximises sum_i max_{j chosen} (c - ||g_i - g_j||), c a bound of all distances;
    w_j is the number of images of the class whose gradient is nearest to g_j.

    A class of n images takes some n^2 (K + D) operations a few times over and about 130 MiB beside the
    gradients' factors, n (K + D) numbers in float32.
    """

    name: ClassVar[str] = "craig"
    nested: ClassVar[bool] = True
    citation: ClassVar[str] = "Mirzasoleiman et al., CRAIG, ICML 2020, arXiv:1906.01827"
    summary: ClassVar[str] = "images whose gradients are nearest to those of all, weighted by how many"

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        gradients = Gradients(*candidates.gradients())
        bound = 2 * float(gradients.lengths.max())

        def similarities(rows: Index, columns: Index) -> Tensor:
            return gradients.distances(rows, columns).neg_().add_(bound).clamp_(min=0)

        found = cover(similarities, len(candidates), count, kept_bytes=_KEPT_BYTES)
        owners = found.nearest
        owners[found.positions] = torch.arange(count)  # its own, though an equal one was chosen before
        return Chosen(found.positions, torch.bincount(owners, minlength=count).float())


@register
@dataclass(frozen=True, kw_only=True)
class GradMatch(ScoredSelector):
    """Images whose weighted gradients sum to that of their class ([1], algorithm 2).

    Orthogonal matching pursuit with weights that are not negative, see
    :func:`pydistill.selection.pursuit.pursue`: minimises ||sum_i g_i - sum_j w_j g_j||^2 + lambda ||w||^2.
    Unlike in [1], lambda is relative to the mean of ||g_i||^2, so that it means the same for classes that
    were learned well and badly, and the weights of a class are scaled to sum to its number of images, so
    that classes count as they do in the whole. No image weighs less than a hundredth of its class's mean:
    one that the match has no use for is stored all the same, and a batch of such ones shall have a mean.
    The ``per gradient`` variant of [1], which keeps the gradients of the class's own output alone to save
    memory, is not needed here: in factors all outputs take no more.

    A class of n images takes 8 (K + D) bytes for each that is chosen and 4 n K beside the gradients'
    factors, n (K + D) numbers in float32: of 50,000 x 512 a half is a matter of minutes on one thread.
    """

    name: ClassVar[str] = "grad_match"
    nested: ClassVar[bool] = True
    citation: ClassVar[str] = "Killamsetty et al., GRAD-MATCH, ICML 2021, arXiv:2103.00123"
    summary: ClassVar[str] = "images whose weighted gradients sum to that of their class"

    ridge: float = option(0.5, "penalty on squared weights, relative to a mean squared gradient", low=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        match = pursue(Gradients(*candidates.gradients()), count, self.ridge)
        return Chosen(match.positions, _scaled(match.weights, len(candidates)))


@register
@dataclass(frozen=True, kw_only=True)
class Glister(ScoredSelector):
    """Images on which a step of descent lowers the loss most, greedily ([2], GreedyDSS).

    W is the last layer after a step on what is chosen, W_0 - rate' * sum_{j chosen} g_j. Next is chosen the
    image whose gradient g_i has the largest inner product with the gradient of the mean loss at W, which
    is the first-order Taylor expansion of what it gains. The layer's inputs stay as they are, its outputs
    move with W. ``rate'`` is ``rate`` over the mean squared length of the inputs. Above 256 chosen, 1/256
    of their number are chosen between two evaluations of the gradient.

    The loss is that of the class's training images, since scores are of training images alone. On a
    held-out set with right labels, as in [2], it would also keep away from wrong labels: here it does not.

    A class of n images takes 12 n K bytes beside the gradients' factors, n (K + D) numbers in float32, and
    6 n K D operations for each round, of which there are 256 (1 + ln(m / 256)) for m images.
    """

    name: ClassVar[str] = "glister"
    nested: ClassVar[bool] = True
    citation: ClassVar[str] = "Killamsetty et al., GLISTER, AAAI 2021, arXiv:2012.10630"
    summary: ClassVar[str] = "images on which a step of descent lowers the loss of their class most"

    rate: float = option(0.1, "of the step, over the mean squared length of the layer's inputs", above=0)

    def choose(self, candidates: Candidates, count: int, generator: torch.Generator) -> Chosen:
        gradients, targets = Gradients(*candidates.gradients()), candidates.targets
        task, inputs = candidates.known.problem.task, gradients.inputs
        outputs = task.outputs_of(gradients.residuals, targets)
        rate = self.rate / float(inputs.square().sum(1).mean())
        moved = torch.zeros(outputs.shape[1], inputs.shape[1], dtype=torch.float64)
        free, found = torch.ones(len(candidates), dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
        while len(found) < count:
            residuals = task.residuals(outputs + inputs @ moved.float().T, targets)
            gain = gradients.along(Gradients(residuals, inputs).sum() / len(candidates))
            gain[~free] = -torch.inf
            new = leading(gain, len(found), count)
            free[new] = False
            moved -= rate * gradients.sum(new)
            found = torch.cat([found, new])
        return Chosen(found)


def _scaled(weights: Tensor, images: int) -> Tensor:
    """Weights of sum ``images``, none below a hundredth of their mean."""
    if not float(weights.sum()) > 0:
        weights = torch.ones_like(weights)
    scaled = (weights / weights.mean()).clamp(min=_LEAST)
    return scaled * images / scaled.sum()
