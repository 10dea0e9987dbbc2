"""Images in the order of a film: whether they are, where nothing moves, what two splits share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pydistill.analysis.neighbours import nearest
from pydistill.scores.embedding import flat_thumbnails

_SIDE = 8
_ORDERED = 0.8
"""Chance that two consecutive images are more alike than two random ones from which images are frames."""
_STILL = 0.1
"""Share of the usual distance of two images below which frames are nearly the same."""
_GAP, _LEAST, _MOST = 3, 5, 20_000
"""Frames that may interrupt a stretch, the fewest of one, images up to which sequences are looked for."""


@dataclass(frozen=True)
class Stretch:
    """Consecutive images, ``first`` to ``last`` of a split."""

    split: str
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Shared:
    """Consecutive images of a split that show what training images show.

    Attributes:
        stretch: Of the other split.
        first: The first training image that is nearest to one of them.
        last: The last one.
        nearest: (len(stretch),) the training image nearest to each.
    """

    stretch: Stretch
    first: int
    last: int
    nearest: tuple[int, ...]


@dataclass(frozen=True)
class Frames:
    """What is found where images are in the order of a film.

    Attributes:
        order: Chance that two consecutive training images are more alike than two random ones; 0.5: no
            order.
        still: Stretches in which hardly anything changes.
        shared: Stretches of other splits as alike to training images as consecutive ones are to each other.
    """

    order: float
    still: tuple[Stretch, ...] = ()
    shared: tuple[Shared, ...] = ()


def scenes(images: Tensor) -> Tensor:
    """(N, D) float32: what a scene looks like, the pixels of 8x8 thumbnails."""
    return flat_thumbnails(images, _SIDE)


def order_of(rows: Tensor, generator: torch.Generator) -> float:
    """Chance that two consecutive rows are nearer to each other than two random ones."""
    if len(rows) < 2 * _LEAST:
        return 0.5
    steps = (rows[1:] - rows[:-1]).norm(dim=1)
    usual = (rows - rows[torch.randperm(len(rows), generator=generator)]).norm(dim=1)
    usual = usual[usual > 0].sort().values
    if not len(usual):
        return 0.5
    return float(1 - torch.searchsorted(usual, steps.contiguous()).double().mean() / len(usual))


def stretches(marked: Tensor, split: str) -> list[Stretch]:
    """Runs of marked positions of a split, interrupted by a few at most and of five marked at least."""
    places = torch.nonzero(marked).flatten().tolist()
    found: list[list[int]] = []
    for place in places:
        if found and place - found[-1][-1] <= _GAP + 1:
            found[-1].append(place)
        else:
            found.append([place])
    return [Stretch(split, run[0], run[-1]) for run in found if len(run) >= _LEAST]


def frames(splits: dict[str, Tensor], generator: torch.Generator) -> Frames:
    """Look at images as frames in their splits' order.

    Args:
        splits: Images (N, C, H, W), ``train`` among them.
        generator: Draws random pairs.
    """
    train = scenes(splits["train"])
    order = order_of(train, generator)
    if order < _ORDERED or max(map(len, splits.values())) > _MOST:
        return Frames(order)
    usual = float((train - train[torch.randperm(len(train), generator=generator)]).norm(dim=1).median())
    step = float((train[1:] - train[:-1]).norm(dim=1).median())
    still: list[Stretch] = []
    shared: list[Shared] = []
    for name, images in splits.items():
        rows = train if name == "train" else scenes(images)
        calm = (rows[1:] - rows[:-1]).norm(dim=1) <= _STILL * usual
        still += [Stretch(name, run.first, run.last + 1) for run in stretches(calm, name)]
        if name == "train":
            continue
        away, places = nearest(rows, 1, train)
        for run in stretches(away[:, 0] <= step, name):
            at = places[run.first : run.last + 1, 0]
            shared.append(Shared(run, int(at.min()), int(at.max()), tuple(at.tolist())))
    return Frames(order, tuple(still), tuple(shared))
