"""Distilled sets as folders of PNG for other tools, and back: 8 bits a pixel, clamped or stretched.

Learned images leave the range of pixels. ``clamp`` cuts them off there, as whoever opens a picture expects
of it; ``range`` stretches each picture to its own range and keeps what undoes that beside it.
"""

import csv
import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from pydistill import checks
from pydistill.data.pictures import to_picture
from pydistill.data.provenance import JSON
from pydistill.data.sources.opening import large_pictures, opened
from pydistill.data.store import assemble, describe, reporting, set_tensors, side_tensors, unsealed
from pydistill.errors import DataError, FileFormatError, OutputError
from pydistill.limits import require_bytes
from pydistill.storage.files import is_there, partial
from pydistill.storage.records import apart, rendered, sealed

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData

Scale: TypeAlias = Literal["clamp", "range"]
ROOT = "export.json"
"""What a folder of exported pictures holds beside them."""
_REST = "export.safetensors"
_LEVELS = 255
_EVERY = "images"
"""Folder of all pictures, where they are of no one class."""
_OUTSIDE = 1e-5
"""A pixel that leaves [0, 1] by no more is within: rounding of the way back from network input."""
_LONGEST_NAME = 100
"""Bytes of a class's folder."""
_RESERVED = frozenset((ROOT, _REST, "targets.csv", "con", "prn", "aux", "nul"))
"""Names of files beside the folders, and of devices where there are such."""


@dataclass(frozen=True)
class Loss:
    """What 8 bits a pixel in [0, 1] do to a set.

    Attributes:
        scale: ``clamp`` or ``range``.
        outside: Share of the pixels that lie outside [0, 1]: under ``clamp`` they are lost.
        largest: By how much the farthest of them does, in units of the range.
        mean: By how much those outside do on average.
    """

    scale: Scale
    outside: float
    largest: float
    mean: float

    def text(self) -> str:
        """In words."""
        if not self.outside:
            return "no pixel lay outside the range of a picture; rounded to 8 bits"
        share = f"{100 * self.outside:.1f} % of the pixels lay outside the range of a picture"
        if self.scale == "clamp":
            by = f"by {self.mean:.2f} of it on average and {self.largest:.2f} at most"
            return f"{share}, {by}, and were clamped; a scale of 'range' keeps them"
        return (
            f"{share}; each picture is stretched to its own range, which {ROOT} undoes; rounded to 8 bits"
        )

    def record(self) -> dict[str, JSON]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


