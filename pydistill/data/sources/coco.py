"""COCO's JSON: images, categories and boxes in one file a split, beside folders of images."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.boxes import Objects, understand_boxes
from pydistill.data.sources.dense import dense_splits
from pydistill.data.sources.folders import content
from pydistill.data.sources.inside import own_folder, read_inside
from pydistill.data.sources.labels import some
from pydistill.data.sources.letterbox import Size
from pydistill.data.sources.listing import Places
from pydistill.data.sources.names import assign, read_name
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixels import Encoded, decode_whole
from pydistill.data.sources.walk import shown
from pydistill.errors import DataError
from pydistill.limits import require_bytes

_LISTS = re.compile(rb'"(images|annotations)"\s*:\s*\[')
_CATEGORIES = re.compile(rb'"categories"\s*:\s*\[')
_LOOKED_AT = 1 << 16
"""Bytes at either end of a file in which these lists begin."""
_OTHERS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info", "unlabeled", "densepose")
"""Files of the same form that hold other annotations than the boxes of all classes."""
_COST = 10
"""Bytes of memory that a byte of JSON takes once it is read."""
_DEEPEST = 2
_PARTS = {"images": ("id", "file_name"), "annotations": ("image_id",), "categories": ("id", "name")}
"""Lists in such a file, and what each of their entries has."""


@dataclass(frozen=True, eq=False)
class _File:
    """One file, its parts checked.

    Attributes:
        path: Where it is.
        images: Objects with ``id`` and ``file_name``.
        annotations: Objects with ``image_id``, ``category_id`` and ``bbox``.
        categories: Names by id, in ascending order.
    """

    path: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: dict[int, str]


class CocoFolder(Source):
    """A folder with a JSON file of COCO's form a split, or one such file.

    The file is named after its split (``annotations/instances_train2017.json``), or lies in a folder that
    is (``train/_annotations.coco.json``). Images are looked for beside it, in folders named after the
    split, and in all folders of the data set. Categories are numbered in the order of their ids.
    """

    understands: ClassVar[str] = (
        "a folder of images and COCO's JSON (annotations/instances_train.json, or train/*.json), or one "
        "such file"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names"})
    tasks: ClassVar[tuple[str, ...]] = ("detection",)

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and bool(_files(path))

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        root = _unwrapped(path.absolute()) if path.is_dir() else path.absolute().parent
        notes: list[str] = []
        files = {split: _open(file, root) for split, file in _by_split(path, notes).items()}
        images: dict[str, Tensor] = {}
        shapes: dict[str, Sequence[Size]] = {}
        objects: dict[str, list[Objects]] = {}
        names: dict[str, tuple[str, ...] | None] = {}
        seen = Seen()
        for split, file in files.items():
            if split != "train" and not file.annotations:
                notes.append(f"the {split} split of the source has no objects: it is left out")
                continue
            found = _pictures(file, root, split, path)
            encoded = _encoded(found, split)
            images[split], shapes[split] = decode_whole(encoded, options.size, seen)
            _check_sizes(file, shapes[split], split)
            objects[split] = _objects(file, split)
            names[split] = tuple(file.categories.values())
        read = understand_boxes(objects, shapes, options, names)
        made = dense_splits(images, read, seen.notes(), shapes, options.size)
        return Raw.of(
            source_name(path),
            made.task,
            made.splits,
            ("task: detection, by boxes in JSON as COCO has them", *notes, *made.notes),
            named=made.named,
            origins={split: f"file {_relative(files[split].path, root)!r}" for split in made.splits},
            folders=surroundings(path),
        )


def _unwrapped(folder: Path) -> Path:
    """The folder that holds more than one folder, where others hold nothing else."""
    inner = shown(folder)
    while len(inner) == 1 and inner[0].is_dir() and not _may_hold(inner[0]):
        folder = inner[0]
        inner = shown(folder)
    return folder


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _files(path: Path, deepest: int = _DEEPEST) -> list[Path]:
    """Files of COCO's form at ``path``, in it and in folders in it, in order."""
    if path.is_file():
        return [path.absolute()] if path.suffix.lower() == ".json" and _begins(path) else []
    found: list[Path] = []
    for entry in shown(_unwrapped(path.absolute())):
        if entry.is_file() or (deepest and _may_hold(entry)):
            found += _files(entry, deepest - 1)
    return found


def _may_hold(folder: Path) -> bool:
    """Whether a folder may hold such files: named after a split, or after annotations."""
    return folder.is_dir() and (
        read_name(folder.name) is not None
        or folder.name.lower() in ("annotations", "annotation", "annots", "labels", "coco", "json", "data")
    )


