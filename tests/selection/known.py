"""Scores and features that are made up by hand, as selectors look at them."""

from types import SimpleNamespace

import numpy as np
import torch

from pydistill.scores import Scores, ScoreTraining
from pydistill.selection.base import Candidates
from pydistill.tasks import Classification


def candidates(count, *, features=None, inputs=None, residual=None, classes=3, **records):
    """``count`` images of class 0 with scores of these records (E, N), a row an epoch."""
    epochs = max((len(record) for record in records.values()), default=1)
    arrays = {f"{name}-0": np.asarray(value, dtype=np.float16) for name, value in records.items()}
    arrays.setdefault("loss-0", np.zeros((epochs, count), dtype=np.float16))
    arrays["embedding"] = np.zeros((count, 1)) if inputs is None else np.asarray(inputs)
    if residual is not None:
        arrays["residual"] = np.asarray(residual)
    training = ScoreTraining(network="convnet", epochs=epochs, early=1)
    scores = Scores("made up", "0" * 64, {}, training, 0, 0.0, arrays)
    train = SimpleNamespace(targets=torch.zeros(count, dtype=torch.int64))
    task = Classification(tuple(f"class {at}" for at in range(classes)))
    known = SimpleNamespace(
        required=lambda: scores,
        scores=scores,
        features=features,
        problem=SimpleNamespace(task=task, data=SimpleNamespace(train=train)),
    )
    return Candidates(known, 0, torch.arange(count))


def gradients(count, *, outputs=3, width=5, seed=0):
    """Residuals p - y of class 0 and inputs, as a network would leave them, float64 arrays."""
    random = np.random.default_rng(seed)
    odds = np.exp(2 * random.standard_normal((count, outputs)))
    residual = odds / odds.sum(1, keepdims=True)
    residual[:, 0] -= 1
    return residual, np.abs(random.standard_normal((count, width)))


def written_out(residual, inputs):
    """(n, K (D + 1)) the gradients themselves, with a last input of 1."""
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    return (residual[:, :, None] * inputs[:, None, :]).reshape(len(inputs), -1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)
