"""Distilled sets on disk: a JSON file that names a safetensors file by its content. Never pickle.

``distilled.json`` is the root. It holds all but the tensors, the name, size and SHA-256 of the tensor
file, and a checksum of itself. The tensor file is written first, under a name made from its content, then
the JSON, then tensor files of earlier sets are removed: at every moment in between the folder holds one
whole set.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from pydistill.data.preprocess import PREPROCESSES
from pydistill.data.provenance import Provenance
from pydistill.data.recipe import Recipe, under
from pydistill.errors import DataError, FileFormatError
from pydistill.storage.files import is_there, write_bytes
from pydistill.storage.records import apart, intact, rendered, write_sealed
from pydistill.tasks import restore

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData

FORMAT = "pydistill.distilled"
VERSION, LATER, READ = 2, 3, (1, 2, 3)
"""Version 1 knows no classes of origin and no record of given labels; 3 is 2 with weights or indices."""
ROOT = "distilled.json"
_ODD = (ArithmeticError, RuntimeError)
"""What numbers of a wrong size lead to in torch."""
_PREFIX = "preprocess."
_RECIPE = "recipe."


def save(distilled: "DistilledData", folder: Path) -> None:
    """See :meth:`DistilledData.save`."""
    content = safetensors.torch.save(apart({**set_tensors(distilled), **side_tensors(distilled)}))
    digest = hashlib.sha256(content).hexdigest()
    name = f"distilled-{digest[:12]}.safetensors"
    facts = {**describe(distilled), "tensors": {"file": name, "sha256": digest, "bytes": len(content)}}
    write_bytes(folder / name, content)
    write_sealed(folder / ROOT, facts)
    for old in folder.glob("distilled-*.safetensors"):
        if old.name != name:
            with contextlib.suppress(OSError):  # a left-over costs space, not correctness
                old.unlink()


def load(kind: "type[DistilledData]", folder: Path) -> "DistilledData":
    """See :meth:`DistilledData.load`."""
    root = folder / ROOT
    facts = unsealed(_read(root, f"there is no distilled set in {folder}: it holds no {ROOT}"), root)
    with reporting(root):
        name, digest, size = (facts["tensors"][key] for key in ("file", "sha256", "bytes"))
        if Path(name).name != name:
            raise ValueError(f"the tensor file must lie beside it, found {name!r}")
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise FileFormatError(
            f"{folder / name}, named by {ROOT}, cannot be read: {error.strerror}"
        ) from error
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        raise FileFormatError(
            f"{folder / name} is not what {ROOT} names: {size} bytes of SHA-256 {digest[:12]}... expected, "
            f"{len(content)} bytes of {hashlib.sha256(content).hexdigest()[:12]}... found; get the set anew"
        )
    with reporting(folder / name):
        return assemble(kind, facts, safetensors.torch.load(content))


def set_tensors(distilled: "DistilledData") -> dict[str, Tensor]:
    """Images, targets and, where there are any, classes of origin, weights and indices, as stored."""
    names = ("images", "targets", "origin", "weights", "indices")
    own = {name: getattr(distilled, name) for name in names}
    return {name: value.detach().cpu().contiguous() for name, value in own.items() if value is not None}


def side_tensors(distilled: "DistilledData") -> dict[str, Tensor]:
    """Those of preprocessing and recipe, as they are stored beside the set's own tensors."""
    parts = {_PREFIX: distilled.preprocess.tensors(), _RECIPE: distilled.recipe.tensors()}
    return {
        f"{prefix}{key}": value.detach().cpu().contiguous()
        for prefix, tensors in parts.items()
        for key, value in tensors.items()
    }


