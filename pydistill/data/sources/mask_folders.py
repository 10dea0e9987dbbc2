"""Folders of images beside folders of masks."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.dense import dense_splits
from pydistill.data.sources.folders import content
from pydistill.data.sources.inside import own_folder, read_inside
from pydistill.data.sources.letterbox import Size
from pydistill.data.sources.mask_classes import understand_masks
from pydistill.data.sources.mask_names import names_beside
from pydistill.data.sources.masks import MaskSplit, Values, decode_masks
from pydistill.data.sources.names import assign, read_name
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixels import Encoded, decode_whole
from pydistill.data.sources.roles import Said, read_role
from pydistill.data.sources.walk import Folder, has_pictures, scan, shown, told
from pydistill.errors import DataError

_ENDING = re.compile(r"[-_ ]?(mask|masks|label|labels|l|seg|segmentation|gt|annotation|annot|groundtruth)$")
"""What the name of a mask may have behind the name of its image."""
_LISTS = ("ImageSets", "Segmentation")
"""Where Pascal VOC lists the images of each split."""
_DEEPEST = 3


class MaskFolder(Source):
    """``images`` beside ``masks`` (or ``annotations``, ``labels``, ...), a mask called as its image is.

    Splits are folders above or below these (``train/images``, ``images/train``), or lie beside each other
    as ``train`` and ``trainannot``, or are listed as by Pascal VOC (``ImageSets/Segmentation/train.txt``).
    """

    understands: ClassVar[str] = (
        "a folder of images and masks (images/*.jpg and masks/*.png of the same names, with train, val and "
        "test above or below)"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "void"})
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and _is_one(path)

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        tree = scan(path)
        found = _Found()
        _collect(tree, Said(None, None), (), found)
        listed = _listed(tree)
        chosen, notes = _by_split(found, listed, path)
        values, seen = Values(), Seen()
        images: dict[str, Tensor] = {}
        shapes: dict[str, Sequence[Size]] = {}
        masks: dict[str, MaskSplit] = {}
        used: set[Path] = set()
        for split, pairs in chosen.items():
            pictures, drawn = zip(*pairs, strict=True)
            images[split], shapes[split] = decode_whole(_encoded(pictures, split), options.size, seen)
            masks[split] = decode_masks(_encoded(drawn, split), shapes[split], options.size, values)
            used |= {file for pair in pairs for file in pair}
        named = (names_beside(each.path) for each in tree.every() if each.others)
        own, said = next((found for found in named if found[0] is not None), (None, ()))
        name = source_name(path)
        read = understand_masks(masks, values, options, own, (name, *surroundings(path)[:2]))
        made = dense_splits(images, read, (*said, *seen.notes()), shapes, options.size)
        first = next(iter(chosen["train"]))
        return Raw.of(
            name,
            made.task,
            made.splits,
            (
                "task: segmentation, by pairs of an image and a mask such as "
                f"{' and '.join(repr(file.relative_to(path).as_posix()) for file in first)}",
                *notes,
                *made.notes,
                *told(tree, used, notes),
            ),
            named=made.named,
            origins={split: found.origins.get(split, "images and masks") for split in made.splits},
            folders=surroundings(path),
        )


def _is_one(root: Path, deepest: int = _DEEPEST) -> bool:
    """Whether folders of images lie beside folders of masks; names of files are not all read."""
    folders = [path for path in shown(root) if path.is_dir()]
    said = {path: read_role(path.name) for path in folders}
    masks = [path for path in folders if said[path].role == "masks" and has_pictures(path)]
    if masks and any(said[path].role == "images" and has_pictures(path) for path in folders):
        return True
    splits = [path for path in folders if said[path].role is None and said[path].split is not None]
    if any(said[mask].split == said[path].split and _is_flat(path) for mask in masks for path in splits):
        return True
    inner = splits or [path for path in folders if has_pictures(path)]
    alone = bool(splits) or len(inner) == 1
    return bool(deepest) and alone and any(_is_one(path, deepest - 1) for path in inner)


def _is_flat(folder: Path) -> bool:
    """Whether pictures lie directly in a folder, not in folders of classes."""
    return has_pictures(folder, 0)


@dataclass
class _Found:
    """Pictures by word for a split (empty: none), by role, by their names in it."""

    images: dict[str, dict[str, Path]] = field(default_factory=dict)
    masks: dict[str, dict[str, Path]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def _collect(folder: Folder, said: Said, parts: tuple[str, ...], found: _Found) -> None:
    """Sort all pictures below ``folder`` by what the names of the folders above them say.

    Args:
        folder: Where.
        said: By the folders so far.
        parts: Names of folders below those of roles and splits: they belong to the pictures' names.
        found: Takes the pictures.

    Raises:
        DataError: Two pictures have the same name and role.
    """
    if folder.pictures and (said.role is not None or said.split is not None):
        held = found.masks if said.role == "masks" else found.images
        names = held.setdefault(said.split or "", {})
        for picture in folder.pictures:
            key = "/".join((*parts, picture.stem)).lower()
            if key in names:
                raise DataError(f"{names[key]} and {picture} have the same name: keep one")
            names[key] = picture
    for inner in folder.folders:
        own = read_role(inner.name)
        role = said.role or own.role
        split = said.split or own.split
        speaks = (said.role is None and own.role is not None) or (
            said.split is None and own.split is not None
        )
        _collect(inner, Said(role, split), parts if speaks else (*parts, inner.name), found)


def _listed(tree: Folder) -> dict[str, list[str]]:
    """Names of images by split, as Pascal VOC lists them; empty where it does not."""
    for folder in tree.every():
        if folder.path.parts[-2:] == _LISTS:
            files = {path.stem: path for path in folder.others if path.suffix == ".txt"}
            lists = {word: files[word] for word in ("train", "val", "test") if word in files}
            if "train" in lists:
                roots = [own_folder(tree.path)]
                return {
                    word: read_inside(path.absolute(), roots).decode(errors="replace").split()
                    for word, path in lists.items()
                }
    return {}


def _by_split(
    found: _Found, listed: dict[str, list[str]], root: Path
) -> tuple[dict[str, list[tuple[Path, Path]]], list[str]]:
    """Pairs of image and mask of every split, in order of their names; what was left out, as notes.

    Raises:
        DataError: The training split has no pair, or an image has several masks.
    """
    notes: list[str] = []
    images, masks = found.images, found.masks
    if listed and set(images) == set(masks) == {""}:
        whole = _pairs(images[""], masks[""])
        chosen = {
            split: [whole[name.lower()] for name in listed[word] if name.lower() in whole]
            for split, word in assign(listed, str(root)).items()
        }
        missing = sum(name.lower() not in whole for names in listed.values() for name in names)
        if missing:
            notes.append(f"{missing:,} listed images have no mask: they are left out")
        found.origins.update(
            {split: f"list of {word!r}" for split, word in assign(listed, str(root)).items()}
        )
        return _require(chosen, root), notes
    words = assign(set(images) - {""}, str(root))
    if not words:
        words = {"train": ""} if "" in images else {}
    chosen = {}
    for split, word in words.items():
        beside = next((each for each in masks if _alike(each, word)), None)
        if beside is None:
            if split == "train":
                raise DataError(f"{root}: the images of the training split have no folder of masks")
            notes.append(f"the {split} split of the source has no masks: it is left out")
            continue
        whole = _pairs(images[word], masks[beside])
        without = len(images[word]) - len(whole)
        if without:
            lacking = min(set(images[word]) - set(whole))
            notes.append(
                f"{without:,} images of the {split} split have no mask and are left out, such as "
                f"{images[word][lacking].name!r}"
            )
        chosen[split] = [whole[key] for key in sorted(whole)]
        if word:
            found.origins[split] = f"folder {word!r}"
    return _require(chosen, root), notes


def _require(chosen: dict[str, list[tuple[Path, Path]]], root: Path) -> dict[str, list[tuple[Path, Path]]]:
    if not chosen.get("train"):
        raise DataError(
            f"{root}: no training image has a mask: expected masks that are called as their images are, "
            "such as images/1.jpg and masks/1.png"
        )
    return {split: pairs for split, pairs in chosen.items() if pairs}


def _alike(one: str, other: str) -> bool:
    """Whether two words name the same split."""
    read, against = read_name(one), read_name(other)
    return one == other or (read is not None and against is not None and read.split == against.split)


def _pairs(images: dict[str, Path], masks: dict[str, Path]) -> dict[str, tuple[Path, Path]]:
    """Image and mask by the image's name: equal names, else without folders, else without an ending."""
    keys = list(images)
    for shorten in (_whole, _bare, _without_ending):
        named: dict[str, Path] = {}
        for key, mask in masks.items():
            short = shorten(key)
            if shorten is not _whole and short in named and short in map(_bare, keys):
                raise DataError(f"{named[short]} and {mask} both look like the mask of one image: keep one")
            named[short] = mask
        found = {
            key: (image, named[short])
            for key, image in images.items()
            if (short := key if shorten is _whole else _bare(key)) in named
        }
        if found:
            return found
    return {}


def _whole(key: str) -> str:
    return key


def _bare(key: str) -> str:
    return key.rpartition("/")[2]


def _without_ending(key: str) -> str:
    return _ENDING.sub("", _bare(key))


def _encoded(files: Sequence[Path], split: str) -> Iterator[Encoded]:
    return ((f"{path} ({split} split)", content(path)) for path in files)