def _begins(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
            file.seek(max(0, path.stat().st_size - _LOOKED_AT))
            tail = file.read(_LOOKED_AT)
    except OSError:
        return False
    listed = head.lstrip().startswith(b"{") and _LISTS.search(head) is not None
    return listed and any(_CATEGORIES.search(part) is not None for part in (head, tail))


def _by_split(path: Path, notes: list[str]) -> dict[str, Path]:
    """The file of each split.

    Raises:
        DataError: There are several for one split, or none for the training split.
    """
    files = _files(path)
    kept = [file for file in files if not file.stem.lower().startswith(_OTHERS)] or files
    root = path.absolute()
    if len(kept) == 1:
        chosen = {"train": kept[0]}
    else:
        words: dict[str, list[Path]] = {}
        for file in kept:
            words.setdefault(_word(file, root), []).append(file)
        several = next((each for each in words.values() if len(each) > 1), None)
        if several is not None:
            names = some([_relative(file, root) for file in several])
            raise DataError(f"{path}: the files {names} stand for one split: keep one, or give its path")
        chosen = {split: words[word][0] for split, word in assign(words, str(path)).items()}
        if "train" not in chosen:
            names = some([_relative(file, root) for file in kept])
            raise DataError(
                f"{path}: none of the files {names} is named after the training split: name one train.json"
            )
    spare = [_relative(file, root) for file in files if file not in chosen.values()]
    if spare:
        notes.append(f"files of other annotations are not read: {some(spare)}")
    return chosen


def _word(file: Path, root: Path) -> str:
    """The name that says which split a file is of: its own, else that of the nearest folder that does."""
    stem = file.stem.removeprefix("instances_")
    for name in (
        stem,
        *(folder.name for folder in file.parents if folder != root and root in folder.parents),
    ):
        if read_name(name) is not None:
            return name
    return stem


def _open(path: Path, root: Path) -> _File:
    """A file, read and looked through.

    Raises:
        DataError: It is no JSON, or not of COCO's form.
    """
    require_bytes(_COST * path.stat().st_size, str(path))
    try:
        whole = json.loads(read_inside(path, [own_folder(root)]))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    parts = {}
    for part, keys in _PARTS.items():
        found = whole.get(part)
        if found is None and part == "annotations":
            found = []
        if not isinstance(found, list):
            raise DataError(f"{path}: expected a list of {part}, as COCO has them, found {_short(found)}")
        odd = next((at for at, each in enumerate(found) if not _has(each, keys)), None)
        if odd is not None:
            raise DataError(
                f"{path}: {part}[{odd}] has no {' and '.join(keys)}, as COCO has them: {_short(found[odd])}"
            )
        parts[part] = found
    numbers = [each["id"] for each in parts["categories"]]
    if not all(isinstance(number, int) for number in numbers) or len(set(numbers)) < len(numbers):
        raise DataError(
            f"{path}: expected different whole numbers as ids of categories, found {some(numbers)}"
        )
    ordered = sorted(parts["categories"], key=lambda each: int(each["id"]))
    names = {int(each["id"]): str(each["name"]) for each in ordered}
    if len(set(names.values())) < len(names):
        raise DataError(f"{path}: two categories have the same name: {some(list(names.values()))}")
    return _File(path, parts["images"], parts["annotations"], names)


def _has(each: Any, keys: tuple[str, ...]) -> bool:
    """Whether an entry is an object with these keys, whose values are numbers or texts."""
    return isinstance(each, dict) and all(isinstance(each.get(key), int | str) for key in keys)


def _pictures(file: _File, root: Path, split: str, source: Path) -> list[Path]:
    """The file of every image.

    Raises:
        DataError: One is missing.
    """
    here = [folder for folder in (root, *_folders(root)) if _is_of(folder.name, split)]
    places = Places(list(dict.fromkeys([file.path.parent, *here, root, *_folders(root)])), own_folder(root))
    found, missing = [], []
    for each in file.images:
        path = places.find(each["file_name"])
        found.append(path or root)
        missing += [] if path is not None else [each["file_name"]]
    if missing:
        raise DataError(
            f"{file.path}: {len(missing)} of {len(file.images)} images are missing, the first "
            f"{missing[0]!r}: put them beside it, or into a folder of {root}"
        )
    return found


def _folders(root: Path) -> list[Path]:
    """Folders in ``root``, and in those folders in it that hold images by their name."""
    first = [path for path in shown(root) if path.is_dir()]
    return [*first, *(inner for path in first for inner in shown(path) if inner.is_dir())]


def _is_of(name: str, split: str) -> bool:
    read = read_name(name)
    return read is not None and read.split == split


def _encoded(pictures: Sequence[Path], split: str) -> Iterator[Encoded]:
    return ((f"{path} ({split} split)", content(path)) for path in pictures)


def _check_sizes(file: _File, shapes: Sequence[Size], split: str) -> None:
    """Refuse an image of another size than the file says: its boxes would lie elsewhere."""
    for each, (height, width) in zip(file.images, shapes, strict=True):
        said = each.get("height"), each.get("width")
        if None not in said and said != (height, width):
            raise DataError(
                f"{_title(file, each, split)}: the image is {height} x {width} pixels (height x width), "
                f"but the file says {said[0]} x {said[1]}, in which its boxes are: give images of that size"
            )


def _title(file: _File, image: dict[str, Any], split: str) -> str:
    return f"{file.path} ({split} split), image {image['file_name']!r}"


def _objects(file: _File, split: str) -> list[Objects]:
    """The objects of every image, categories by their place in the order of ids.

    Raises:
        DataError: An annotation is of no image in the file, or of no category; image and box are named.
    """
    order = {number: at for at, number in enumerate(file.categories)}
    held: dict[Any, list[dict[str, Any]]] = {each["id"]: [] for each in file.images}
    if len(held) < len(file.images):
        raise DataError(f"{file.path}: two images have the same id")
    for at, annotation in enumerate(file.annotations):
        if annotation["image_id"] not in held:
            raise DataError(
                f"{file.path} ({split} split): annotations[{at}] is of image {annotation['image_id']!r}, "
                "which is not among the images"
            )
        held[annotation["image_id"]].append(annotation)
    made = []
    for image in file.images:
        title, found = _title(file, image, split), held[image["id"]]
        for at, each in enumerate(found):
            if not _has(each, ("category_id",)) or each["category_id"] not in order:
                raise DataError(
                    f"{title}, box {at} is of an unknown category {each.get('category_id')!r}: the "
                    f"categories are {some(list(order))}"
                )
        made.append(
            Objects(
                title,
                [each.get("bbox") for each in found],
                [order[each["category_id"]] for each in found],
                [each.get("iscrowd", 0) for each in found],
            )
        )
    return made


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