def describe(distilled: "DistilledData") -> dict[str, Any]:
    """All but the tensors, as JSON holds it; of sets without weights and indices as before those were."""
    later = {"weights": distilled.weights, "indices": distilled.indices}
    shapes = {name: list(value.shape) for name, value in later.items() if value is not None}
    return {
        "format": FORMAT,
        "version": LATER if shapes else VERSION,
        "task": distilled.task.describe(),
        "kind": distilled.kind,
        "images": list(distilled.images.shape),
        "targets": list(distilled.targets.shape),
        "origin": None if distilled.origin is None else list(distilled.origin.shape),
        **shapes,
        "preprocess": distilled.preprocess.name,
        "augment": distilled.augment,
        "learning_rate": distilled.learning_rate,
        "factor": distilled.factor,
        "recipe": distilled.recipe.describe(),
        "provenance": dataclasses.asdict(distilled.provenance),
    }


def assemble(
    kind: "type[DistilledData]", facts: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> "DistilledData":
    """The inverse of :func:`describe` and the tensors; called under :func:`reporting`."""
    own = {key: value for key, value in tensors.items() if not key.startswith((_PREFIX, _RECIPE))}
    optional = ("origin", "weights", "indices")
    expected = {"images", "targets"} | {name for name in optional if facts.get(name)}
    if set(own) != expected:
        raise ValueError(f"expected tensors {', '.join(sorted(expected))}, found {sorted(own)}")
    for key, value in own.items():
        if list(value.shape) != facts[key]:
            raise ValueError(f"expected {key} of shape {facts[key]}, found {list(value.shape)}")
    task, augment, rate = facts["task"], facts["augment"], facts["learning_rate"]
    if not isinstance(augment, str) or not (rate is None or isinstance(rate, int | float)):
        raise ValueError(
            f"expected a text as augment and a number as learning_rate, found {augment!r}, {rate!r}"
        )
    made = kind(
        images=own["images"],
        targets=own["targets"],
        origin=own.get("origin"),
        weights=own.get("weights"),
        indices=own.get("indices"),
        task=restore(task),
        preprocess=_known(PREPROCESSES, facts["preprocess"], "preprocess").restore(under(_PREFIX, tensors)),
        augment=augment,
        learning_rate=rate,
        factor=facts.get("factor", 1),  # sets written before there was one
        recipe=Recipe.restore(facts["recipe"], under(_RECIPE, tensors)) if "recipe" in facts else Recipe(),
        provenance=Provenance(**facts["provenance"]),
    )
    if facts.get("kind", made.kind) != made.kind:
        raise ValueError(f"expected {facts['kind']} targets, found {made.kind} ones")
    return made


def unsealed(text: bytes, where: Path) -> dict[str, Any]:
    """The facts in ``text``, checked for format, version and checksum.

    Raises:
        FileFormatError: They are not what :func:`pydistill.storage.records.sealed` made, or of another
            version.
    """
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where} is truncated or no JSON: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FileFormatError(f"{where} does not describe a distilled set: its format is not {FORMAT!r}")
    if facts.get("version") not in READ:
        raise FileFormatError(
            f"{where} has version {facts.get('version')!r}, pydistill here reads 1 to {READ[-1]}: "
            "upgrade it"
        )
    whole = intact(facts) and text in (rendered(facts).encode(), json.dumps(facts).encode())
    if not whole:
        raise FileFormatError(
            f"{where} was altered after it was written: its checksum does not fit its content"
        )
    del facts["checksum"]
    return facts


@contextlib.contextmanager
def reporting(where: Path) -> Iterator[None]:
    """Turn whatever a malformed file leads to into a :class:`FileFormatError` that names it."""
    try:
        yield
    except (SafetensorError, DataError, ValueError, TypeError, LookupError, AttributeError, *_ODD) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(f"{where} holds no usable distilled set: {reason}") from error


def _read(path: Path, missing: str) -> bytes:
    if not is_there(path):
        raise DataError(missing)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise FileFormatError(f"{path} cannot be read: it is no regular file")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(missing) from error
    except OSError as error:
        raise FileFormatError(f"{path} cannot be read: {error.strerror or error}") from error


def _known(registry: Mapping[str, Any], name: object, what: str) -> Any:
    if name not in registry:
        raise ValueError(f"unknown {what} {name!r}; known are {', '.join(registry)}")
    return registry[str(name)]
