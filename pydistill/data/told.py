"""Real data and distilled sets in one line, and as a small piece of HTML for notebooks."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from pydistill.data.short import shortage
from pydistill.data.weights import span
from pydistill.shown import printable

if TYPE_CHECKING:
    from pydistill.data.distilled import DistilledData
    from pydistill.data.real import RealData, Split
    from pydistill.tasks import Task

_CLASSES, _COLUMNS = 20, 10
"""Most classes and images a class in a picture."""
_SIDE = 96
"""Pixels that the longer side of a shown image has at most."""
_SHORT = 3
"""Most classes with fewer images that are named."""
_LONGEST = 60
"""Letters of a name."""
_LABELS = {
    "probabilities": "probabilities",
    "values": "values to regress",
    "augmentations": "probabilities of stored augmentations",
}
_STYLE = "border-collapse:collapse;text-align:left"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names; how many more there are."""
    shown = ", ".join(_cut(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def size(shape: Sequence[int]) -> str:
    """``3x32x32``."""
    return "x".join(map(str, shape))


def split_line(split: "Split") -> str:
    """``Split(54,000 images 1x28x28 uint8)``."""
    images = split.images
    kind = str(images.dtype).removeprefix("torch.")
    return f"Split({len(images):,} images {size(images.shape[1:])} {kind})"


def real_line(data: "RealData") -> str:
    """Name, splits, shape and classes of real data."""
    counts = ", ".join(f"{len(split):,} {name}" for name, split in _splits(data))
    names = data.task.class_names
    return (
        f"RealData({_cut(data.name)}: {counts} images {size(data.shape)}, {len(names)} classes "
        f"({some(names)}), {data.preprocess.name}, {'' if data.horizontal_flip else 'not '}mirrored)"
    )


def distilled_line(distilled: "DistilledData") -> str:
    """Method, data, budget, labels and bytes of a distilled set."""
    return f"DistilledData({'; '.join(f'{value}' for _, value in _facts(distilled))})"


def real_html(data: "RealData") -> str:
    """Facts and a picture of the first training images of each class."""
    names = data.task.class_names
    facts = [
        *((f"{name} images", f"{len(split):,}") for name, split in _splits(data)),
        ("size", size(data.shape)),
        ("classes", f"{len(names)}: {some(names, _CLASSES)}"),
        ("preprocessing", data.preprocess.name),
        ("mirrored in training", "yes" if data.horizontal_flip else "no"),
        ("fingerprint", data.fingerprint[:16]),
        *(("note", note) for note in data.notes),
    ]
    strata = data.task.strata(data.train.targets).members
    most = [member[:_COLUMNS] for member in strata[:_CLASSES]]
    chosen = torch.cat(most)
    images = data.train.images[chosen]
    pixels = images / 255 if images.dtype == torch.uint8 else images
    shown = _rows(data.task, pixels, data.train.targets[chosen])
    return _html(f"Real data: {_cut(data.name)}", facts, shown, f"Training images{_by_row(data.task)}")


def distilled_html(distilled: "DistilledData") -> str:
    """Facts and a picture of a distilled set."""
    shown = _rows(distilled.task, distilled.pixels(), distilled.hard_targets)
    return _html("Distilled set", _facts(distilled), shown, f"Stored images{_by_row(distilled.task)}")


def _rows(task: "Task", pixels: torch.Tensor, targets: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    from pydistill.data.pictures import rows

    return rows(task, pixels, targets, columns=_COLUMNS, most=_CLASSES)


def _by_row(task: "Task") -> str:
    return ", a row a class" if task.by_class else ""


def _each(distilled: "DistilledData") -> str:
    """Images a class that were asked for."""
    made = distilled.provenance
    if {*made.budget} <= {"ipc"} or made.part_of is not None:
        return str(made.ipc)
    counts = distilled.images_a_class
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _shared(distilled: "DistilledData") -> str:
    """How images are shared out among classes, where each is of one."""
    return f", {_each(distilled)} images each" if distilled.task.by_class else ""


def _labels(distilled: "DistilledData") -> str:
    kind = distilled.label_kind
    return distilled.task.target_names["hard"] if kind == "classes" else _LABELS[kind]


def _facts(distilled: "DistilledData") -> list[tuple[str, str]]:
    made, names = distilled.provenance, distilled.task.class_names
    count = f"{len(distilled.images):,} images {size(distilled.shape)}"
    if distilled.factor > 1:
        count += f" of {distilled.factor**2} views each"
    facts = [
        ("method", f"{_cut(made.method)} on {_cut(made.data)}"),
        ("stored", count),
        ("classes", f"{len(names)} classes ({some(names)}){_shared(distilled)}"),
        ("labels", f"labels: {_labels(distilled)}"),
        ("bytes", f"{distilled.nbytes['total']:,} bytes"),
    ]
    if distilled.weights is not None:
        facts.insert(-1, ("weights", f"images weighed {span(distilled.weights)}"))
    if made.part_of is not None:
        facts.append(("part", f"part of a set of {made.part_of:,}"))
    if 0 < len(made.short_classes) <= _SHORT:
        facts.append(("short", shortage(made.short_classes, made.ipc, distilled.factor)))
    elif made.short_classes:
        facts.append(("short", f"{len(made.short_classes)} classes have fewer images"))
    if made.exported is not None:
        facts.append(("exported", f"read from pictures of 8 bits ({made.exported['scale']})"))
    if distilled.images.device.type != "cpu":
        facts.append(("device", f"on {distilled.images.device}"))
    return facts


def _splits(data: "RealData") -> list[tuple[str, "Split"]]:
    return [("training", data.train), ("validation", data.validation), ("test", data.test)]


def _cut(text: str) -> str:
    plain = printable(text)
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."


def _html(
    title: str, facts: Iterable[tuple[str, str]], rows: Sequence[tuple[str, torch.Tensor]], caption: str
) -> str:
    cells = "".join(
        f"<tr><th style='{_STYLE}'>{escape(printable(name))}</th>"
        f"<td style='{_STYLE}'>{escape(printable(value))}</td></tr>"
        for name, value in facts
    )
    shown = [(name, images) for name, images in rows if len(images)]
    return (
        f"<div><strong>{escape(title)}</strong><table style='{_STYLE}'>{cells}</table>"
        f"{picture(shown, caption)}</div>"
    )


def picture(rows: Sequence[tuple[str, torch.Tensor]], caption: str) -> str:
    """An image element that holds a grid of images, nothing where there is none."""
    if not rows:
        return ""
    from pydistill.data.pictures import grid

    file, longest = io.BytesIO(), max(rows[0][1].shape[-2:])
    if longest > _SIDE:
        size = [max(1, side * _SIDE // longest) for side in rows[0][1].shape[-2:]]
        rows = [(name, F.interpolate(images, size, mode="area")) for name, images in rows]
    grid(rows, columns=_COLUMNS).save(file, format="PNG")
    content = base64.b64encode(file.getvalue()).decode()
    return f"<img alt='{escape(caption)}' src='data:image/png;base64,{content}' style='max-width:100%'>"
