"""Networks' scores kept on disk: what an evaluation measured once need not be measured again.

A network's result depends on what it is trained on, how, from which seed, and on the code that does it. All
of that makes its key, so that a kept score is the one that training again would give.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch

from pydistill._version import __version__
from pydistill.data.real import RealData
from pydistill.data.recipe import StoredAugmentations
from pydistill.errors import FileFormatError
from pydistill.evaluation.facts import Source
from pydistill.evaluation.training_sets import TrainingSet
from pydistill.machine import cpu_level
from pydistill.storage.digests import digest
from pydistill.storage.records import Kind, read_json, write_json
from pydistill.storage.typed import plain, typed
from pydistill.tasks import Breakdown
from pydistill.training.scoring import Scored
from pydistill.training.trainer import Trained, Training, TrainingJob

RECORD = Kind("pydistill.score", 2, "a network's score", "remove it: the network is trained again")
FOLDER = "PYDISTILL_CACHE"
"""Environment variable that names the folder of what is kept between commands."""


@dataclass(frozen=True)
class KeptScore:
    """A network's result.

    Attributes:
        values: The metric's values by name, the headline first.
        spread: Of the headline over bootstrap samples of the test images.
        breakdown: The headline class by class; None: the task has no classes.
        loss: Training loss of its last batch.
        seconds: Wall time of its training, when it was trained.
        execution: How it was trained then.
    """

    values: Mapping[str, float]
    spread: float | None
    breakdown: Breakdown | None
    loss: float
    seconds: float
    execution: str

    @classmethod
    def of(cls, scored: Scored, trained: Trained) -> Self:
        """A network's that was trained now."""
        measured = (trained.loss, trained.seconds, trained.execution)
        return cls(scored.values, scored.spread, scored.breakdown, *measured)

    @property
    def scored(self) -> Scored:
        """The answers alone."""
        return Scored(self.values, self.spread, self.breakdown)


class Scores:
    """A folder of kept scores, a file each, shared by any number of evaluations at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> KeptScore | None:
        """What is kept under a key; None: nothing, or nothing that can be read."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return typed(KeptScore, read_json(path, RECORD))
        except (FileFormatError, TypeError, ValueError):
            return None  # it is measured again, and written anew

    def keep(self, key: str, score: KeptScore) -> None:
        """Write one.

        Raises:
            OutputError: It could not be written.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, RECORD, plain(asdict(score)))

    def clear(self) -> None:
        """Remove every score, and the folder where nothing else is in it."""
        for path in self.folder.glob("??/*.json"):
            path.unlink(missing_ok=True)
        for path in (*self.folder.glob("??"), self.folder):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


class Memory:
    """Scores that one evaluation need not measure, and those that it leaves to others.

    Args:
        baselines: Folder of scores on random selections and on whole data, of any evaluation; None: none.
        unfinished: Folder of all scores of this evaluation, until it ends; None: none.
    """

    def __init__(self, baselines: Path | str | None, unfinished: Path | str | None) -> None:
        self._baselines = None if baselines is None else Scores(Path(baselines))
        self._unfinished = None if unfinished is None else Scores(Path(unfinished))

    def __bool__(self) -> bool:
        return self._baselines is not None or self._unfinished is not None

    def find(self, key: str | None, source: Source) -> tuple[KeptScore, bool] | None:
        """A kept score, and whether another evaluation measured it; None: it is to be measured."""
        if key is None:
            return None
        if self._unfinished is not None and (own := self._unfinished.find(key)) is not None:
            return own, False
        if self._baselines is not None and source != "distilled":
            found = self._baselines.find(key)
            return None if found is None else (found, True)
        return None

    def keep(self, key: str | None, source: Source, score: KeptScore) -> None:
        """Keep a score that was measured; without a key it is not kept.

        Raises:
            OutputError: It could not be written.
        """
        if key is None:
            return
        if self._unfinished is not None:
            self._unfinished.keep(key, score)
        if self._baselines is not None and source != "distilled":
            self._baselines.keep(key, score)

    def ended(self) -> None:
        """Remove what is kept for an evaluation that was ended."""
        if self._unfinished is not None:
            self._unfinished.clear()


def usual_folder() -> Path:
    """Where scores are kept unless told otherwise: the user's cache."""
    own = os.environ.get(FOLDER)
    if own:
        return Path(own) / "baselines"
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "pydistill" / "baselines"


def key_of(
    each: TrainingSet,
    job: TrainingJob,
    architecture: str,
    training: Training,
    scored: Mapping[str, Any],
    device: torch.device,
) -> str:
    """What a network's result depends on, as 64 hex digits.

    Args:
        each: What it is trained on.
        job: Its seed, augmentation, rate, loss and stored augmentations.
        architecture: Its description.
        training: How it is trained.
        scored: On what it is scored, see :func:`scored_on`.
        device: Where.
    """
    facts = {
        "code": _code(),
        "torch": torch.__version__,
        "machine": [device.type, platform.machine(), cpu_level(), torch.get_num_threads()],
        "images": each.samples.digest,
        "architecture": architecture,
        "job": [job.seed, job.augment, job.learning_rate, job.loss, _digest_of(job.augmentations)],
        "training": repr(training),
        "scored": dict(scored),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def scored_on(data: RealData, split: str) -> dict[str, Any]:
    """On what networks are scored, for :func:`key_of`."""
    return {
        "data": data.fingerprint,
        "split": split,
        "preprocess": data.preprocess.name,
        "values": digest(*(value for _, value in sorted(data.preprocess.tensors().items()))),
    }


def _digest_of(stored: StoredAugmentations | None) -> str | None:
    return None if stored is None else digest(stored.parameters, stored.targets)


@cache
def _code() -> str:
    """A digest of the version, the sources and the compiled kernels: a changed library measures anew."""
    made = hashlib.sha256(__version__.encode())
    root = Path(__file__).parents[1]
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".so", ".pyd")):
        made.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return made.hexdigest()
