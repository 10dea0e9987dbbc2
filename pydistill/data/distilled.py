"""The result: a small set of images with all that is needed to train on it."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pydistill.data import export, folder_export, parts, store, told, use
from pydistill.data.equality import ByContent
from pydistill.data.folder_export import Loss, Scale
from pydistill.data.formation import check_factor, decode, repeat_targets
from pydistill.data.parts import Several, position, positions
from pydistill.data.pictures import grid, rows, write_picture
from pydistill.data.preprocess import Preprocess
from pydistill.data.provenance import Provenance
from pydistill.data.recipe import Recipe
from pydistill.data.weights import check_weights
from pydistill.nets import Network
from pydistill.storage.files import is_there
from pydistill.tasks import Task
from pydistill.tasks.base import Kind

LabelKind: TypeAlias = Literal["classes", "probabilities", "values", "augmentations"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DistilledData(ByContent, Dataset[tuple[Tensor, Tensor]]):
    """What one trains on in place of the real data.

    As a ``torch`` data set its items are the pairs of :meth:`views`, ready for a network. Training goes
    through views, never through ``images``: a stored image decodes into ``factor**2`` of them. An index
    gives a pair, a slice, numbers or a mask a batch of them. Two sets are equal where all they hold is,
    bit for bit, on whatever device.

    Attributes:
        images: (M, C, H, W) float32, contiguous, network input (preprocessed pixels), as stored.
        targets: (M,) int64 class indices, or (M, K) float32 soft targets, one a stored image:
            probabilities, or values to regress where the recipe's loss is ``squared``.
        task: What a target is.
        preprocess: From pixels to network input: what real images must go through beside these.
        augment: The augmentation to train with, for example ``color_crop_cutout_flip_scale_rotate``, or
            ``none``.
        learning_rate: The rate to train with where the method learned one, else None.
        provenance: How it came to be.
        factor: Views along each side of a stored image, see :mod:`pydistill.data.formation`; 1: the stored
            images are the views.
        recipe: What else was learned or decided, see :class:`~pydistill.data.recipe.Recipe`.
        origin: (M,) int64, the class that each stored image was made for, where targets were learned or
            given by a network; None where they are classes themselves, or not known.
        weights: (M,) float32 of at least 0 and mean 1, one a stored image: factors of the images' losses in
            every training on the set; None: all alike.
        indices: (M * factor**2,) int64, of each view's image its position in the training split, where the
            set is made of real images that a selector chose; None elsewhere.

    Raises:
        ValueError: The parts do not fit each other, or hold values that are not finite.
        TypeError: ``factor`` is not an integer.
        DataError: Targets do not fit the task.
    """

    images: Tensor
    targets: Tensor
    task: Task
    preprocess: Preprocess
    augment: str
    learning_rate: float | None
    provenance: Provenance
    factor: int = 1
    recipe: Recipe = field(default_factory=Recipe)
    origin: Tensor | None = None
    weights: Tensor | None = None
    indices: Tensor | None = None

    def __post_init__(self) -> None:
        images, rate = self.images, self.learning_rate
        if images.ndim != 4 or images.dtype != torch.float32:
            raise ValueError(
                f"expected images (M, C, H, W) float32, found {tuple(images.shape)} {images.dtype}"
            )
        if not len(images) or not bool(images.isfinite().all()):
            raise ValueError(
                "expected at least one image and only finite values, found none or NaN or infinity"
            )
        if not self.preprocess.fits(_shape(images)):
            raise ValueError(
                f"the {self.preprocess.name} preprocessing is not of images of shape {_shape(images)}"
            )
        check_factor(self.factor, images.shape)
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"expected a learning rate above 0, found {rate}")
        if self.origin is not None:
            self.task.check(images, self.origin, "distilled set's classes of origin")
        if self.weights is not None:
            check_weights(self.weights, len(images))
        if self.indices is not None:
            parts.check_indices(self.indices, len(self))
        if self.kind == "hard":
            if self.recipe.loss == "squared":
                raise ValueError("a set whose loss is squared has float values as targets, found classes")
            self.task.check(images, self.targets, "distilled set")
        else:
            self.task.check_soft(images, self.targets)

    def views(self) -> tuple[Tensor, Tensor]:
        """What networks are trained on: images (V, C, H, W) float32 and their targets (V,) or (V, K).

        V is M * factor**2; the views of one stored image follow each other. At factor 1 they are the stored
        images themselves.
        """
        return decode(self.images, self.factor), repeat_targets(self._items, self.factor)

    def view_weights(self) -> Tensor:
        """(V,) float32 factors of the losses of :meth:`views`; 1 each where all are alike."""
        if self.weights is None:
            return torch.ones(len(self), device=self.images.device)
        return repeat_targets(self.weights, self.factor)

    @property
    def _items(self) -> Tensor:
        """(M, ...) targets as they are handed out: values to regress marked as such."""
        return self.targets.as_subclass(use.Values) if self.label_kind == "values" else self.targets

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """The training loss that the set's targets are meant for, a scalar.

        Args:
            outputs: (N, K) of a network.
            targets: (N,) or (N, K), of the set's own items or views.
            weights: (N,) of :meth:`view_weights`, factors of the images' losses before their mean is taken;
                None: 1 each.

        Raises:
            ValueError: Shapes do not fit each other.
            TypeError: Classes where the set has values to regress, or the reverse.
        """
        return use.loss(self, outputs, targets, weights)

    def augmentation(self) -> use.SetAugmentation:
        """What to train with: a batch and a generator go in, the augmented batch comes out."""
        return use.augmentation(self.augment, self.task)

    def optimiser_settings(self) -> dict[str, float]:
        """``lr``, ``momentum``, ``weight_decay`` for ``torch.optim.SGD``; a learned rate or a usual one."""
        return use.optimiser_settings(self)

    def targets_for(self, loss: str) -> Tensor:
        """Targets of the views in the form that a loss takes.

        Args:
            loss: ``cross_entropy``: (V,) classes or (V, K) probabilities; of values to regress, classes.
                ``squared``: (V, K) values of mean 0.
        """
        return use.targets_for(self, loss)

    def teacher(self, device: torch.device | str = "cpu") -> Network | None:
        """The network that is kept with the set as its teacher."""
        kept = self.recipe.teacher
        return None if kept is None else kept.build(self.shape, self.task.outputs, device)

    def regressed(self) -> Tensor:
        """(V, K) what kernel ridge regression on the views regresses: values of mean 0 over classes.

        Classes are one-hot rows less 1 / K, as are probabilities; values to regress are taken as they are.
        """
        targets = repeat_targets(self.targets, self.factor)
        return targets if self.label_kind == "values" else self.task.values(targets)

    def __len__(self) -> int:
        return len(self.images) * self.factor**2

    def __getitem__(self, index: int | Several) -> tuple[Tensor, Tensor]:
        at = position(index, len(self), "views")
        if at is not None:
            stored, view = divmod(at, self.factor**2)
            return decode(self.images[stored : stored + 1], self.factor)[view], self._items[stored]
        several: Any = index
        picked = positions(several, len(self), "views").to(self.images.device)
        if self.factor == 1:
            return self.images[picked], self._items[picked]
        stored, inverse = torch.unique(picked // self.factor**2, return_inverse=True)
        views = decode(self.images[stored], self.factor)
        found = views[inverse * self.factor**2 + picked % self.factor**2]
        return found, self._items[picked // self.factor**2]

    def __repr__(self) -> str:
        return told.distilled_line(self)

    def _repr_html_(self) -> str:
        return told.distilled_html(self)

    def subset(self, chosen: Several) -> "DistilledData":
        """A set of some of the stored images, all else as it is; its provenance says that it is a part.

        Weights keep their proportions and have mean 1 again.

        Args:
            chosen: A slice, numbers, or a truth value for each stored image.

        Raises:
            IndexError: A number is out of range.
            ValueError: None is chosen, or none of a weight above 0.
        """
        return parts.subset(self, chosen)

    def to(self, device: torch.device | str) -> "DistilledData":
        """The same set with every tensor on ``device``: views, targets, networks, preprocessing."""
        return parts.moved(self, device)

    def cpu(self) -> "DistilledData":
        """The same set in the processor's memory."""
        return self.to("cpu")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a stored image and of a view alike."""
        return _shape(self.images)

    @property
    def hard_targets(self) -> Tensor:
        """(M, ...) targets as the real data has them.

        A stored image's own where they are such, else what it was made for; of sets that do not know it,
        what its targets make most probable.
        """
        if self.kind == "hard":
            return self.targets
        return self.task.hard(self.targets) if self.origin is None else self.origin

    @property
    def classes(self) -> Tensor:
        """(M,) int64: the class that each stored image is of, see :attr:`hard_targets`.

        Raises:
            ValueError: An image is of no one class in this task.
        """
        self.task.require_by_class("the class of a stored image")
        return self.hard_targets

    @property
    def images_a_class(self) -> list[int]:
        """Stored images of each class, or that hold something of it, by :attr:`hard_targets`."""
        return [len(members) for members in self.task.groups(self.hard_targets.cpu()).members]

    @property
    def kind(self) -> Kind:
        """What targets are: as the real data has them (``hard``), ``soft``, or ``values`` to regress."""
        return self.task.kind(self.targets, self.recipe.loss)

    @property
    def label_kind(self) -> LabelKind:
        """What is learned from where the set is used as stored.

        ``classes``; ``probabilities``; ``values`` to regress by the squared error; ``augmentations``:
        probabilities of stored augmentations.
        """
        if self.recipe.augmentations is not None:
            return "augmentations"
        names: dict[Kind, LabelKind] = {"soft": "probabilities", "values": "values"}
        return names.get(self.kind, "classes")

    def with_classes(self) -> "DistilledData":
        """The same images with their classes as targets, for the task's own loss.

        What belongs to learned targets stays behind with them: stored augmentations, and a learning rate
        that was learned together with them. A set whose targets are classes already comes back as it is.
        """
        if self.label_kind == "classes":
            return self
        recipe = dataclasses.replace(self.recipe, loss="task", augmentations=None)
        changes: dict[str, Any] = {"origin": None, "learning_rate": None, "recipe": recipe}
        return dataclasses.replace(self, targets=self.hard_targets, **changes)

    @property
    def nbytes(self) -> dict[str, int]:
        """Bytes that it takes to keep: images, targets, weights, rates, networks, ..., and the total.

        Classes of origin beside learned targets are not counted: no use of the set needs both.
        """
        parts = {
            "images": self.images.nbytes,
            "targets": self.targets.nbytes,
            "weights": 0 if self.weights is None else self.weights.nbytes,
            "rates": (0 if self.learning_rate is None else 8) + self.recipe.nbytes["rates"],
            "networks": self.recipe.nbytes["networks"],
            "augmentations": self.recipe.nbytes["augmentations"],
            "preprocess": sum(value.nbytes for value in self.preprocess.tensors().values()),
        }
        return {**parts, "total": sum(parts.values())}

    def pixels(self) -> Tensor:
        """Stored images (M, C, H, W) float32 as pixels; learned ones may leave [0, 1].

        ``preprocess.apply`` of them gives ``images`` again. Where that is a whitening and ``factor`` is
        above 1, the patches of a stored image bleed into each other here: a whitening mixes all its pixels.
        """
        return self.preprocess.invert(self.images)

    def save(self, folder: Path | str) -> None:
        """Write ``distilled.json`` and the tensor file it names, replacing a set that stood there whole.

        Raises:
            OutputError: It could not be written; a set that stood there before still loads.
        """
        store.save(self, Path(folder))

    @classmethod
    def load(cls, folder: Path | str) -> "DistilledData":
        """Read a saved set, bit for bit as it was; of a folder of exported pictures, what those have of it.

        Raises:
            DataError: There is none.
            FileFormatError: A file is truncated, was altered, or is of another format or version.
        """
        folder = Path(folder)
        if is_there(folder / folder_export.ROOT) and not is_there(folder / store.ROOT):
            return cls.from_folder(folder)
        return store.load(cls, folder)

    def export_folder(self, folder: Path | str, scale: Scale = "clamp") -> Loss:
        """Write stored images as PNG; lossy, see :func:`pydistill.data.folder_export.export_folder`."""
        return folder_export.export_folder(self, Path(folder), scale)

    @classmethod
    def from_folder(cls, folder: Path | str) -> "DistilledData":
        """Read what :meth:`export_folder` wrote, as the pictures have it."""
        return folder_export.from_folder(cls, Path(folder))

    def as_exported(self, scale: Scale = "clamp") -> "DistilledData":
        """The set as its exported pictures have it: evaluated, it shows what they lose."""
        return folder_export.as_exported(self, scale)

    def export_parquet(self, path: Path | str) -> None:
        """Write one exact parquet file, see :func:`pydistill.data.export.export_parquet`."""
        export.export_parquet(self, Path(path))

    @classmethod
    def from_parquet(cls, path: Path | str) -> "DistilledData":
        """Read what :meth:`export_parquet` wrote, bit for bit as it was."""
        return export.from_parquet(cls, Path(path))

    def preview(self, path: Path | str, columns: int = 10) -> None:
        """Write a PNG: a row a class with its name, at most ``columns`` stored images in each.

        Where an image is of no one class, rows follow each other, and targets are drawn into the images.

        Raises:
            ValueError: ``columns`` is below 1.
            OutputError: It could not be written.
        """
        shown = rows(self.task, self.pixels(), self.hard_targets, columns=columns)
        write_picture(grid(shown, columns=columns), Path(path))


def _shape(images: Tensor) -> tuple[int, int, int]:
    channels, height, width = images.shape[1:]
    return channels, height, width
