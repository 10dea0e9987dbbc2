"""How a folder of images is laid out: which folders are splits, which are classes."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pydistill.data.sources.labels import plain, some
from pydistill.data.sources.names import assign, read_name
from pydistill.data.sources.walk import FOREIGN, Folder
from pydistill.errors import DataError

_GENERAL = frozenset(
    ("image", "images", "img", "imgs", "jpegimages", "data", "pictures", "photos", "unknown")
)
_UNLABELLED = frozenset(("unlabeled", "unlabelled", "unknown", "all", "none"))


@dataclass(frozen=True)
class Layout:
    """Folders of splits.

    Attributes:
        root: The folder that holds them, any wrapping taken off.
        splits: The folder of each split; ``root`` itself where there are none.
        classes: Folders of each split by class; None for a split whose pictures lie in no class folders.
        notes: What was decided, a sentence each.
    """

    root: Folder
    splits: dict[str, Folder]
    classes: dict[str, list[Folder] | None]
    notes: tuple[str, ...]


def understand_layout(tree: Folder) -> Layout:
    """Which folders below ``tree`` are splits and classes.

    A folder is a split where its name says so and its pictures lie in folders within it, never for its name
    alone: a class may be called ``train``.

    Raises:
        DataError: Folders are named like splits but cannot be understood as such, or are ambiguous.
    """
    root, notes = _unwrap(tree)
    named = {folder.name: read for folder in root.folders if (read := read_name(folder.name)) is not None}
    filled = {read.split for folder in root.filled if (read := named.get(folder.name)) is not None}
    named = {
        folder.name: named[folder.name]
        for folder in root.folders
        if folder.name in named and (folder.holds or named[folder.name].split not in filled)
    }
    folders = {folder.name: folder for folder in root.folders}
    training = [name for name, read in named.items() if read.split == "train" and folders[name].is_divided]
    flat = [name for name, read in named.items() if read.split == "train" and folders[name].pictures]
    beside = [name for name, read in named.items() if read.split != "train" and folders[name].holds]
    if training or (flat and (beside or len(root.filled) == 1)):
        candidates = [n for n in named if named[n].split != "train" or n in training or not training]
        chosen = assign(candidates, str(root.path))
        if "train" in chosen:
            splits = {split: _inner(folders[name]) for split, name in chosen.items()}
            return _with_classes(root, splits, notes)
    divided = [name for name in beside if folders[name].is_divided]
    if divided:
        return _beside_classes(root, folders, divided, notes)
    return Layout(root, {"train": root}, {"train": _classes(root, notes)}, tuple(notes))


def _unwrap(tree: Folder) -> tuple[Folder, list[str]]:
    """The folder in which splits or classes lie side by side."""
    root, notes = tree, []
    while not root.pictures:
        inner = root.filled[0] if len(root.filled) == 1 else _holder_of_splits(root)
        if inner is None or read_name(inner.name) is not None or inner.pictures:
            break
        strays = [folder.name for folder in root.folders if folder is not inner]
        notes += [f"folders beside it are left out: {some(strays)}"] if strays else []
        root = inner
    if root is not tree:
        notes.insert(0, f"read from the folder {root.path.relative_to(tree.path).as_posix()!r}")
    return root, notes


def _holder_of_splits(root: Folder) -> Folder | None:
    """The one folder in ``root`` that holds a training split, where ``root`` has no splits itself."""
    if any(read_name(folder.name) is not None for folder in root.filled):
        return None
    found = [
        folder
        for folder in root.filled
        if any(_is_training(part) for inner in folder.filled for part in (inner, *inner.filled))
    ]
    return found[0] if len(found) == 1 else None


def _is_training(folder: Folder) -> bool:
    read = read_name(folder.name)
    return read is not None and read.split == "train" and folder.is_divided


def _inner(split: Folder) -> Folder:
    """The folder of classes or pictures in a split's: ``seg_train/seg_train``, ``val/images``."""
    while not split.pictures and len(split.filled) == 1:
        inner = split.filled[0]
        same = plain(inner.name).lower() == plain(split.name).lower() or read_name(inner.name) is not None
        if not (same or inner.is_divided or inner.name.lower() in _GENERAL):
            break
        split = inner
    return split


