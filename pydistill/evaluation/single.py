"""Training one network on a distilled set, as evaluation trains its networks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pydistill import nets, seeds
from pydistill.data.distilled import DistilledData
from pydistill.errors import PydistillError
from pydistill.evaluation.protocol import STORED, Protocol, require_network, suited
from pydistill.events import Event, Progress
from pydistill.machine import resolve_device, slow_precision, tell
from pydistill.training.samples import TensorSamples
from pydistill.training.trainer import TrainingJob
from pydistill.training.trainer import train as train_jobs

if TYPE_CHECKING:
    from pydistill.training.trainer import StepInfo

_EVENTS = 20


def train(
    small: DistilledData,
    network: str | nn.Module,
    protocol: Protocol | str = "quick",
    *,
    seed: int = 0,
    device: str = "auto",
    on_event: Callable[[Event], None] | None = None,
    **changes: Any,
) -> nn.Module:
    """Train a network on a distilled set: with its targets, loss, views, weights, augmentation and rate.

    The training is that of :func:`pydistill.evaluate` under the same protocol, and of the same seed that of
    its first network, to the bit. ``labels="classes"`` trains with the images' classes instead of the set's
    own targets.

    Args:
        small: The set.
        network: A description such as ``convnet:width=64``, built from ``seed``; or a module of your own,
            which is trained itself, from the weights it has. It takes images (N, C, H, W) and gives (N, K).
        protocol: Steps, batch size, optimiser, rate and schedule; a name or a protocol.
        seed: Initial weights, order of images and augmentation derive from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        on_event: Told of :class:`~pydistill.events.Progress`.
        **changes: To single settings of the protocol, such as ``epochs=100``.

    Returns:
        The network, on the device, in evaluation mode.

    Raises:
        ValueError: The network does not fit the set's images or classes, or an argument is wrong.
        TypeError: ``network`` is neither a description nor a module.
        DivergenceError: Its training diverged.
    """
    if not isinstance(network, str | nn.Module):
        raise TypeError(f"network must be a description or a torch module, got {type(network).__name__}")
    protocol = suited(protocol, small.task, **changes)
    if isinstance(network, str):
        require_network(network, small.task)
    used = small.with_classes() if protocol.labels == "classes" else small
    where, job_seed = resolve_device(device), seeds.derive(seed, "network", 0)
    samples = TensorSamples(used.images, used.targets, where, factor=used.factor, weights=used.weights)
    own = network if isinstance(network, nn.Module) else _built(network, used, job_seed, where)
    module = own if isinstance(own, nets.Network) else _Own(own)
    _require_fit(module.to(where), samples.batch(torch.arange(min(2, len(samples))))[0], used)
    job = TrainingJob(
        samples,
        job_seed,
        used.augment if protocol.augment == STORED else protocol.augment,
        used.learning_rate,
        loss=used.recipe.loss,
        augmentations=used.recipe.augmentations,
    )
    training = protocol.training(protocol.steps(len(used)))
    tell(on_event, slow_precision(training.precision, where))
    train_jobs(
        module, [job], used.task, training, device=where, callback=_callback(on_event, training.steps)
    )
    return own.eval()


class _Own(nn.Module):
    """A module of a user's own, given images in the layout that flattening by ``view`` needs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        # flattened first: of one channel, either layout counts as contiguous
        outputs: Tensor = self.inner(images.contiguous().flatten().view(images.shape))
        return outputs


def _built(text: str, small: DistilledData, seed: int, where: torch.device) -> nets.Network:
    generator = seeds.generator(seed, "initial weights")
    return nets.build(text, small.shape, small.task.outputs, generator, where)


@torch.no_grad()
def _require_fit(module: nn.Module, images: Tensor, small: DistilledData) -> None:
    """Refuse a network whose outputs are not one for each class."""
    module.eval()
    try:
        outputs = module(images)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, PydistillError):
            raise
        raise ValueError(
            f"the network does not take images of shape {small.shape}, network input of this set: {error}"
        ) from error
    small.task.check_outputs(outputs, images)


def _callback(on_event: Callable[[Event], None] | None, steps: int) -> "Callable[[StepInfo], None] | None":
    if on_event is None:
        return None
    every = max(1, steps // _EVENTS)

    def callback(info: "StepInfo") -> None:
        if info.step == steps or info.step % every == 0:
            on_event(Progress("train", info.step, steps, f"loss {float(info.losses.mean()):.3f}"))

    return callback
