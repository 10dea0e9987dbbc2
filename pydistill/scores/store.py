"""Scores of a data set's training images, in memory or mapped from a folder."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pydistill.data.identity import data_identity
from pydistill.data.real import RealData
from pydistill.errors import FileFormatError
from pydistill.scores import dynamics
from pydistill.scores.training import ScoreTraining
from pydistill.shown import duration
from pydistill.storage.files import sha256, write_atomically
from pydistill.storage.identity import differences
from pydistill.storage.records import Kind, read_json, write_json
from pydistill.storage.typed import typed

Array: TypeAlias = npt.NDArray[Any]

ROOT = "scores.json"
RECORD = Kind("pydistill.scores", 1, "scores", "compute them again")
OTHERS = ("el2n", "grand")
"""Scores that more than one record, or another pass, gives."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What networks made of every training image while they learned it.

    Attributes:
        data: What the data was called.
        fingerprint: Of the data.
        preprocess: How it was preprocessed, see :func:`pydistill.data.identity.data_identity`.
        training: How the networks were trained, everything settled.
        seed: What they derive from.
        seconds: Wall time of it all.
        arrays: By name: ``MEASURE-R`` (E, N) float16 for each measure of the task and each network R;
            ``embedding`` (N, D) float16, what the first network makes of the images after its training;
            for classification ``grand`` (R, N), ``residual`` (N, K), the derivative of the loss by the
            first network's outputs after its training; with folds ``out_of_fold`` (R, N, K), the
            probabilities given by networks that did not learn the image. Memory-mapped where they come from
            a folder.
    """

    data: str
    fingerprint: str
    preprocess: Mapping[str, Any]
    training: ScoreTraining
    seed: int
    seconds: float
    arrays: Mapping[str, Array] = dataclasses.field(repr=False)
    _values: dict[str, Tensor] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        training, images = self.training, len(self)
        folds = f", {training.folds} folds" if training.folds else ""
        return (
            f"Scores of {self.data}: {images:,} images, {training.networks} x {training.network}{folds}, "
            f"{training.epochs} epochs, {duration(self.seconds)}: {', '.join(self.names)}"
        )

    def __len__(self) -> int:
        """How many images there are."""
        return int(self.arrays["loss-0"].shape[1])

    @property
    def networks(self) -> int:
        """Networks that values are means over."""
        return self.training.networks

    @property
    def epochs(self) -> int:
        """Rows of each record."""
        return self.training.epochs

    @property
    def folds(self) -> int:
        """Folds of out-of-fold probabilities; 0: there are none."""
        return self.training.folds

    @property
    def measures(self) -> tuple[str, ...]:
        """What was recorded."""
        return tuple(name.removesuffix("-0") for name in self.arrays if name.endswith("-0"))

    def record(self, name: str, network: int = 0) -> Array:
        """(E, N) float16 of one measure and network, a row an epoch.

        Raises:
            ValueError: It was not recorded.
        """
        key = f"{name}-{network}"
        if key not in self.arrays:
            raise ValueError(
                f"no record {name!r} of network {network}; there are {', '.join(self.measures)} of "
                f"{self.networks}"
            )
        return self.arrays[key]

    @property
    def names(self) -> tuple[str, ...]:
        """What :meth:`value` gives."""
        found = [name for name, (measure, _) in dynamics.FORMULAS.items() if measure in self.measures]
        found += ["el2n"] * ("error" in self.measures) + ["grand"] * ("grand" in self.arrays)
        return tuple(found)

    def value(self, name: str) -> Tensor:
        """(N,) float32: a score of every training image, the mean over networks.

        ``el2n``, ``grand``: the length of p - y, and of the loss's gradient in the last layer, in epoch
        ``early``; ``forgetting``; ``aum``; ``entropy`` in the last epoch, nats; ``mean`` and ``spread`` of
        p_y and ``correctness`` over epochs; ``dual``; ``loss``, the mean over epochs. Sources:
        the page on scores of images.

        Raises:
            ValueError: There is no such score, or not of this task.
        """
        if name not in self.names:
            raise ValueError(f"no score {name!r} of {self.data}; there are: {', '.join(self.names)}")
        if name not in self._values:
            self._values[name] = self._mean(name)
        return self._values[name].clone()

    def difficulty(self, name: str) -> Tensor:
        """(N,) float32: :meth:`value`, turned so that harder images have more of it."""
        value = self.value(name)
        return -value if name in dynamics.HARD_IS_LOW else value

    def _mean(self, name: str) -> Tensor:
        """(N,) over networks."""
        if name == "grand":
            return torch.from_numpy(self.arrays["grand"].astype(np.float32).mean(0))
        parts = [self._one(name, network) for network in range(self.networks)]
        return torch.from_numpy(np.mean(parts, 0, dtype=np.float32))

    def _one(self, name: str, network: int) -> dynamics.Score:
        if name == "el2n":
            return dynamics.el2n(self.record("error", network), self.training.early)
        measure, formula = dynamics.FORMULAS[name]
        return dynamics.scored(self.record(measure, network), formula)

    @property
    def out_of_fold(self) -> Array | None:
        """(N, K) float32 probabilities, means over networks; None: the networks learned every image."""
        held = self.arrays.get("out_of_fold")
        if held is None:
            return None
        found: Array = sum(each.astype(np.float32) for each in held) / len(held)
        return found

    @property
    def embedding(self) -> Array:
        """(N, D) float16."""
        return self.arrays["embedding"]

    @property
    def residual(self) -> Array | None:
        """(N, K) float16; None where an image is of no one class."""
        return self.arrays.get("residual")

    def require(self, data: RealData) -> None:
        """Raise ``ValueError`` where these are scores of other data, or of it preprocessed otherwise."""
        if self.fingerprint != data.fingerprint:
            raise ValueError(
                f"the scores are of {self.data} with fingerprint {self.fingerprint[:16]}, the data "
                f"{data.name} has {data.fingerprint[:16]}: compute them for it, with the same options of "
                "how it is read"
            )
        differing = differences(data_identity(data), self.preprocess)
        if differing:
            raise ValueError(
                f"the scores are of {self.data} otherwise preprocessed: {'; '.join(differing)}"
            )

    def save(self, folder: Path | str) -> None:
        """Write ``scores.json`` and a ``.npy`` file an array, which :meth:`load` maps.

        Raises:
            OutputError: It could not be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self.arrays.items():
            write_atomically(folder / f"{name}.npy", partial(_saved, array))
        self.seal(folder)

    def seal(self, folder: Path) -> None:
        """Write ``scores.json`` for arrays that lie in ``folder`` already."""
        facts = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init and f.name != "arrays"
        }
        sums = {name: sha256(folder / f"{name}.npy") for name in self.arrays}
        write_json(folder / ROOT, RECORD, {**facts, "training": self.training.record(), "arrays": sums})

    @classmethod
    def load(cls, folder: Path | str) -> "Scores":
        """Scores in a folder, their arrays mapped.

        Raises:
            FileFormatError: There are none, or a file is damaged.
        """
        folder = Path(folder)
        if not (folder / ROOT).exists():
            raise FileFormatError(
                f"{folder} holds no scores: make them with compute_scores or pydistill scores"
            )
        facts = read_json(folder / ROOT, RECORD)
        arrays = {name: _mapped(folder / f"{name}.npy", digest) for name, digest in facts["arrays"].items()}
        return cls(**{**facts, "training": typed(ScoreTraining, facts["training"]), "arrays": arrays})


def _saved(array: Array, path: Path) -> None:
    with path.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)


def _mapped(path: Path, digest: str) -> Array:
    try:
        if sha256(path) != digest:
            raise FileFormatError(f"{path} was altered or is truncated; {RECORD.mend}")
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path} cannot be read: {error}; {RECORD.mend}") from error
    return found
