"""Distilled sets moved to a device, and parts of them."""

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from pydistill.data.recipe import Recipe, StoredAugmentations, StoredNetwork, StoredTraining
from pydistill.data.weights import normalised

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData

Several: TypeAlias = slice | Sequence[int] | Sequence[bool] | Tensor
"""What names several images: a slice, numbers, or a truth value for each."""


def moved(distilled: "DistilledData", device: torch.device | str) -> "DistilledData":
    """See :meth:`DistilledData.to`."""
    if not isinstance(device, torch.device | str):
        raise TypeError(
            f"to() takes a device such as 'cuda', got {device!r}: a set's images are float32 whatever "
            "the network computes in"
        )
    where = torch.device(device)
    origin, weights, indices = distilled.origin, distilled.weights, distilled.indices
    return dataclasses.replace(
        distilled,
        images=distilled.images.to(where),
        targets=distilled.targets.to(where),
        origin=None if origin is None else origin.to(where),
        weights=None if weights is None else weights.to(where),
        indices=None if indices is None else indices.to(where),
        preprocess=distilled.preprocess.to(where),
        recipe=_recipe_on(distilled.recipe, where),
    )


def positions(chosen: Several, total: int, what: str) -> Tensor:
    """(M,) int64 positions that ``chosen`` names among ``total``, on the CPU.

    Raises:
        TypeError: It is none of :data:`Several`.
        IndexError: A position is out of range, or truth values are not one for each.
    """
    if isinstance(chosen, slice):
        return torch.arange(total)[_forward(chosen, total)]
    try:
        found = torch.as_tensor(chosen).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"expected an index, a slice, numbers or a mask, got {chosen!r}") from error
    if found.numel() == 0 and found.dtype != torch.bool:
        return torch.zeros(0, dtype=torch.int64)
    if found.ndim != 1 or found.is_floating_point() or found.is_complex():
        raise TypeError(
            f"expected an index, a slice, numbers or a mask, got {tuple(found.shape)} {found.dtype}"
        )
    if found.dtype == torch.bool:
        if len(found) != total:
            raise IndexError(f"a mask of {len(found)} does not fit {total} {what}")
        return torch.nonzero(found).flatten()
    found = found.to(torch.int64)
    outside = found[(found < -total) | (found >= total)]
    if len(outside):
        raise IndexError(f"index {int(outside[0])} is out of range for {total} {what}")
    return found % total


def position(index: object, total: int, what: str) -> int | None:
    """The position that a single index names, None where ``index`` is none.

    Raises:
        IndexError: It is out of range.
    """
    if isinstance(index, bool) or (isinstance(index, Tensor) and index.dtype == torch.bool):
        return None
    if isinstance(index, Tensor) and index.ndim:
        return None
    try:
        at = operator.index(index)  # type: ignore[arg-type]
    except TypeError:
        return None
    if not -total <= at < total:
        raise IndexError(f"index {at} is out of range for {total} {what}")
    return at % total


def subset(distilled: "DistilledData", chosen: Several) -> "DistilledData":
    """See :meth:`DistilledData.subset`."""
    picked = positions(chosen, len(distilled.images), "stored images")
    if not len(picked):
        raise ValueError("a distilled set holds at least one image, none was chosen")
    at, origin, weights = picked.to(distilled.images.device), distilled.origin, distilled.weights
    recipe, stored = distilled.recipe, distilled.recipe.augmentations
    if stored is not None:
        each = distilled.factor**2
        rows = (picked[:, None] * each + torch.arange(each)).flatten().to(stored.targets.device)
        recipe = dataclasses.replace(
            recipe, augmentations=StoredAugmentations(stored.parameters[:, rows], stored.targets[:, rows])
        )
    made = distilled.provenance
    strata = distilled.task.strata(distilled.hard_targets.cpu()[picked])
    counts = [len(members) for members in strata.members]
    most, packed, indices = max(counts), distilled.factor**2, distilled.indices
    short = {name: count * packed for name, count in zip(strata.names, counts, strict=True) if count < most}
    whole = len(distilled.images) if made.part_of is None else made.part_of
    return dataclasses.replace(
        distilled,
        images=distilled.images[at],
        targets=distilled.targets[at],
        origin=None if origin is None else origin[at],
        weights=None if weights is None else normalised(weights[at]),
        indices=None if indices is None else indices.view(-1, packed)[at].flatten(),
        recipe=recipe,
        provenance=dataclasses.replace(
            made,
            ipc=most if distilled.task.by_class else 0,
            short_classes=short,
            part_of=whole,
            budget={"images": len(picked)},
        ),
    )


def check_indices(indices: Tensor, views: int) -> None:
    """Raise ``ValueError`` where these are not positions of a real image for each view."""
    if indices.shape != (views,) or indices.dtype != torch.int64 or bool((indices < 0).any()):
        raise ValueError(
            f"expected indices ({views},) int64 of at least 0, one a view, found {tuple(indices.shape)} "
            f"{indices.dtype}"
        )


def _forward(chosen: slice, total: int) -> slice | list[int]:
    """The slice, or the positions where it counts backwards, which tensors do not."""
    start, stop, step = chosen.indices(total)
    return slice(start, stop, step) if step > 0 else list(range(start, stop, step))


def _recipe_on(recipe: Recipe, where: torch.device) -> Recipe:
    stored, teacher = recipe.augmentations, recipe.teacher
    return dataclasses.replace(
        recipe,
        training=_training_on(recipe.training, where),
        teacher=None
        if teacher is None
        else StoredNetwork(teacher.architecture, _on(teacher.weights, where)),
        augmentations=None
        if stored is None
        else StoredAugmentations(stored.parameters.to(where), stored.targets.to(where)),
    )


def _training_on(training: StoredTraining | None, where: torch.device) -> StoredTraining | None:
    if training is None or training.start is None:
        return training
    return dataclasses.replace(training, start=_on(training.start, where))


def _on(tensors: Mapping[str, Tensor], where: torch.device) -> dict[str, Tensor]:
    return {name: value.to(where) for name, value in tensors.items()}
