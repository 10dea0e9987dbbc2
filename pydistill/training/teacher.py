"""Targets from a bigger model: what a teacher says of a distilled set's images, in place of its own.

[0] G. Hinton, O. Vinyals, J. Dean: Distilling the Knowledge in a Neural Network. arXiv:1503.02531: soft
    targets at a temperature.
[1] Z. Shen, E. Xing: A Fast Knowledge Distillation Framework for Visual Recognition. ECCV 2022,
    arXiv:2112.01528: targets of augmentations, kept with their parameters.
"""

import dataclasses

import torch
from torch import Tensor

from pydistill import checks, nets, seeds
from pydistill.augment import Augmentation
from pydistill.data.distilled import DistilledData
from pydistill.data.formation import decode
from pydistill.data.provenance import JSON
from pydistill.data.recipe import Recipe, StoredAugmentations, StoredNetwork
from pydistill.modes import plain_modes
from pydistill.tasks import Task
from pydistill.tasks.base import chunks

KINDS = ("hard", "soft", "augmentations")
_AT_ONCE = 256


@plain_modes()
def relabel(
    distilled: DistilledData,
    teacher: nets.Network,
    kind: str = "soft",
    *,
    temperature: float = 1.0,
    draws: int = 10,
    seed: int = 0,
    keep_teacher: bool = False,
) -> DistilledData:
    """The same images with a teacher's targets.

    Soft targets and augmentations take bytes, which the set's ``nbytes`` count and a report shows. The
    class that each image was made for is kept beside them, and the set's provenance records how it was
    relabelled.

    Args:
        distilled: The set; its own targets are left behind, its learning rate and augmentation stay.
        teacher: A network trained on the real data, preprocessed as the set was.
        kind: ``hard``: the most probable class of each stored image (over its views, where there are
            several). ``soft``: probabilities of each stored image, averaged over its views.
            ``augmentations``: as many as ``draws`` of each view are drawn and kept, each with its own
            probabilities ([1]).
        temperature: Logits are divided by it.
        draws: Augmentations of each view, under ``augmentations``.
        seed: What they derive from.
        keep_teacher: Keep the teacher with the set, so that an evaluation can give random selections the
            same teacher's targets; its weights count in the set's bytes.

    Raises:
        ValueError: The kind is unknown, a number is out of range, the teacher is for other images or
            classes, or it is to be kept in a set whose kernel is of another one.
    """
    checks.choice("kind", kind, KINDS)
    checks.number("temperature", temperature, above=0)
    checks.integer("draws", draws, 1)
    if kind == "augmentations":
        distilled.task.require_by_class("relabelling stored augmentations")
    expected = (distilled.shape, distilled.task.outputs)
    if (teacher.shape, teacher.outputs) != expected:
        raise ValueError(
            f"the teacher is for images of shape {teacher.shape} and {teacher.outputs} classes, "
            f"the set has {expected[0]} and {expected[1]}"
        )
    weights = {name: value.detach().cpu() for name, value in teacher.state_dict().items()}
    network = StoredNetwork(str(teacher.spec), weights)
    record: dict[str, JSON] = {
        "kind": kind,
        "teacher": network.architecture,
        "teacher_sha256": network.digest(),
        "temperature": temperature,
        **({"draws": draws, "seed": seed} if kind == "augmentations" else {}),
    }
    answers = Answers(teacher, distilled.task, temperature)
    stored = None
    if kind == "augmentations":
        stored = answers.augmented(distilled.views()[0], distilled.augment, draws, seed)
        targets = _of_stored(stored.targets.mean(0), distilled.factor)
    else:
        targets = answers.of_stored(distilled.images, distilled.factor)
    return dataclasses.replace(
        distilled,
        targets=distilled.task.hard(targets) if kind == "hard" else targets,
        recipe=_recipe(distilled.recipe, network, temperature, stored, keep_teacher),
        origin=_origin(distilled),
        provenance=dataclasses.replace(distilled.provenance, relabelled=record),
    )


def _origin(distilled: DistilledData) -> Tensor | None:
    """The class that each image was made for; None where an image is of no one class."""
    if distilled.origin is not None or not distilled.task.by_class:
        return distilled.origin
    return distilled.classes


def _recipe(
    recipe: Recipe,
    network: StoredNetwork,
    temperature: float,
    stored: StoredAugmentations | None,
    keep: bool,
) -> Recipe:
    kept = recipe.teacher
    same = kept is not None and kept.digest() == network.digest()
    if keep and kept is not None and not same and (recipe.kernel or "").startswith("teacher"):
        raise ValueError(
            f"the set keeps another teacher, {kept.architecture}, for its kernel {recipe.kernel}: "
            "leave keep_teacher out"
        )
    return dataclasses.replace(
        recipe,
        augmentations=stored,
        loss="task",
        teacher=network if keep else kept,
        temperature=temperature if keep or same else recipe.temperature,
    )


def labeller(distilled: DistilledData, device: torch.device | str = "cpu") -> "Answers | None":
    """What can give other images targets as the set's own were given: a network that is kept with it.

    None where no network is kept, or another one than gave the targets.
    """
    kept, record = distilled.recipe.teacher, distilled.provenance.relabelled
    if kept is None or (record is not None and record["teacher_sha256"] != kept.digest()):
        return None
    network = kept.build(distilled.shape, distilled.task.outputs, device)
    return Answers(network, distilled.task, distilled.recipe.temperature)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a network says of images, as targets.

    Attributes:
        network: The network; its mode is left as it was found.
        task: Turns outputs into targets.
        temperature: Outputs are divided by it.
    """

    network: nets.Network
    task: Task
    temperature: float = 1.0

    @plain_modes(gradients=False)
    def of(self, images: Tensor) -> Tensor:
        """(N, K) for network input (N, C, H, W), on the CPU."""
        device, training = next(self.network.parameters()).device, self.network.training
        self.network.eval()
        try:
            parts = [
                self.task.probabilities(self.network(images[part].to(device)), self.temperature).cpu()
                for part in chunks(len(images), _AT_ONCE)
            ]
        finally:
            self.network.train(training)
        return torch.cat(parts)

    def of_stored(self, images: Tensor, factor: int) -> Tensor:
        """(M, K) for stored images (M, C, H, W), the mean over the views of each."""
        return _of_stored(self.of(decode(images, factor)), factor)

    def augmented(self, images: Tensor, augment: str, draws: int, seed: int) -> StoredAugmentations:
        """Augmentations of views (V, C, H, W), each with what is said of it."""
        augmentation, size = Augmentation.parse(augment), (images.shape[2], images.shape[3])
        parameters, targets = [], []
        for draw in range(draws):
            generator = seeds.generator(seed, "stored views", draw)
            drawn = augmentation.sample(len(images), generator, together=False, size=size)
            parameters.append(drawn.values)
            targets.append(self.of(augmentation.apply_images(images, drawn)))
        return StoredAugmentations(torch.stack(parameters), torch.stack(targets))


def _of_stored(targets: Tensor, factor: int) -> Tensor:
    """(M, K) for stored images, the mean of (V, K) over their views."""
    return targets.view(-1, factor**2, *targets.shape[1:]).mean(1)