def export_folder(distilled: "DistilledData", folder: Path, scale: Scale = "clamp") -> Loss:
    """Write ``folder/<class>/<number>.png``, ``folder/export.json`` and the rest of the set beside it.

    This is lossy: pixels are rounded to 8 bits. Under ``clamp`` those outside [0, 1] are put to its ends
    first; under ``range`` a picture's own smallest and largest pixel become 0 and 255, and ``export.json``
    holds its scale and offset: ``value / 255 * scale + offset`` is the pixel to within 1/510 of the
    picture's range. ``export.json`` says what was lost and holds what PNG cannot: class names in order,
    augmentation, learning rate, factor. Pictures are of the stored images: at a factor above 1 each is to
    be cut into ``factor**2`` patches, enlarged as :func:`pydistill.data.formation.decode` does, before it
    is trained on. Soft targets are written to ``targets.csv``, exactly, a row a picture; the folder is then
    that of the class the image was made for. Where images have weights, ``export.json`` holds each
    picture's ``weight``. :func:`from_folder` reads all of it.

    Args:
        distilled: The set.
        folder: Made here; must not exist, or be empty.
        scale: ``clamp`` or ``range``.

    Returns:
        What was lost.

    Raises:
        ValueError: Images have neither 1 nor 3 channels, or ``scale`` is unknown.
        OutputError: ``folder`` holds something already, or could not be written; nothing is left behind.
    """
    _check_scale(scale)
    if distilled.images.shape[1] not in (1, 3):
        raise ValueError(
            f"PNG holds 1 or 3 channels, the images have {distilled.images.shape[1]}: use parquet"
        )
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: choose another folder, or remove it first")
        with partial(folder) as temporary:
            temporary.mkdir()
            loss = _fill(distilled, temporary, scale)
            temporary.replace(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    return loss


def from_folder(kind: "type[DistilledData]", folder: Path) -> "DistilledData":
    """Read what :func:`export_folder` wrote: the set as its pictures have it.

    Pictures are read as they lie there, so that a set can be looked at, changed and scored.

    Raises:
        DataError: There is no such folder.
        FileFormatError: A file is missing or damaged, was altered, or is not of this export.
    """
    root = folder / ROOT
    if not is_there(root) or not root.is_file():
        raise DataError(f"there is no exported set in {folder}: it holds no {ROOT}")
    try:
        facts = unsealed(root.read_bytes(), root)
        with reporting(root):
            rest = (folder / _REST).read_bytes()
            if hashlib.sha256(rest).hexdigest() != facts["rest_sha256"]:
                raise ValueError(f"{_REST} beside it is not the file written with it")
            pixels = _read_pixels(folder, facts)
            tensors = safetensors.torch.load(rest)
            made = assemble(kind, facts, {"images": pixels, **tensors})
            return _of_pixels(made, pixels, Loss(**facts["loss"]))
    except OSError as error:
        raise FileFormatError(f"{folder} cannot be read as an exported set: {error}") from error


def as_exported(distilled: "DistilledData", scale: Scale = "clamp") -> "DistilledData":
    """The set as :func:`from_folder` reads it from what :func:`export_folder` writes, without a file.

    Raises:
        ValueError: ``scale`` is unknown.
    """
    _check_scale(scale)
    pixels = distilled.pixels().cpu()
    scales, offsets = _range(pixels, scale)
    levels = _levels(pixels, scales, offsets)
    return _of_pixels(distilled, _restored(levels, scales, offsets), loss_of(pixels, scale))


def loss_of(pixels: Tensor, scale: Scale) -> Loss:
    """What is lost of pixels (M, C, H, W)."""
    excess = torch.maximum(-pixels, pixels - 1).double()
    beyond = excess[excess > _OUTSIDE]
    if not len(beyond):
        return Loss(scale, 0.0, 0.0, 0.0)
    return Loss(scale, len(beyond) / excess.numel(), float(beyond.max()), float(beyond.mean()))


def _check_scale(scale: str) -> None:
    checks.choice("scale", scale, get_args(Scale))


def _of_pixels(made: "DistilledData", pixels: Tensor, loss: Loss) -> "DistilledData":
    images = made.preprocess.to("cpu").apply(pixels).contiguous()
    provenance = dataclasses.replace(made.provenance, exported=loss.record())
    return dataclasses.replace(made, images=images, provenance=provenance)


# ---- pixels in 8 bits ---------------------------------------------------------------------------------


def _range(pixels: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """Scale and offset (M,) float32 of each picture."""
    if scale == "clamp":
        return torch.ones(len(pixels)), torch.zeros(len(pixels))
    low, high = pixels.flatten(1).aminmax(dim=1)
    return high - low, low


def _levels(pixels: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    """Pictures (M, C, H, W) uint8."""
    spread = torch.where(scales > 0, scales, torch.ones_like(scales))  # a picture of one value
    unit = (pixels - offsets.view(-1, 1, 1, 1)) / spread.view(-1, 1, 1, 1)
    return unit.clamp(0, 1).mul(_LEVELS).round().byte()


def _restored(levels: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    return levels.float() / _LEVELS * scales.view(-1, 1, 1, 1) + offsets.view(-1, 1, 1, 1)


# ---- files --------------------------------------------------------------------------------------------


def _fill(distilled: "DistilledData", folder: Path, scale: Scale) -> Loss:
    pixels, task, hard = distilled.pixels().cpu(), distilled.task, distilled.hard_targets.cpu()
    titles, places = [_EVERY], [0] * len(pixels)
    if task.by_class:
        titles, places = folder_names(task.class_names), hard.tolist()
    for index in sorted(set(places)):  # none for a class without a picture: no folder of classes is empty
        (folder / titles[index]).mkdir()
    files = [f"{titles[index]}/{at:05d}.png" for at, index in enumerate(places)]
    for name, content in task.annotations(hard, files, distilled.shape[1:]).items():
        (folder / name).parent.mkdir(exist_ok=True)
        if isinstance(content, Tensor):
            Image.fromarray(content.numpy()).save(folder / name)
        else:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    scales, offsets = _range(pixels, scale)
    for file, image in zip(files, _levels(pixels, scales, offsets), strict=True):
        to_picture(image.float() / _LEVELS).save(folder / file)
    loss = loss_of(pixels, scale)
    weights: list[dict[str, float]] = [{}] * len(files)
    if distilled.weights is not None:
        weights = [{"weight": value} for value in distilled.weights.tolist()]
    kept = {name: value for name, value in set_tensors(distilled).items() if name != "images"}
    rest = safetensors.torch.save(apart({**kept, **side_tensors(distilled)}))
    (folder / _REST).write_bytes(rest)
    about = {
        **describe(distilled),
        "lossy": f"{loss.text()}: train on the saved set instead",
        "clamped_share_of_pixels": loss.outside if scale == "clamp" else 0.0,
        "loss": loss.record(),
        "class_names": list(distilled.task.class_names),
        "folders": titles,
        "pictures": [
            {"file": file, "scale": float(wide), "offset": float(low), **weight}
            for file, wide, low, weight in zip(files, scales, offsets, weights, strict=True)
        ],
        "rest_sha256": hashlib.sha256(rest).hexdigest(),
    }
    (folder / ROOT).write_text(rendered(sealed(about)), encoding="utf-8")
    if task.by_class and distilled.kind != "hard":
        with (folder / "targets.csv").open(
            "w", newline="", encoding="utf-8", errors="backslashreplace"
        ) as handle:
            writer = csv.writer(handle)
            writer.writerow(["file", *distilled.task.class_names])
            writer.writerows(
                [file, *map(repr, row)] for file, row in zip(files, distilled.targets.tolist(), strict=True)
            )
    return loss


def _read_pixels(folder: Path, facts: dict[str, Any]) -> Tensor:
    """(M, C, H, W) float32, scaled back."""
    count, *shape = facts["images"]
    require_bytes(4 * math.prod(facts["images"]), "the exported pictures")
    listed = facts["pictures"]
    if len(listed) != count:
        raise ValueError(f"expected {count} pictures, found {len(listed)} listed")
    levels = torch.stack([_read_picture(folder, each["file"], shape) for each in listed])
    scales, offsets = (
        torch.tensor([each[key] for each in listed], dtype=torch.float32) for key in ("scale", "offset")
    )
    return _restored(levels, scales, offsets)


def _read_picture(folder: Path, file: str, shape: list[int]) -> Tensor:
    """(C, H, W) uint8 of a regular file inside ``folder``, of no other size than is expected."""
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"a picture lies outside the folder: {file!r}")
    if not path.is_file():
        raise ValueError(f"its picture {file!r} is missing")
    channels, height, width = shape
    with large_pictures(), opened(repr(file), path.read_bytes()) as image:
        found = (image.size[1], image.size[0])
        pixels = None
        if found == (height, width):
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    if pixels is None:
        raise ValueError(f"expected {file!r} of {height}x{width} pixels, found {found[0]}x{found[1]}")
    return torch.from_numpy(pixels.copy()).reshape(height, width, channels).permute(2, 0, 1)


def folder_names(names: tuple[str, ...]) -> list[str]:
    """Class names as folder names; numbered where two would become the same, never too long or taken."""
    plain = [re.sub(r"[^\w.+-]+", "_", name).strip(".") or "class" for name in names]
    short = [name.encode()[:_LONGEST_NAME].decode(errors="ignore") for name in plain]
    taken = {name.lower() for name in short}
    distinct = len(taken) == len(short) and not taken & _RESERVED
    return short if distinct else [f"{at:03d}_{name}" for at, name in enumerate(short)]
