"""Any map-style ``torch.utils.data.Dataset`` of (image, label) pairs, or a (train, test) pair of them."""

from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, class_indices
from pydistill.data.sources.pixels import fit, from_array, picture_array
from pydistill.errors import DataError


class TorchDataset(Source):
    """Images may be pictures, (C, H, W) tensors or (H, W[, C]) arrays, before any normalisation.

    Every image is read once, in order. ``classes`` of the data set, where it has them, are the names.
    """

    understands: ClassVar[str] = (
        "a map-style torch.utils.data.Dataset of (image, label), or a (train, test) pair"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names"})

    def recognises(self, source: object) -> bool:
        if isinstance(source, tuple | list):
            return len(source) == 2 and all(isinstance(part, Dataset) for part in source)
        return isinstance(source, Dataset)

    def read(self, source: object, options: Options) -> Raw:
        sets: list[Any] = list(source) if isinstance(source, tuple | list) else [source]
        names = options.class_names or getattr(sets[0], "classes", None)
        images, labels = {}, {}
        for split, found in zip(("train", "test"), sets, strict=False):
            images[split], labels[split] = _collect(found, split, options)
        targets, task = class_indices(labels, None if names is None else tuple(map(str, names)))
        splits = {key: Split(images[key], targets[key]) for key in images}
        return Raw(type(sets[0]).__name__, task, splits["train"], test=splits.get("test"))


def _collect(found: Any, split: str, options: Options) -> tuple[Tensor, Any]:
    if not hasattr(found, "__len__"):
        raise DataError(f"{split}: {type(found).__name__} has no length: expected a map-style data set")
    images: list[Tensor] = []
    labels: list[Any] = []
    for at in range(len(found)):
        item = found[at]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                f"{split}: item {at} is a {type(item).__name__}, expected a pair (image, label)"
            )
        image = _image(item[0], f"{split}, item {at}")
        image = image if options.size is None else fit(image, options.size)
        if images and image.shape != images[0].shape:
            raise DataError(
                f"{split}: item {at} has shape {tuple(image.shape[1:])}, but item 0 "
                f"{tuple(images[0].shape[1:])}: give size=(height, width) to scale and crop them"
            )
        images.append(image)
        labels.append(item[1].item() if isinstance(item[1], Tensor | np.generic) else item[1])
    if not images:
        return torch.empty(0, 1, 1, 1, dtype=torch.uint8), np.empty(0, np.int64)
    if any(not isinstance(label, int | str) for label in labels):
        strange = next(label for label in labels if not isinstance(label, int | str))
        raise DataError(f"{split}: expected an integer or text a label, found {strange!r}")
    return torch.cat(images), np.asarray(labels)


def _image(value: Any, where: str) -> Tensor:
    if isinstance(value, Image.Image):
        try:
            value = picture_array(value)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
    if not isinstance(value, Tensor | np.ndarray) or value.ndim not in (2, 3):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor | np.ndarray) else ""
        raise DataError(
            f"{where}: expected a picture, a (C, H, W) tensor or an (H, W, C) array, found "
            f"{type(value).__name__}{shape}"
        )
    return from_array(value[None], "NCHW" if isinstance(value, Tensor) else "NHWC", where)
