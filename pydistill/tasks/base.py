"""What a target is, its loss and its metric. Methods and evaluation talk to a task, never to labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from pydistill.seeds import derive
from pydistill.tasks.label_doubts import LabelDoubts
from pydistill.tasks.metric import Metric

Kind: TypeAlias = Literal["hard", "soft", "values"]
"""What targets are: as the real data has them, probabilities, or values to regress."""
EVERY = "all"
"""Name of the one group that a budget is shared out over where an image is of no one class."""
_NAMED = 200
"""Most groups that an error names."""


@dataclass(frozen=True)
class Draw:
    """Images drawn group by group.

    Attributes:
        indices: (M,) int64, positions in the split, all of group 0 first, then group 1, and so on.
        groups: (M,) int64, the group each was drawn for.
    """

    indices: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Groups:
    """Which images of a split belong to which group (a class, where the task is classification).

    Attributes:
        names: One name a group.
        members: One ascending int64 tensor of image positions a group; an image may be in several.
    """

    names: tuple[str, ...]
    members: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def overlap(self) -> bool:
        """Whether an image is in several groups."""
        every = torch.cat(self.members)
        return len(torch.unique(every)) < len(every)

    def draw(
        self, each: int | Sequence[int], generator: torch.Generator, *, strict: bool, packed: int = 1
    ) -> Draw:
        """``each * packed`` different images of every group, uniformly at random.

        Where groups overlap no image is drawn twice: the smallest group chooses first.

        Args:
            each: How many stored images a group: one number for all, at least 1, or one for each, from 0.
            generator: The CPU generator that decides.
            strict: Refuse where a group is smaller than that; otherwise take the whole group.
            packed: How many real images go into a stored one.

        Raises:
            ValueError: ``each`` is below 1, or ``strict`` and groups are too small (they are named), or
                have too few images that no other group was given.
        """
        if isinstance(each, int):
            if each < 1:
                raise ValueError(f"expected at least 1 image a group, got {each}")
            each = [each] * len(self)
        if strict:
            self.require(each, packed)
        orders = [torch.randperm(len(member), generator=generator) for member in self.members]
        wanted = [count * packed for count in each]
        picks = (
            self._apart(orders, wanted, strict)
            if self.overlap
            else [
                member[order[:count]]
                for member, order, count in zip(self.members, orders, wanted, strict=True)
            ]
        )
        return Draw(
            torch.cat(picks), torch.cat([torch.full_like(pick, at) for at, pick in enumerate(picks)])
        )

    def _apart(self, orders: Sequence[Tensor], wanted: Sequence[int], strict: bool) -> list[Tensor]:
        """The first images of each order that no smaller group was given."""
        taken: set[int] = set()
        picks: dict[int, Tensor] = {}
        for at in sorted(range(len(self)), key=lambda group: (len(self.members[group]), group)):
            left = [image for image in self.members[at][orders[at]].tolist() if image not in taken]
            if strict and len(left) < wanted[at]:
                raise ValueError(
                    f"{wanted[at]} images of {self.names[at]!r} asked for, but of its {len(orders[at])} "
                    f"only {len(left)} are not drawn for another class: ask for fewer"
                )
            chosen = left[: wanted[at]]
            taken.update(chosen)
            picks[at] = torch.tensor(chosen, dtype=torch.int64)
        return [picks[at] for at in range(len(self))]

    def short(self, each: Sequence[int], packed: int = 1) -> dict[str, int]:
        """Images of every group that has fewer than ``each * packed``, by its name."""
        groups = zip(self.names, self.members, each, strict=True)
        return {name: len(member) for name, member, count in groups if len(member) < count * packed}

    def stored(self, each: Sequence[int], packed: int = 1) -> list[int]:
        """Stored images of every group where ``each`` are asked for and a small group gives what it has."""
        return [
            min(count, -(-len(member) // packed)) for member, count in zip(self.members, each, strict=True)
        ]

    def require(self, each: Sequence[int], packed: int = 1) -> None:
        """Raise ``ValueError`` naming every group that has fewer than ``each * packed`` images."""
        short = self.short(each, packed)
        if not short:
            return
        named = ", ".join(f"{name!r} ({size})" for name, size in list(short.items())[:_NAMED])
        found = f"classes {named} have fewer training images"
        if len(short) == 1:
            found = "class {!r} has only {} training images".format(*next(iter(short.items())))
        elif len(short) > _NAMED:
            found = f"classes {named} and {len(short) - _NAMED} more have fewer training images"
        kind = "" if packed == 1 else f", each packed of {packed} real ones,"
        most = min(short.values()) // packed
        instead = f"ask for at most {most}" if most else "ask for a smaller factor"
        raise ValueError(
            f"{max(each)} images a class{kind} asked for, but {found}: {instead}, or go on with what there "
            "is in such a class (short_classes='keep', --short-classes keep)"
        )


class Movement(Protocol):
    """Where an augmentation moves the pixels of a batch of images, for targets to follow."""

    def sample(self, maps: Tensor, fill: float) -> Tensor:
        """Maps (N, H, W) or (N, K, H, W), of the images' size or coarser, moved by nearest neighbour.

        Args:
            maps: Of any type.
            fill: What stands where the image is uncovered.
        """

    def boxes(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (N, B, 4) float x, y, w, h in pixels, moved.

        Returns:
            The upright boxes around them, clipped to the image, and (N, B) the share of each moved box that
            lies inside.
        """


