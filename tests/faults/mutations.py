"""Damage to a file's content, drawn from a seed: what disks, transfers, editors and attackers do to it."""

import random
from collections.abc import Callable

_WORDS = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x80\0\0\0",
)


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 4, 32))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _replace(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] = chance.randrange(256)


def _begin(content: bytearray, chance: random.Random) -> None:
    """In the first bytes, where headers are."""
    content[chance.randrange(min(len(content), 128))] = chance.choice((0, 1, 64, 127, 128, 255))


def _word(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content))
    content[at : at + 4] = chance.choice(_WORDS)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def _leave_out(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content))
    del content[at : at + chance.choice((1, 2, 16, 512))]


def _put_in(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    content[at:at] = chance.choice((b"\0", b"\n", b"9", b"\xff" * 8, bytes(chance.randbytes(16))))


def _repeat(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content))
    content[at:at] = content[at : at + chance.choice((1, 8, 100))]


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _replace,
    _begin,
    _word,
    _cut,
    _leave_out,
    _put_in,
    _repeat,
)


def mutated(content: bytes, seed: int) -> bytes:
    """``content`` with one or two kinds of damage; the same for the same seed."""
    chance, made = random.Random(seed), bytearray(content)
    for _ in range(chance.choice((1, 1, 2))):
        if made:
            chance.choice(KINDS)(made, chance)
    return bytes(made)
