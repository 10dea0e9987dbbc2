"""The augmentation in plain torch, transform by transform: what ``ops.siamese_augment`` must equal."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from pydistill.augment import linear
from pydistill.augment.parameters import Parameters
from pydistill.augment.transforms import TRANSFORMS

_MOST_RUNS = 64
_SHORTEST_RUN = 8
"""A batch is worked on in runs of neighbouring images with equal parameters, where these are few and, on
average, long; else in runs with the same transforms; else it is sorted by transform. It is a matter of
time, not of results: a run costs some tens of microseconds, sorting two copies."""

_IDENTITY = torch.tensor(Parameters.IDENTITY)

_READS = torch.tensor(
    [[float(column in made.columns) for made in TRANSFORMS.values()] for column in Parameters.COLUMNS]
)
"""(13, 6) which transform reads a column."""

_BITS = 2 ** torch.arange(len(TRANSFORMS))
"""The sum of the active transforms' bits tells what happens to an image."""

_BLENDS = torch.tensor([made.blends for made in TRANSFORMS.values()])


def apply(images: Tensor, parameters: Parameters) -> Tensor:
    """Transform each image by its row.

    Args:
        images: (N, C, H, W), floating point. Half precision is blended in float32.
        parameters: N rows for images of this size.
    """
    if not len(images):
        return images
    values = parameters.values
    runs = _runs(values)
    if len(runs) <= max(1, min(len(values) // _SHORTEST_RUN, _MOST_RUNS)):
        return _apply_to_runs(images, parameters, runs, alike=True)
    active = (values != _IDENTITY).float() @ _READS > 0
    blending = active & _BLENDS
    if (blending == blending[:1]).all():
        # one run suffices: transforms that do not blend leave a row that is inactive as it is
        return _apply_to_runs(images, parameters, [(0, len(values))])
    kinds = (active * _BITS).sum(1)
    runs = _runs(kinds[:, None])
    if len(runs) <= _MOST_RUNS:
        return _apply_to_runs(images, parameters, runs)
    kinds, order = kinds.sort(stable=True)
    gathered = linear.take(images, order.to(images.device))
    done = _apply_to_runs(gathered, parameters.rows(order), _runs(kinds[:, None]))
    return linear.take(done, order.argsort().to(images.device))


def _apply_to_runs(
    images: Tensor, parameters: Parameters, runs: Sequence[tuple[int, int]], alike: bool = False
) -> Tensor:
    """Transform each run by whatever is active in any of its rows; ``alike``: a run's rows are equal."""
    parts = torch.split(images, [stop - start for start, stop in runs])
    done = [
        _apply_to_run(part, parameters.rows(slice(start, start + 1 if alike else stop)))
        for part, (start, stop) in zip(parts, runs, strict=True)
    ]
    if len(done) == 1:
        return images if done[0] is parts[0] else done[0]
    return torch.cat(done)


def _apply_to_run(images: Tensor, parameters: Parameters) -> Tensor:
    differs = (parameters.values != _IDENTITY).any(0).tolist()
    active = {column for column, here in zip(Parameters.COLUMNS, differs, strict=True) if here}
    chain = [transform for transform in TRANSFORMS.values() if active.intersection(transform.columns)]
    if not chain:
        return images
    narrow = images.dtype in (torch.bfloat16, torch.float16) and any(made.blends for made in chain)
    done = images.float() if narrow else images
    for transform in chain:
        done = transform.apply(done, parameters)
    done = done.to(images.dtype)
    if linear.channels_inside(images):
        return done.contiguous(memory_format=torch.channels_last)
    return done


def _runs(values: Tensor) -> list[tuple[int, int]]:
    """The longest ranges of equal rows, as (start, stop)."""
    edges = (values[1:] != values[:-1]).any(1).nonzero().flatten() + 1
    return list(itertools.pairwise([0, *edges.tolist(), len(values)]))
