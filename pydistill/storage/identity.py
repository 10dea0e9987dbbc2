"""What makes two sittings the same run: of the data, all that decides which pixels a network sees."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pydistill.data.preprocess import Preprocess
from pydistill.data.real import RealData

READ = ("preprocess", "preprocess_values", "mirror", "shape")
"""The parts of :func:`data_identity`."""

_TOLERANCE = 1e-3
_LOOKED_AT = 65536


def data_identity(data: RealData) -> dict[str, Any]:
    """Preprocessing with its fitted values, mirroring and shape, as JSON can hold them.

    The fingerprint covers pixels before preprocessing and is kept beside these. Fitted values are told by
    three sums of each tensor, compared to within rounding: an eigendecomposition differs in its last digits
    from one processor to another, and a run may move between them.
    """
    return {
        "preprocess": data.preprocess.name,
        "preprocess_values": preprocess_values(data.preprocess),
        "mirror": data.mirror,
        "shape": list(data.shape),
    }


def preprocess_values(preprocess: Preprocess) -> dict[str, list[float]]:
    """Three sums of each fitted tensor: its root mean square and two weighted means."""
    return {name: _sums(value) for name, value in sorted(preprocess.tensors().items())}


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """One text for every part in which two runs differ, the nested ones by their path.

    What earlier versions did not record of the data is not compared.
    """
    later = set(READ) - found.keys()
    here = _flat({key: value for key, value in wanted.items() if key not in later})
    there = _flat(found)
    return [
        f"{name} is {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted(here.keys() | there.keys())
        if not _alike(here.get(name), there.get(name))
    ]


def _sums(tensor: Tensor) -> list[float]:
    values = tensor.detach().cpu().flatten()
    values = values[:: max(1, values.numel() // _LOOKED_AT)].double()
    place = torch.arange(1, values.numel() + 1, dtype=torch.float64)
    weighted = ((values * (place * turn).cos()).mean() for turn in (0.37, 1.71))
    return [float(each) for each in (values.square().mean().sqrt(), *weighted)]


def _alike(one: Any, other: Any) -> bool:
    if one == other:
        return True
    both = (one, other)
    if not all(isinstance(each, list) and all(isinstance(x, float) for x in each) for each in both):
        return False
    scale = max(map(abs, [*one, *other]), default=0.0)
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * scale)
        for a, b in zip(one, other, strict=True)
    )


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping):
        return {
            name: leaf
            for key, value in tree.items()
            for name, leaf in _flat(value, f"{path}.{key}".lstrip(".")).items()
        }
    return {path: tree}
