"""What is trained and how, and what came of it: the records that the trainer takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from pydistill.data.recipe import StoredAugmentations
from pydistill.optim import Optimiser, Sgd, Tensors
from pydistill.tasks import Teacher
from pydistill.training.samples import Samples


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        steps: Steps of the optimiser.
        batch_size: Images a step; a smaller set is taken whole, the last batch of an epoch may be smaller.
        optimiser: Moves the parameters.
        learning_rate: The first rate, unless a job has its own.
        schedule: A name of :data:`~pydistill.optim.schedules.SCHEDULES`.
        precision: ``bfloat16`` computes the forward pass, and so the backward one, under autocast: weights,
            their gradients, the optimiser and the loss stay what they are. About twice as fast on
            processors that multiply bfloat16. ``auto``: bfloat16 there, float32 elsewhere.
        mix: As :func:`pydistill.training.mixing.parse_mixing` takes it: ``none``, or how the images of each
            batch are mixed.
        average: Decay of a moving average of the weights, see
            :class:`pydistill.training.averaging.WeightAverage`: the average is what is trained; 0: the last
            weights.
    """

    steps: int
    batch_size: int = 256
    optimiser: Optimiser = field(default_factory=lambda: Sgd(momentum=0.9, weight_decay=5e-4))
    learning_rate: float = 0.01
    schedule: str = "step"
    precision: str = "float32"
    mix: str = "none"
    average: float = 0.0


@dataclass(frozen=True)
class TrainingJob:
    """One network to train.

    Attributes:
        samples: What it is trained on.
        seed: Its initial weights, order of images and augmentation derive from it.
        augment: A description that :meth:`pydistill.augment.Augmentation.parse` takes.
        learning_rate: Replaces the training's first rate.
        start: Initial parameters and buffers by name, to go on from instead of fresh ones; they are copied.
        loss: As :func:`pydistill.tasks.parse_loss` takes it.
        augmentations: Augmentations with targets of their own, one draw an epoch in turn, in place of
            ``augment`` and the samples' targets.
        teacher: Whom the loss asks of each batch as it is trained on; None: nobody. In evaluation mode.
    """

    samples: Samples
    seed: int
    augment: str = "none"
    learning_rate: float | None = None
    start: Mapping[str, Tensor] | None = None
    loss: str = "task"
    augmentations: StoredAugmentations | None = None
    teacher: Teacher | None = None


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        parameters: By name.
        buffers: By name, for example the running statistics of batch normalisation.
        loss: Training loss of the last batch, before the last step.
        seconds: Wall time; that of an ensemble is shared out evenly.
        execution: ``loop`` or ``ensemble``.
    """

    parameters: Tensors
    buffers: Tensors
    loss: float
    seconds: float
    execution: str
