"""What a bandwidth of a kernel may be."""

import torch


def smallest(dtype: torch.dtype) -> float:
    """Below this the square of 1 / sigma^2, which second derivatives need, is out of range."""
    return 1e-75 if dtype == torch.float64 else 1e-9


def out_of_range(op: str, sigma: float, dtype: torch.dtype) -> str:
    """What to tell of a bandwidth that is no finite number above :func:`smallest`."""
    return (
        f"{op}: bandwidths must be finite and greater than 0 "
        f"({smallest(dtype)} for rows computed in {dtype}), found {sigma}; "
        "scale rows and bandwidths alike: the kernel stays the same"
    )
