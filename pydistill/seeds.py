"""Random numbers from explicit seeds: every draw names its purpose, nothing reads the global generator.

A generator is derived from ``(seed, *path)``, for example ``generator(0, "real batch", 17)``. A resumed
run thus needs no stored generator state: step 17 draws what it would have drawn without the break.
"""

import hashlib

import torch


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed that depends on ``seed`` and on every part of ``path`` (BLAKE2b of their text)."""
    text = "\x1f".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh ``torch.Generator`` on ``device``, seeded with :func:`derive`."""
    made = torch.Generator(device=device)
    made.manual_seed(derive(seed, *path))
    return made