def _with_classes(root: Folder, splits: dict[str, Folder], notes: list[str]) -> Layout:
    seen: dict[Path, str] = {}
    classes: dict[str, list[Folder] | None] = {}
    for split, folder in list(splits.items()):
        target = folder.path.resolve()
        if target in seen:
            raise DataError(
                f"{folder.path} is the {seen[target]} split's own folder: give the {split} split its own"
            )
        seen[target] = split
        if not folder.holds:
            if split == "train":
                raise DataError(f"{folder.path} holds no images")
            notes.append(f"the folder of the {split} split holds no images: it is left out")
            del splits[split]
            continue
        known = classes.get("train")
        classes[split] = _classes(folder, notes) if folder.filled else None
        found = classes[split]
        if split != "train" and known and found and _is_one_heap(found, known):
            splits[split], classes[split] = found[0], None
    strays = [folder.name for folder in root.folders if not _is_used(folder, splits)]
    if strays:
        notes.append(f"folders beside the splits are left out: {some(strays)}")
    return Layout(root, splits, classes, tuple(notes))


def _is_used(folder: Folder, splits: dict[str, Folder]) -> bool:
    return any(split.path.is_relative_to(folder.path) for split in splits.values())


def _is_one_heap(found: list[Folder], known: list[Folder]) -> bool:
    """Whether a split's only folder is no class: it holds pictures of all classes."""
    names = {plain(folder.name) for folder in known}
    general = _GENERAL | _UNLABELLED
    return len(found) == 1 and plain(found[0].name) not in names and found[0].name.lower() in general


def _beside_classes(
    root: Folder, folders: dict[str, Folder], divided: list[str], notes: list[str]
) -> Layout:
    """Class folders of the training split beside folders of other splits, which have the same classes."""
    chosen = assign(divided, str(root.path))
    rest = [folder for name, folder in folders.items() if name not in divided]
    names = {plain(folder.name) for folder in rest}
    for split, name in chosen.items():
        if not names & {plain(folder.name) for folder in _inner(folders[name]).folders}:
            raise DataError(
                f"{root.path} has a folder {name!r} for the {split} split but none for the training split: "
                "name that 'train'"
            )
    without = Folder(root.path, root.pictures, rest, root.others, root.hidden)
    splits = {"train": without} | {split: _inner(folders[name]) for split, name in chosen.items()}
    classes: dict[str, list[Folder] | None] = {
        split: _classes(folder, notes) for split, folder in splits.items()
    }
    return Layout(root, splits, classes, tuple(notes))


def _classes(root: Folder, notes: list[str]) -> list[Folder] | None:
    """The folders of classes in one of a split; None where there is none."""
    kept = [folder for folder in root.folders if folder.holds or _may_be_class(folder)]
    if not any(folder.holds for folder in kept):
        return None
    strays = [folder.name for folder in root.folders if folder not in kept]
    if strays:
        notes.append(f"folders without pictures are left out: {some(strays)}")
    if len(kept) > 1 and all(not folder.pictures for folder in kept):
        shared = Counter(plain(inner.name).lower() for folder in kept for inner in folder.filled)
        both = sorted(name for name, count in shared.items() if count > 1)
        if len(both) > 1:
            raise DataError(
                f"{root.path}: the folders {some([folder.name for folder in kept], 4)} each hold folders "
                f"{some(both, 4)}: it cannot be told which are classes; give the path of one of them, or "
                "name them train, validation and test"
            )
    divided = [folder.name for folder in kept if folder.is_divided and len(folder.filled) > 1]
    names = {plain(folder.name).lower() for folder in kept}
    for folder in kept:
        again = sorted(
            names & {plain(inner.name).lower() for inner in folder.filled} - {plain(folder.name).lower()}
        )
        if again:
            raise DataError(
                f"{root.path}: the folder {folder.name!r} holds folders {some(again, 4)}, which lie "
                "beside it too: give the path of the folder that holds the classes alone, or remove one "
                "of the two"
            )
    wrapping = [name for name in divided if name.lower() in _GENERAL]
    if wrapping and len(kept) > 1:
        raise DataError(
            f"{root.path}: the folder {wrapping[0]!r} holds folders, but lies beside others: it cannot "
            "be told which are classes; give the path of the folder that holds the classes alone"
        )
    if divided and len(kept) > 1:
        notes.append(
            f"images in folders within {some(divided, 4)} count for these classes, whatever folder"
        )
    like_splits = [folder.name for folder in kept if (read := read_name(folder.name)) and not read.rest]
    if len({read.split for name in like_splits if (read := read_name(name))}) > 1:
        raise DataError(
            f"{root.path}: the folders {some(like_splits)} are named like splits, but hold no folders of "
            "classes: put the images of each class into a folder, or beside them a table metadata.csv "
            "with columns file_name and label"
        )
    if like_splits:
        notes.append(f"the folder {like_splits[0]!r} is a class: pictures lie directly in it")
    return kept


def _may_be_class(folder: Folder) -> bool:
    """Whether a folder without pictures is a class all the same: empty, or of images of other kinds."""
    files = [file for inner in folder.every() for file in inner.others]
    return not files or any(file.suffix.lower() in FOREIGN for file in files)
