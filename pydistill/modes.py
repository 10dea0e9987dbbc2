"""Torch's modes as they are by default, whatever the caller has set around a call."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def plain_modes(gradients: bool | None = None) -> Iterator[None]:
    """Within it there is neither autocast nor inference mode; also to be used as a decorator.

    Autocast rounds matrix products to bfloat16, which a solver's numbers do not survive, and what is made
    in inference mode cannot be differentiated through afterwards, however long it is kept.

    Args:
        gradients: Whether gradients are recorded; None: as the caller has it.
    """
    recorded = torch.is_grad_enabled() if gradients is None else gradients
    with contextlib.ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))  # records gradients: the choice comes after it
        modes.enter_context(torch.set_grad_enabled(recorded))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield
