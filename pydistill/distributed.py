"""Which part of a distributed run this process is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class World:
    """A process among those of one run, as ``torchrun`` tells it.

    Attributes:
        rank: Its number among all, from 0.
        ranks: How many there are.
        local_rank: Its number among those of its machine; None where no launcher says.
    """

    rank: int = 0
    ranks: int = 1
    local_rank: int | None = None

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ValueError(f"ranks must be at least 1, got {self.ranks}")
        if not 0 <= self.rank < self.ranks:
            raise ValueError(f"rank must be from 0 to {self.ranks - 1}, got {self.rank}")
        if self.local_rank is not None and self.local_rank < 0:
            raise ValueError(f"LOCAL_RANK must be at least 0, got {self.local_rank}")

    @classmethod
    def of(
        cls, environment: Mapping[str, str] | None = None, rank: int | None = None, ranks: int | None = None
    ) -> Self:
        """From ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``, where ``rank`` and ``ranks`` are not given.

        Raises:
            ValueError: A variable is no number, or the numbers do not fit each other.
        """
        found = os.environ if environment is None else environment
        return cls(
            _number(found, "RANK", 0) if rank is None else rank,
            _number(found, "WORLD_SIZE", 1) if ranks is None else ranks,
            _number(found, "LOCAL_RANK", 0) if found.get("LOCAL_RANK") else None,
        )

    def gpu(self, count: int) -> int | None:
        """The number of this process's GPU among ``count`` visible ones; None where no launcher says.

        Where a launcher shows each process fewer GPUs than there are processes, they are shared out.
        """
        return None if self.local_rank is None else self.local_rank % max(1, count)


def _number(environment: Mapping[str, str], name: str, otherwise: int) -> int:
    text = environment.get(name) or str(otherwise)
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"the environment variable {name} must be a number, got {text!r}") from error
