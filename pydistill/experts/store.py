"""A folder of experts: what they were trained on and how, and their trajectories.

```
manifest.json        data, network, training; facts of the finished experts
0000/                an expert: 0000.safetensors (untrained), 0001.safetensors, ...
0000/expert.json     its facts, once it is finished
0000/checkpoint.safetensors   where its training stands, until then
```
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydistill import nets
from pydistill.data.identity import EARLIER, READ, data_identity
from pydistill.data.real import RealData
from pydistill.errors import DataError, FileFormatError
from pydistill.experts.training import ExpertTraining
from pydistill.experts.trajectory import Stored, Trajectory
from pydistill.storage.files import is_there
from pydistill.storage.identity import differences
from pydistill.storage.records import Kind, read_json, renamed, write_json
from pydistill.storage.typed import typed

MANIFEST, FACTS = "manifest.json", "expert.json"
RECORD = Kind("pydistill.experts", 2, "a manifest of experts", "train them again, into another folder")
_EARLIER = {"flat": "rho", "flat_share": "alpha"}
"""Settings of the training that had other names in manifests written before."""
EXPERT = Kind("pydistill.expert", 2, "facts of an expert", "remove the file: the expert is trained again")


@dataclass(frozen=True)
class Experts:
    """Trajectories of networks of one kind, trained on one data set in one way.

    Attributes:
        training: How they were trained.
        name: Of the data they were trained on.
        data: Its (fingerprint, preprocessing).
        trajectories: One an expert.
        where: Named in messages.
        read: How it was read, see :func:`~pydistill.data.identity.data_identity`; empty where that is
            not known.
    """

    training: ExpertTraining
    name: str
    data: tuple[str, str]
    trajectories: tuple[Trajectory, ...]
    where: str = "these experts"
    read: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.trajectories)

    def require(self, data: RealData, network: str, snapshots: int) -> None:
        """Refuse what does not fit.

        Args:
            data: What a set is distilled from.
            network: What is to be trained on it.
            snapshots: How many a trajectory must have at least.

        Raises:
            DataError: They are of other data, another network, or too short; what was found is named.
        """
        own = (data.fingerprint, data.preprocess.name)
        if self.data != own:
            raise DataError(
                f"{self.where} were trained on {self.name} ({self.data[1]}, fingerprint "
                f"{self.data[0][:12]}), expected {data.name} ({own[1]}, fingerprint {own[0][:12]})"
            )
        here = data_identity(data)
        others = differences(here, self.read, READ) if self.read else []
        if others:
            raise DataError(f"{self.where} were trained on {self.name} read otherwise: {'; '.join(others)}")
        if nets.parse(self.training.network) != nets.parse(network):
            raise DataError(f"{self.where} are {self.training.network}, expected {network}")
        if not self.trajectories:
            raise DataError(f"{self.where} are none yet: not one snapshot after the first was written")
        shortest = min(map(len, self.trajectories))
        if shortest < snapshots:
            raise DataError(
                f"{self.where} have a trajectory of {shortest} snapshots, expected at least {snapshots}: "
                "train for more epochs, or start earlier or look less far ahead"
            )


def load_experts(folder: Path | str) -> Experts:
    """The experts in a folder, finished or not: what was written of an unfinished one is a trajectory too.

    Raises:
        DataError: There are none.
        FileFormatError: The manifest is damaged or of another version.
    """
    folder = Path(folder)
    facts = read_manifest(folder)
    found = [Stored.find(path) for path in expert_folders(folder)]
    try:
        return Experts(
            typed(ExpertTraining, facts["training"]),
            facts["data"],
            (facts["fingerprint"], facts["preprocess"]),
            tuple(each for each in found if len(each) > 1),
            f"the experts in {folder}",
            {key: facts[key] for key in READ if key in facts},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{folder / MANIFEST} does not describe experts: {error!r}") from error


def expert_folders(folder: Path) -> list[Path]:
    """Folders of single experts, in the order of their numbers."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdigit())


def expert_folder(folder: Path, index: int) -> Path:
    """Where expert ``index`` lies."""
    return folder / f"{index:04d}"


def identity(data: RealData, training: ExpertTraining, storage: str) -> dict[str, Any]:
    """What experts in one folder share."""
    return {
        "fingerprint": data.fingerprint,
        **data_identity(data),
        "training": dataclasses.asdict(training),
        "storage": storage,
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says.

    Raises:
        DataError: There is none.
        FileFormatError: It is damaged or of another version.
    """
    path = folder / MANIFEST
    if not is_there(path):
        raise DataError(
            f"there are no experts in {folder}: it holds no {MANIFEST}; "
            f"`pydistill experts DATA --out {folder}` trains them"
        )
    facts = renamed(read_json(path, RECORD), EARLIER)
    training = facts.get("training")
    if isinstance(training, dict):
        facts["training"] = renamed(training, _EARLIER)
    return facts


def write_manifest(folder: Path, name: str, shared: dict[str, Any]) -> None:
    """Write the data's name, what experts share, and facts of all that are finished now.

    Whoever finishes one writes it anew from what lies in the folder: it does not matter who is last.
    """
    finished = [
        {"expert": int(path.name), **read_json(path / FACTS, EXPERT)}
        for path in expert_folders(folder)
        if (path / FACTS).exists()
    ]
    facts = {**shared, "data": name, "experts": finished}
    write_json(folder / MANIFEST, RECORD, facts)
