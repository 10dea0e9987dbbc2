"""Arrays of masks (N, H, W), and of boxes (N, B, 5) or a list of (B, 5), beside arrays of images."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pydistill.data.sources.base import Options
from pydistill.data.sources.boxes import Objects, understand_boxes
from pydistill.data.sources.dense import Dense, dense_splits
from pydistill.data.sources.labels import as_array
from pydistill.data.sources.letterbox import Size
from pydistill.data.sources.mask_classes import understand_masks
from pydistill.data.sources.masks import MaskSplit, Values, from_arrays
from pydistill.data.sources.pixels import letterboxed
from pydistill.errors import DataError

Whole: TypeAlias = tuple[Tensor, list[Size]]
"""Images (N, C, H, W), and the height and width that each had before it was scaled."""
_COLUMNS = 5
"""Class, x, y, width, height."""
_PADDING = -1


def may_be_dense(targets: Any) -> bool:
    """Whether targets have more axes than classes, one-hot rows among them, have."""
    array = _array(targets)
    return array.ndim > 2 or _are_boxes(array)


def kind_of(images: Tensor, targets: Any, options: Options, where: str) -> str:
    """What targets are: classes, masks or boxes, by their shape.

    Args:
        images: (N, C, H, W).
        targets: Of the training split.
        options: ``task`` decides where both would do.
        where: What they are called in a message.

    Raises:
        DataError: They are not what ``options.task`` asks for, or may be masks as well as boxes.
    """
    array = _array(targets)
    possible = []
    if array.dtype.kind in "iub" and _plane(array).shape[1:] == tuple(images.shape[2:]):
        possible.append("segmentation")
    if _are_boxes(array):
        possible.append("detection")
    if options.task is not None:
        if options.task not in (possible or ["classification"]):
            raise DataError(
                f"{where} cannot be read for task={options.task!r}, being of shape {array.shape}, "
                f"{array.dtype}: expected masks (N, H, W) of whole numbers for segmentation, (N, B, 5) of "
                "class, x, y, width and height for detection, one class an image for classification"
            )
        return options.task
    if len(possible) > 1:
        raise DataError(
            f"{where} of shape {array.shape} may be masks or boxes: give task='segmentation' or "
            "task='detection' (--task)"
        )
    return possible[0] if possible else "classification"


def _array(targets: Any) -> npt.NDArray[Any]:
    """Targets as one array; a list of arrays (B, 5) of different lengths as one of objects."""
    if isinstance(targets, list | tuple) and targets and all(_has_rows(each) for each in targets):
        parts = [as_array(each) for each in targets]
        if len({part.shape for part in parts}) == 1:
            return np.stack(parts)
        made = np.empty(len(parts), object)
        for at, part in enumerate(parts):
            made[at] = part
        return made
    return as_array(targets)


def _has_rows(each: Any) -> bool:
    return isinstance(each, np.ndarray | Tensor) and each.ndim > 1


def _plane(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Masks (N, H, W), of (N, 1, H, W) or (N, H, W, 1) too."""
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):
        return array.squeeze(1 if array.shape[1] == 1 else 3)
    return array


def _are_boxes(array: npt.NDArray[Any]) -> bool:
    if array.dtype != object:
        return array.ndim == 3 and array.shape[2] == _COLUMNS
    shapes = [getattr(each, "shape", None) for each in array.flat]
    return bool(shapes) and all(
        shape is not None and len(shape) == 2 and shape[1] == _COLUMNS for shape in shapes
    )


def whole(images: Tensor, size: Size | None) -> Whole:
    """Images (N, C, H, W), letter-boxed where ``size`` is given, and the size that each had."""
    shapes = [(images.shape[2], images.shape[3])] * len(images)
    if size is None or not len(images):
        return images, shapes
    return torch.cat([letterboxed(part, size) for part in torch.split(images, 1024)]), shapes


def read_dense(
    name: str, images: Mapping[str, Whole], targets: Mapping[str, Any], kind: str, options: Options
) -> Dense:
    """Splits of images and masks or boxes; those without targets (None) are left out.

    Args:
        name: Of the source, for messages.
        images: Of every split with targets, see :func:`whole`.
        targets: Masks or boxes of every image.
        kind: The task.
        options: As the caller gave them.

    Raises:
        DataError: Targets do not fit the images, or are wrong; split and image are named.
    """
    notes = [f"task: {kind}, by the shape of the targets"] if options.task is None else []
    known = {split: found for split, found in targets.items() if found is not None}
    lacking = [split for split in targets if split not in known]
    notes += [f"the {split} split of the source has no targets: it is left out" for split in lacking]
    for split, found in known.items():
        if len(images[split][0]) != len(found):
            raise DataError(f"{name}, {split}: {len(images[split][0])} images but targets of {len(found)}")
    pictures = {split: images[split][0] for split in known}
    shapes = {split: images[split][1] for split in known}
    if kind == "detection":
        objects = {split: _objects(found, f"{name}, {split}") for split, found in known.items()}
        boxes = understand_boxes(objects, shapes, options)
        return dense_splits(pictures, boxes, notes, shapes, options.size)
    values = Values()
    masks: dict[str, MaskSplit] = {}
    for split, found in known.items():
        titles = [f"{name}, {split}, image {at}" for at in range(len(found))]
        each = found if isinstance(found, list | tuple) else _plane(as_array(found))
        masks[split] = from_arrays(map(as_array, each), titles, shapes[split], options.size, values)
    read = understand_masks(masks, values, options, None, (name,))
    return dense_splits(pictures, read, notes, shapes, options.size)


def _objects(found: Any, where: str) -> list[Objects]:
    """Rows of every image but padding; classes that are whole numbers as such."""
    made = []
    for at, each in enumerate(found):
        rows = as_array(each).astype(np.float64)
        rows = rows[rows[:, 0] != _PADDING]
        labels = [int(row) if np.isfinite(row) and row == int(row) else float(row) for row in rows[:, 0]]
        made.append(Objects(f"{where}, image {at}", rows[:, 1:].tolist(), labels))
    return made
