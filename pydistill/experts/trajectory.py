"""A trajectory: a network's weights at points of its training, in memory or on disk."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pydistill.optim import Tensors
from pydistill.storage.records import Kind, read_tensors, write_tensors

RECORD = Kind("pydistill.snapshot", 2, "a snapshot of an expert", "train these experts again")


class Trajectory(ABC):
    """Snapshots of one training: parameters and buffers, the untrained network first."""

    @abstractmethod
    def __len__(self) -> int:
        """How many snapshots there are."""

    @abstractmethod
    def read(self, at: int) -> Tensors:
        """Snapshot ``at`` by name, float32 where it is floating point, on the CPU; not to be changed.

        Raises:
            IndexError: There is none.
            FileFormatError: It cannot be read.
        """


@dataclass(frozen=True)
class Kept(Trajectory):
    """A trajectory in memory."""

    snapshots: Sequence[Tensors]

    def __len__(self) -> int:
        return len(self.snapshots)

    def read(self, at: int) -> Tensors:
        if not 0 <= at < len(self):
            raise IndexError(f"snapshot {at} of a trajectory that has {len(self)}")
        return self.snapshots[at]


@dataclass(frozen=True)
class Stored(Trajectory):
    """A trajectory in a folder, a file a snapshot, read by memory map when it is asked for.

    Only what follows without a gap from the first one counts, so that a training that was cut off is a
    shorter trajectory.
    """

    folder: Path
    count: int

    @classmethod
    def find(cls, folder: Path) -> "Stored":
        """The snapshots that lie in a folder."""
        count = 0
        while snapshot_path(folder, count).exists():
            count += 1
        return cls(folder, count)

    def __len__(self) -> int:
        return self.count

    def read(self, at: int) -> Tensors:
        if not 0 <= at < len(self):
            raise IndexError(f"snapshot {at} of {self.folder}, which has {len(self)}")
        return read_snapshot(snapshot_path(self.folder, at))


def snapshot_path(folder: Path, at: int) -> Path:
    """Where snapshot ``at`` of an expert's folder lies."""
    return folder / f"{at:04d}.safetensors"


def write_snapshot(path: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Write parameters and buffers, floating-point ones as ``dtype``.

    Raises:
        OutputError: It could not be written.
    """
    tensors = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        for name, value in weights.items()
    }
    write_tensors(path, RECORD, {}, tensors)


def read_snapshot(path: Path) -> Tensors:
    """What :func:`write_snapshot` wrote, floating-point tensors as float32.

    Raises:
        FileFormatError: The file is missing, damaged or no snapshot.
    """
    _, tensors = read_tensors(path, RECORD)
    # Copies: in the file tensors lie where they fall, and matrix products round by their alignment.
    return {
        name: value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
        for name, value in tensors.items()
    }