@dataclass(frozen=True)
class Task(ABC):
    """One kind of problem. A method that uses only these calls serves every task.

    Targets are one tensor whose first axis is the image; what the other axes hold is the task's own.

    Attributes:
        class_names: One name a class, in the order of the class indices.

    Class attributes:
        name: What it is called.
        metric: The headline of its metric.
        network: The architecture that is trained where none is named.
        augment: Transforms that suit its images and targets.
        by_class: Whether an image is of exactly one class, so that a budget may be by class.
        unit: What :meth:`amounts` counts, in the singular.
        target_names: What targets of each kind are called, for the kinds that there are.
        protocols: What protocols by name change for it, others are not for it; None: all are, as they are.
        measures: What :meth:`measure` gives.
    """

    class_names: tuple[str, ...]

    name: ClassVar[str]
    metric: ClassVar[str]
    network: ClassVar[str]
    augment: ClassVar[tuple[str, ...]] = ("color", "crop", "cutout", "flip", "scale", "rotate")
    by_class: ClassVar[bool] = True
    unit: ClassVar[str] = "image"
    target_names: ClassVar[Mapping[Kind, str]]
    protocols: ClassVar[Mapping[str, Mapping[str, Any]] | None] = None
    measures: ClassVar[tuple[str, ...]] = ("loss",)
    most_shown: ClassVar[int] = 100
    """Groups up to which a breakdown has a confusion matrix: a larger table nobody reads."""

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Its name and those of the tasks it is a kind of: networks and protocols for them are for it."""
        names = (vars(each).get("name") for each in cls.__mro__)
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Channels of a network's output."""

    @abstractmethod
    def check(self, images: Tensor, targets: Tensor, where: str) -> None:
        """Raise :class:`~pydistill.errors.DataError` where targets do not fit images or class names."""

    def check_soft(self, images: Tensor, targets: Tensor) -> None:
        """Raise ``ValueError`` where soft targets or values do not fit images (N, C, H, W)."""
        raise self._without("soft targets")

    @abstractmethod
    def check_outputs(self, outputs: Tensor, images: Tensor) -> None:
        """Raise ``ValueError`` where a network's outputs for images (N, C, H, W) are not of this task."""

    @abstractmethod
    def groups(self, targets: Tensor) -> Groups:
        """The images of a split by class; an image may be in several, or in none."""

    def amounts(self, targets: Tensor) -> Tensor:
        """(N, K) int64: how much of each class an image holds, counted in ``unit``."""
        held = torch.zeros(len(targets), len(self.class_names), dtype=torch.int64, device=targets.device)
        for at, member in enumerate(self.groups(targets).members):
            held[member, at] = 1
        return held

    def shapes(self, targets: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Of every object of a split ``class`` (M,) int64 and measures (M,) float32; empty: there are none.

        ``side``, the root of its area in pixels; ``aspect``, width by height; ``x`` and ``y``, its centre
        as shares of the image's sides; ``overlap``, the largest intersection over union with another object
        of its image.

        Args:
            targets: (N, ...) as the real data has them.
            size: (H, W) of the images.
        """
        return {}

    def doubtful(self, targets: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """(N,) bool by what may be wrong with an image's target, though it can be learned from."""
        return {}

    def label_doubts(self, probabilities: Tensor, targets: Tensor) -> LabelDoubts:
        """Which targets look wrong to networks that were not trained on their images.

        Args:
            probabilities: (N, K).
            targets: (N, ...) as the real data has them.
        """
        raise self._without("one class an image that could be wrong")

    def strata(self, targets: Tensor) -> Groups:
        """What a budget is shared out over: classes where an image is of one, else all images together."""
        if self.by_class:
            return self.groups(targets)
        return Groups((EVERY,), (torch.arange(len(targets)),))

    @abstractmethod
    def group_sums(
        self, features: Tensor, targets: Tensor, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sums of features by group, additive over chunks of a batch and differentiable in ``features``.

        Args:
            features: (N, ...) what a network makes of N images.
            targets: (N, ...) their targets.
            size: (H, W) of the images; needed where features are maps and targets are in pixels.

        Returns:
            sums (G, D) and mass (G,), both in float32 or wider: a group's mean is ``sums / mass``.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean training loss, a scalar; targets hard or soft."""

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N,) training loss of each image; their mean is :meth:`loss` up to rounding."""

    def measure(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is recorded of each image while networks learn it, (N,) by name.

        Args:
            outputs: (N, ...) of a network.
            targets: (N, ...) of the images, as the real data has them.
        """
        return {"loss": self.losses(outputs, targets)}

    def error(self, outputs: Tensor, targets: Tensor, kind: str = "task") -> Tensor:
        """Mean training loss by name.

        ``task`` is :meth:`loss`; ``squared`` the mean squared error over images and outputs, where targets
        are values to regress. Its curvature in the outputs is 2 / K; the cross-entropy's is 1 / K at first,
        so that rates which suit one suit the other.

        Raises:
            ValueError: ``kind`` is not ``task``, and the task has no values to regress.
        """
        if kind == "task":
            return self.loss(outputs, targets)
        if "values" not in self.target_names:
            raise self._without("values to regress")
        return (outputs - targets).square().mean()

    def loss_name(self, kind: str = "task") -> str:
        """What :meth:`error` of a kind is called."""
        return "squared error" if kind == "squared" else "task loss"

    @abstractmethod
    def soft(self, targets: Tensor) -> bool:
        """Whether targets are probabilities or values, and not what the real data has."""

    @abstractmethod
    def make_metric(self) -> Metric:
        """A metric that was given nothing yet."""

    def kind(self, targets: Tensor, loss: str = "task") -> Kind:
        """What targets are for a loss of that name: as the real data has them, probabilities, values."""
        if not self.soft(targets):
            return "hard"
        return "values" if loss == "squared" else "soft"

    def move(self, targets: Tensor, movement: Movement) -> Tensor:
        """Targets of images that were moved; those that name no place stay as they are."""
        return targets

    def pack(self, targets: Tensor, factor: int) -> Tensor:
        """Targets of stored images that hold ``factor**2`` images each, from those of the images in turn.

        Raises:
            ValueError: The task's targets cannot be packed.
        """
        return targets[:: factor**2]

    def picture(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in [0, 1] with targets drawn into them, where they can be."""
        return pixels

    def require_by_class(self, what: str) -> None:
        """Raise ``ValueError`` where an image is not of exactly one class, which ``what`` needs."""
        if not self.by_class:
            raise ValueError(
                f"{what} needs images of one class each, which {self.name} has not: an image may hold "
                "several"
            )

    def column(self, kind: Kind) -> str:
        """The column of a table that holds targets of a kind, a row a stored image."""
        return "target"

    def columns(self, targets: Tensor, hard: Tensor) -> dict[str, Tensor]:
        """Columns of such a table.

        Args:
            targets: (M, ...) of the stored images.
            hard: (M, ...) the same as the real data has them.
        """
        return {"target": targets}

    def annotations(
        self, targets: Tensor, files: Sequence[str], size: tuple[int, int]
    ) -> dict[str, Tensor | dict[str, Any]]:
        """Files to write beside exported pictures, for other programs to read targets from.

        Args:
            targets: (M, ...) as the real data has them.
            files: Paths of the pictures, relative to the folder.
            size: (H, W) of the pictures.

        Returns:
            By path: (H, W) uint8 for a grey PNG, or what JSON holds.
        """
        return {}

    def describe(self) -> dict[str, Any]:
        """As JSON holds it; :func:`pydistill.tasks.restore` is the inverse."""
        return {"name": self.name, "class_names": list(self.class_names)}

    def hard(self, targets: Tensor) -> Tensor:
        """Targets as the real data has them, of soft ones or values the most probable."""
        raise self._without("soft targets")

    def probabilities(self, outputs: Tensor, temperature: float = 1.0) -> Tensor:
        """Soft targets that a network's outputs stand for, the outputs divided by ``temperature``."""
        raise self._without("soft targets")

    def smoothed_logits(self, targets: Tensor) -> Tensor:
        """Outputs whose :meth:`probabilities` are nearly sure of targets: learned labels start there."""
        raise self._without("learned targets")

    def target_probability(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N,) probability that outputs give to the targets of their images."""
        raise self._without("a probability of a target")

    def residuals(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(N, ...) derivatives of each image's loss by its outputs (N, ...), outside any graph."""
        with torch.enable_grad():
            outputs = outputs.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.losses(outputs, targets).sum(), outputs)
        return found

    def outputs_of(self, residuals: Tensor, targets: Tensor) -> Tensor:
        """Outputs (N, K) at which :meth:`losses` of targets have these derivatives (N, K)."""
        raise self._without("outputs that derivatives of its loss tell")

    def values(self, targets: Tensor) -> Tensor:
        """What is regressed for targets, hard or soft, under the squared error: of mean 0 over outputs."""
        raise self._without("values to regress")

    def from_values(self, values: Tensor) -> Tensor:
        """Soft targets of which :meth:`values` gives these values."""
        raise self._without("values to regress")

    def divergence(self, outputs: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
        """(N,) Kullback-Leibler divergence of :meth:`probabilities` of outputs from soft targets.

        In nats; the outputs are divided by ``temperature``, the targets are taken as they are.
        """
        raise self._without("soft targets")

    def mix(self, targets: Tensor, partners: Tensor, share: Tensor) -> Tensor:
        """Soft targets of images that were mixed.

        Args:
            targets: (N, ...) of the images, hard or soft.
            partners: (N, ...) of the images that were mixed into them.
            share: (N,) in [0, 1], of each image that is left of it.
        """
        raise self._without("targets of mixed images")

    def _without(self, what: str) -> ValueError:
        return ValueError(f"{self.name} has no {what}: its targets are {self.target_names['hard']}")

    def hold_out(
        self, targets: Tensor, fraction: float, seed: int, blocks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Split positions into (kept, held out), stratified by group, from a seed.

        A group of two images or more keeps at least one on either side; no image is on both. Where groups
        overlap (an image that holds several classes) the split is by iterative stratification, and a share
        of ``fraction`` of all images is held out, of each group about as much.

        Args:
            targets: Of every image.
            fraction: Held out, within (0, 1).
            seed: Decides which.
            blocks: (N,) int64, the block of each image: those of one (consecutive frames, say) stay on one
                side. None: every image for itself.

        Raises:
            ValueError: ``fraction`` is not within (0, 1), or there are fewer than two blocks.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"expected a validation fraction within (0, 1), got {fraction}")
        held = torch.zeros(len(targets), dtype=torch.bool)
        groups = self.groups(targets)
        if blocks is not None or groups.overlap:
            held = stratified(groups, len(targets), fraction, derive(seed, "hold out"), blocks)
            return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
        generator = torch.Generator().manual_seed(derive(seed, "hold out"))
        for member in groups.members:
            if len(member) > 1:
                count = min(max(round(len(member) * fraction), 1), len(member) - 1)
                held[member[torch.randperm(len(member), generator=generator)[:count]]] = True
        return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


def stratified(
    groups: Groups, images: int, fraction: float, seed: int, blocks: Tensor | None = None
) -> Tensor:
    """(N,) bool: which images are held out, where groups overlap or images come in blocks.

    Iterative stratification: the group of which fewest images are left is shared out first, each of its
    images to the side that still lacks most of that group, then most images.

    [0] K. Sechidis, G. Tsoumakas, I. Vlahavas: On the Stratification of Multi-Label Data. ECML PKDD 2011,
        algorithm 1; images of a block move together here.

    Args:
        groups: Which images belong to which group.
        images: How many there are.
        fraction: Held out.
        seed: Decides ties and the order within a group.
        blocks: (N,) int64, the block of each image; None: every image for itself.

    Raises:
        ValueError: There are fewer than two blocks.
    """
    block = torch.arange(images) if blocks is None else torch.unique(blocks, return_inverse=True)[1]
    count = int(block.max()) + 1 if images else 0
    if count < 2:
        raise ValueError(f"expected at least two {'images' if blocks is None else 'blocks'}, found {count}")
    size = torch.bincount(block, minlength=count).double()
    inside = torch.zeros(count, len(groups), dtype=torch.float64)
    for at, member in enumerate(groups.members):
        inside[:, at] = torch.bincount(block[member], minlength=count).double()
    shares = torch.tensor([1 - fraction, fraction], dtype=torch.float64)
    lacking, lacking_all = shares[:, None] * inside.sum(0), shares * images
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed % 2**63))
    side = torch.full((count,), -1)
    while bool((side < 0).any()):
        free = side < 0
        left = (inside[free] > 0).sum(0)
        rarest = int(torch.where(left > 0, left, count + 1).argmin()) if bool(left.any()) else None
        for each in order.tolist():
            if side[each] >= 0 or (rarest is not None and not inside[each, rarest]):
                continue
            wanted = lacking_all if rarest is None else lacking[:, rarest]
            chosen = int((lacking_all if wanted[0] == wanted[1] else wanted).argmax())
            if lacking_all[chosen] < size[each] / 2:  # that side is full
                chosen = 1 - chosen
            side[each] = chosen
            lacking[chosen] -= inside[each]
            lacking_all[chosen] -= size[each]
    if bool((side == side[0]).all()):  # a small share of few blocks: one goes to the other side
        side[order[0]] = 1 - side[0]
    return side[block] == 1


def require_soft(targets: Tensor, wanted: tuple[int, ...]) -> None:
    """Raise ``ValueError`` where soft targets are not of a shape, not float32 or not finite."""
    found = tuple(targets.shape)
    if found != wanted or targets.dtype != torch.float32:
        raise ValueError(f"expected soft targets {wanted} float32, found {found} {targets.dtype}")
    if not bool(targets.isfinite().all()):
        raise ValueError("expected finite soft targets, found NaN or infinity")


def chunks(total: int, largest: int | None) -> Sequence[slice]:
    """Slices that cover ``range(total)``, none longer than ``largest`` (None: one slice)."""
    step = total if largest is None else largest
    if step < 1:
        return [] if total == 0 else [slice(0, total)]
    return [slice(start, min(start + step, total)) for start in range(0, total, step)]
