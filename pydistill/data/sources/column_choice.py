"""Which columns of a table hold images and which their targets: labels, masks or boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydistill.data.sources.base import Options
from pydistill.data.sources.cells import holds_files, item_of, shown
from pydistill.data.sources.labels import some
from pydistill.errors import DataError

_LABELS = ("label", "labels")
_LABELS_IN_TURN = ("fine_label", "target", "targets", "class", "cls", "category")
"""Columns of labels, by falling preference, where several are possible; the choice is told."""
_IMAGES = ("image", "images", "img", "picture", "jpg", "jpeg", "png", "webp")
_MASKS = (
    "annotation", "mask", "segmentation_mask", "semantic_mask", "segmentation", "semantic_segmentation",
    "segmentation_map", "label_map", "annotations", "masks", "label", "labels", "seg", "seg_mask",
    "ground_truth", "gt", "target",
)  # fmt: skip
"""Columns of masks, by falling preference, where they hold images or grids of integers."""
_BOXES = ("bbox", "bboxes", "boxes", "box")
_CATEGORIES = (
    "category", "categories", "category_id", "category_ids", "label", "labels", "class", "classes",
    "class_label", "class_labels", "class_id", "class_ids",
)  # fmt: skip
_CROWDS = ("iscrowd", "is_crowd")


@dataclass(frozen=True)
class ObjectColumns:
    """Where a table has the objects of an image.

    Attributes:
        column: The column that holds them; None: boxes and labels are columns of their own.
        boxes: The field, or column, of boxes.
        labels: Of their categories.
        crowds: Of marks of crowds; None where there is none.
        kind: The type of the categories.
    """

    column: str | None
    boxes: str
    labels: str
    crowds: str | None
    kind: Any

    @property
    def title(self) -> str:
        """What the caller calls it: the value of ``target_column``."""
        return self.boxes if self.column is None else self.column

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the table that it takes."""
        own = (self.boxes, self.labels, *(() if self.crowds is None else (self.crowds,)))
        return own if self.column is None else (self.column,)


@dataclass(frozen=True)
class Chosen:
    """What a table is read for.

    Attributes:
        task: ``"classification"``, ``"segmentation"`` or ``"detection"``.
        image: The column of images.
        target: The column of labels or masks, or what :attr:`ObjectColumns.title` says.
        notes: What was decided, a sentence each.
        objects: For detection.
    """

    task: str
    image: str
    target: str
    notes: tuple[str, ...]
    objects: ObjectColumns | None = None


def choose(name: str, features: Mapping[str, Any], options: Options) -> Chosen:
    """The columns to read.

    A column ``label`` or ``labels`` of classes comes first, then masks, then boxes, then other columns of
    classes; ``options.task`` and ``options.target_column`` decide otherwise.

    Raises:
        DataError: A column that is asked for is missing or does not serve the task, or none can be told.
    """
    present = shown(features)
    for option, column in (
        ("image_column", options.image_column),
        ("target_column", options.target_column),
        ("block_column", options.block_column),
    ):
        if column is not None and column not in features:
            raise DataError(f"{name}: {option}={column!r} is not among its columns: {present}")
    image, masks = _images_and_masks(name, features, options)
    objects = {found.title: found for found in _objects(features)}
    taken = {*masks, image, *(column for found in objects.values() for column in found.columns)}
    label, others = _label(features, image, taken, options)
    found = {"classification": label, "segmentation": next(iter(masks), None)} | {
        "detection": next(iter(objects), None)
    }
    task = _task(name, features, options, found, objects)
    target = options.target_column or found[task]
    if target is None:
        raise DataError(
            f"{name}: give target_column, the column of class labels; its columns are {present}"
        )
    return Chosen(
        task, image, target, _told(task, image, target, found, others, options), objects.get(target)
    )


def _images_and_masks(name: str, features: Mapping[str, Any], options: Options) -> tuple[str, list[str]]:
    """The column of images, and columns that hold masks for it, by falling preference."""
    from datasets import Image

    asked = options.target_column
    pictures = [column for column, kind in features.items() if isinstance(kind, Image)]
    named = [column for column in _MASKS if column in features and _may_be_mask(features[column])]
    if asked is not None and _may_be_mask(features[asked]) and asked not in named:
        named.insert(0, asked)
    masks = [column for column in named if column != options.image_column]
    images = [column for column in pictures if column not in masks]
    if not images and pictures:  # the one column of images may be called what masks are called
        images, masks = pictures, [column for column in masks if column not in pictures]
    images = images or [
        column
        for column in _IMAGES
        if column in features and column not in masks and _may_hold(features[column])
    ]
    image = options.image_column or (images[0] if len(images) == 1 else None)
    if image is None or not _may_hold(features[image]):
        raise DataError(
            f"{name}: give image_column, one column of images; its columns are {shown(features)}"
        )
    return image, [column for column in masks if column != image]


