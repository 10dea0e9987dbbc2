"""Targets from a bigger model: what a teacher says of a distilled set's images, in place of its own.

[0] G. Hinton, O. Vinyals, J. Dean: Distilling the Knowledge in a Neural Network. arXiv:1503.02531: soft
    targets at a temperature.
[1] Z. Shen, E. Xing: A Fast Knowledge Distillation Framework for Visual Recognition. ECCV 2022,
    arXiv:2112.01528: targets of augmented views, kept with the views' parameters.
"""

import dataclasses

import torch
from torch import Tensor

from pydistill import nets, seeds
from pydistill.augment import Augmentation
from pydistill.data.distilled import DistilledData
from pydistill.data.recipe import StoredViews
from pydistill.tasks.base import chunks

KINDS = ("hard", "soft", "views")
_AT_ONCE = 256


@torch.no_grad()
def relabel(
    distilled: DistilledData,
    teacher: nets.Network,
    kind: str = "soft",
    *,
    temperature: float = 1.0,
    draws: int = 10,
    seed: int = 0,
) -> DistilledData:
    """The same images with a teacher's targets.

    Soft targets and views take bytes, which the set's ``nbytes`` count and a report shows.

    Args:
        distilled: The set; its own targets are left behind.
        teacher: A network trained on the real data, preprocessed as the set was.
        kind: ``hard``: the most probable class of each stored image (over its views, where there are
            several). ``soft``: probabilities of each stored image, averaged over its views. ``views``:
            ``draws`` augmentations of each view are drawn and kept, each with its own probabilities ([1]).
        temperature: Logits are divided by it.
        draws: Augmentations of each view, under ``views``.
        seed: What they derive from.

    Raises:
        ValueError: The kind is unknown, a number is out of range, or the teacher is for other images or
            classes.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    expected = (distilled.shape, distilled.task.outputs)
    if (teacher.shape, teacher.outputs) != expected:
        raise ValueError(
            f"the teacher is for images of shape {teacher.shape} and {teacher.outputs} classes, "
            f"the set has {expected[0]} and {expected[1]}"
        )
    training = teacher.training
    teacher.eval()
    try:
        if kind == "views":
            views = _views(distilled, teacher, temperature, draws, seed)
            recipe = dataclasses.replace(distilled.recipe, views=views, loss="task")
            targets = _of_stored(views.targets.mean(0), distilled)
        else:
            said = _probabilities(teacher, distilled.views()[0], temperature)
            targets = _of_stored(said, distilled)
            recipe = dataclasses.replace(distilled.recipe, views=None, loss="task")
    finally:
        teacher.train(training)
    return dataclasses.replace(
        distilled, targets=targets.argmax(1) if kind == "hard" else targets, recipe=recipe
    )


def _of_stored(probabilities: Tensor, distilled: DistilledData) -> Tensor:
    """(M, K) for stored images, the mean of (V, K) over their views."""
    return probabilities.view(len(distilled.images), -1, probabilities.shape[1]).mean(1)


def _probabilities(teacher: nets.Network, images: Tensor, temperature: float) -> Tensor:
    """(N, K) for network input (N, C, H, W), on the CPU."""
    device = next(teacher.parameters()).device
    parts = [
        torch.softmax(teacher(images[part].to(device)) / temperature, 1).cpu()
        for part in chunks(len(images), _AT_ONCE)
    ]
    return torch.cat(parts)


def _views(
    distilled: DistilledData, teacher: nets.Network, temperature: float, draws: int, seed: int
) -> StoredViews:
    augmentation = Augmentation.parse(distilled.augment)
    images, _ = distilled.views()
    size = (images.shape[2], images.shape[3])
    parameters, targets = [], []
    for draw in range(draws):
        generator = seeds.generator(seed, "stored views", draw)
        drawn = augmentation.sample(len(images), generator, together=False, size=size)
        parameters.append(drawn.values)
        targets.append(_probabilities(teacher, augmentation.apply(images, drawn), temperature))
    return StoredViews(torch.stack(parameters), torch.stack(targets))
