"""Of real data, all that decides which pixels a network sees: what makes two runs on them the same."""

from typing import Any

import torch
from torch import Tensor

from pydistill.data.preprocess import Preprocess
from pydistill.data.real import RealData

READ = ("preprocess", "preprocess_values", "horizontal_flip", "shape")
"""The parts of :func:`data_identity`. Not every earlier run recorded all of them."""
EARLIER = {"mirror": "horizontal_flip"}
"""Parts that had other names in what was recorded before."""

_MOST = 65536
"""Numbers of a tensor that its sums are taken over."""


def data_identity(data: RealData) -> dict[str, Any]:
    """Preprocessing with its fitted values, mirroring and shape, as JSON can hold them.

    The fingerprint covers pixels before preprocessing and is kept beside these. Fitted values are told by
    three sums of each tensor, compared to within rounding: an eigendecomposition differs in its last digits
    from one processor to another, and a run may move between them.
    """
    return {
        "preprocess": data.preprocess.name,
        "preprocess_values": preprocess_values(data.preprocess),
        "horizontal_flip": data.horizontal_flip,
        "shape": list(data.shape),
    }


def preprocess_values(preprocess: Preprocess) -> dict[str, list[float]]:
    """Three sums of each fitted tensor: its root mean square and two weighted means."""
    return {name: _sums(value) for name, value in sorted(preprocess.tensors().items())}


def _sums(tensor: Tensor) -> list[float]:
    values = tensor.detach().cpu().flatten()
    values = values[:: max(1, values.numel() // _MOST)].double()
    place = torch.arange(1, values.numel() + 1, dtype=torch.float64)
    weighted = ((values * (place * turn).cos()).mean() for turn in (0.37, 1.71))
    return [float(each) for each in (values.square().mean().sqrt(), *weighted)]