def _label(
    features: Mapping[str, Any], image: str, taken: set[str], options: Options
) -> tuple[str | None, list[str]]:
    """The column of class labels, and others that have class names."""
    from datasets import ClassLabel

    labels = [column for column, kind in features.items() if isinstance(kind, ClassLabel)]
    usual = [column for column in _LABELS if column in features and column not in taken]
    target = next(iter(usual or (labels if len(labels) < 2 else [])), None)
    if target is None:
        free = [column for column in _LABELS_IN_TURN if column in features and column not in taken]
        target = next(iter(free), None)
    chosen = options.target_column or target
    return target, [column for column in labels if column != chosen]


def _task(
    name: str,
    features: Mapping[str, Any],
    options: Options,
    found: Mapping[str, str | None],
    objects: Mapping[str, ObjectColumns],
) -> str:
    """What the table is read for."""
    column = options.target_column
    if column is not None:
        kind = "detection" if column in objects else "classification"
        kind = "segmentation" if _may_be_mask(features[column]) and kind == "classification" else kind
        if options.task not in (None, kind):
            raise DataError(
                f"{name}: target_column={column!r} is for {kind}, but task={options.task!r} was asked for: "
                "leave one of the two out"
            )
        return kind
    if options.task is not None:
        if found[options.task] is None and options.task != "classification":
            raise DataError(
                f"{name} cannot be read for task={options.task!r}: it has no column of "
                f"{_NEEDED[options.task]}; its columns are {shown(features)}"
            )
        return options.task
    if found["classification"] in _LABELS:
        return "classification"
    order = ("segmentation", "detection")
    return next((task for task in order if found[task] is not None), "classification")


_NEEDED = {
    "segmentation": f"masks (an image, or a grid of integers, called {', '.join(_MASKS[:3])}, ...; "
    "target_column= names any)",
    "detection": f"objects (lists {', '.join(_BOXES[:3])} of x, y, width, height and "
    f"{', '.join(_CATEGORIES[:2])}, ..., alone or in a column such as objects)",
}


def _told(
    task: str,
    image: str,
    target: str,
    found: Mapping[str, str | None],
    others: Sequence[str],
    options: Options,
) -> tuple[str, ...]:
    """What was taken, where there was a choice or it is no classification."""
    notes = []
    if task != "classification":
        what = "masks" if task == "segmentation" else "boxes"
        notes.append(f"task: {task}, by the {what} in column {target!r} of the images in column {image!r}")
    elif others and options.target_column is None:
        notes.append(f"labels are column {target!r}; {some(others)} may be had by target_column=")
    rest = [each for each, column in found.items() if each != task and column is not None]
    if options.task is None and options.target_column is None and rest:
        choices = " or ".join(f"task={each!r} (column {found[each]!r})" for each in rest)
        notes.append(f"it is read for {task}; {choices} would be read otherwise")
    return tuple(notes)


def _objects(features: Mapping[str, Any]) -> list[ObjectColumns]:
    """Every way in which a table holds boxes with their categories."""
    made = []
    for column, kind in features.items():
        fields = kind if isinstance(kind, Mapping) else item_of(kind)
        if isinstance(fields, Mapping) and (found := _fields(fields, column)) is not None:
            made.append(found)
    lists = {column: kind for column, kind in features.items() if item_of(kind) is not None}
    own = _fields(lists, None)
    return made if own is None or item_of(item_of(lists[own.boxes])) is None else [*made, own]


def _fields(fields: Mapping[str, Any], column: str | None) -> ObjectColumns | None:
    boxes, labels, crowds = (
        next((each for each in known if each in fields), None) for known in (_BOXES, _CATEGORIES, _CROWDS)
    )
    if boxes is None or labels is None:
        return None
    return ObjectColumns(column, boxes, labels, crowds, fields[labels])


def _may_be_mask(kind: Any) -> bool:
    """Whether a column of this type may hold a class a pixel: images, or grids of integers."""
    from datasets import Image

    if isinstance(kind, Image) or type(kind).__name__ == "Array2D":
        return True
    if isinstance(kind, Mapping):
        return "bytes" in kind
    inner = item_of(item_of(kind))
    dtype = str(getattr(inner, "dtype", ""))
    return inner is not None and (hasattr(inner, "names") or dtype.startswith(("int", "uint")))


def _may_hold(kind: Any) -> bool:
    """Whether a column of this type may hold images: pictures, encoded bytes, arrays."""
    if holds_files(kind):
        return not isinstance(kind, Mapping) or "bytes" in kind
    name = type(kind).__name__
    return name in ("List", "LargeList", "Sequence", "Array2D", "Array3D") or isinstance(kind, list)
