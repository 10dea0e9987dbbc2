"""Representative real images: those nearest to the centres of clusters, class by class.

[0] Y. Liu et al.: DREAM, Efficient Dataset Distillation by Representative Matching. ICCV 2023,
    arXiv:2302.14416.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pydistill.engine.problem import Problem
from pydistill.extras import need
from pydistill.seeds import derive
from pydistill.tasks import Draw

_ROUNDS = 20


@torch.no_grad()
def representatives(
    problem: Problem,
    candidates: Draw,
    each: int | Sequence[int],
    embed: Callable[[Tensor], Tensor],
    *purpose: str | int,
) -> Draw:
    """Of each group's candidates the ``each`` images nearest to the centres of as many clusters ([0]).

    k-means runs on the embeddings of one group at a time; of every cluster the image nearest to its centre
    is taken, so that all are different. A group with no more candidates than that gives all it has.

    Args:
        problem: The data, the seed and the bound of a batch.
        candidates: What to choose from.
        each: Images a group, one number for all or one for each.
        embed: Images (M, C, H, W) to features, (M, ...).
        purpose: Names the draw that starts the clusters.

    Returns:
        The chosen images, group after group.
    """
    parts = [
        embed(problem.images(candidates.indices[part])).flatten(1).float().cpu()
        for part in problem.chunks(len(candidates.indices))
    ]
    features = torch.cat(parts).numpy()
    counts = [each] * len(problem.groups) if isinstance(each, int) else each
    indices, groups = [], []
    for group, count in enumerate(counts):
        own = torch.nonzero(candidates.groups == group).flatten()
        state = derive(problem.seed, *purpose, group) % 2**32
        picked = own if len(own) <= count else own[_nearest(features[own.numpy()], count, state)]
        indices.append(candidates.indices[picked])
        groups.append(candidates.groups[picked])
    return Draw(torch.cat(indices), torch.cat(groups))


def _nearest(
    features: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", each: int, state: int
) -> Tensor:
    """Positions of the rows nearest to the centres of ``each`` clusters, ascending."""
    what = "k-means, which chooses these images,"
    fewer = need("sklearn.exceptions", what).ConvergenceWarning  # of equal images: filled below
    clusters = need("sklearn.cluster", what).KMeans(each, n_init=1, max_iter=_ROUNDS, random_state=state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fewer)
        distances = clusters.fit_transform(features)
    labels = clusters.labels_
    picked = [
        members[distances[members, at].argmin()]
        for at in range(each)
        if len(members := np.flatnonzero(labels == at))
    ]
    rest = np.setdiff1d(np.arange(len(features)), picked)[: each - len(picked)]
    return torch.from_numpy(np.sort(np.concatenate([np.asarray(picked, dtype=np.int64), rest])))
