"""What a network is trained on: images and targets by index, from a tensor or from a real split."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pydistill.data.formation import cut, enlarge, repeat_targets
from pydistill.data.real import RealData, Split
from pydistill.data.weights import check_weights
from pydistill.storage.digests import digest


class Samples(ABC):
    """Training examples, ready as network input, had by index."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""

    @abstractmethod
    def batch(self, indices: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images (M, C, H, W), channels_last, and their targets, both on the device that trains.

        Args:
            indices: (M,) int64 on the CPU; None for all, in their order.
        """

    @abstractmethod
    def weights(self, indices: Tensor | None) -> Tensor | None:
        """(M,) by how much the loss of each image counts, on the device; None: all alike.

        Args:
            indices: Those of :meth:`batch`.
        """

    @property
    @abstractmethod
    def signature(self) -> tuple[object, ...]:
        """What two sets must share to be trained on side by side.

        Size, shape and type of a target, and whether there are weights.
        """

    @property
    @abstractmethod
    def digest(self) -> str:
        """What the examples are, in hexadecimal: equal where images, targets, factor and weights are."""


class TensorSamples(Samples):
    """Images and targets in two tensors, moved to the device once.

    Examples are the images' views, enlarged batch by batch, so that a set stays as small as it is stored.

    Args:
        images: (M, C, H, W) network input, as stored.
        targets: (M, ...) as the task defines them, hard or soft.
        device: Where the network is.
        dtype: What the network computes in.
        factor: Views along each side of a stored image, see :mod:`pydistill.data.formation`.
        weights: (M,) float32, by how much the loss of each counts, of mean 1; None: all alike.

    Raises:
        ValueError: There is no image, or not one target an image, or ``factor`` does not divide its sides,
            or weights are not as said.
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        factor: int = 1,
        weights: Tensor | None = None,
    ) -> None:
        if images.ndim != 4 or not len(images):
            raise ValueError(f"expected images (N, C, H, W), at least one, got {tuple(images.shape)}")
        if len(images) != len(targets):
            raise ValueError(f"expected one target an image, got {len(images)} and {len(targets)}")
        self._factor, self._shape = factor, images.shape[1:]
        self._patches = cut(images.detach().to(device, dtype, memory_format=torch.channels_last), factor)
        self._whole: Tensor | None = None
        targets = repeat_targets(targets.detach().to(device), factor)
        self._targets = targets.to(dtype) if targets.is_floating_point() else targets
        self._weights: Tensor | None = None
        if weights is not None:
            check_weights(weights, len(images))
            self._weights = repeat_targets(weights.detach().to(device, dtype), factor)

    def __len__(self) -> int:
        return len(self._patches)

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self._shape
        return channels, height, width

    def batch(self, indices: Tensor | None) -> tuple[Tensor, Tensor]:
        if indices is None:
            if self._whole is None:  # asked for in every step, of sets that fit into a batch
                self._whole = enlarge(self._patches, self._factor)
            return self._whole, self._targets
        indices = indices.to(self._patches.device)
        return enlarge(self._patches[indices], self._factor), self._targets[indices]

    def weights(self, indices: Tensor | None) -> Tensor | None:
        if self._weights is None or indices is None:
            return self._weights
        return self._weights[indices.to(self._weights.device)]

    @property
    def signature(self) -> tuple[object, ...]:
        weighed = self._weights is not None
        return len(self), tuple(self._targets.shape[1:]), self._targets.dtype, weighed

    @property
    def digest(self) -> str:
        weights = () if self._weights is None else (self._weights,)
        return f"{digest(self._patches, self._targets, *weights)} {self._factor}"


class SplitSamples(Samples):
    """A split of a real data set, preprocessed batch by batch, so that it stays as small as its pixels."""

    def __init__(
        self,
        data: RealData,
        split: Split,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._data, self._split, self._device, self._dtype = data, split, device, dtype

    def __len__(self) -> int:
        return len(self._split)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._data.shape

    def batch(self, indices: Tensor | None) -> tuple[Tensor, Tensor]:
        chosen = slice(None) if indices is None else indices
        images = self._data.inputs(self._split, chosen, self._device, self._dtype)
        return images, self._split.targets[chosen].to(self._device)

    def weights(self, indices: Tensor | None) -> Tensor | None:
        return None

    @property
    def signature(self) -> tuple[object, ...]:
        targets = self._split.targets
        return len(self), tuple(targets.shape[1:]), targets.dtype, False

    @property
    def digest(self) -> str:
        if self._split is self._data.train:  # the fingerprint covers it, without reading it
            return f"training images of {self._data.fingerprint}"
        return digest(self._split.images, self._split.targets)
