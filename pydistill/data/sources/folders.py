"""Folders of image files: a folder a class, or a table of labels beside them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, source_name, surroundings
from pydistill.data.sources.inside import read_inside
from pydistill.data.sources.labels import plain, some, understand
from pydistill.data.sources.layout import Layout, understand_layout
from pydistill.data.sources.listing import LABELS, Listing, Places, file_column, understand_listing
from pydistill.data.sources.names import read_name
from pydistill.data.sources.picture import Seen
from pydistill.data.sources.pixels import decode
from pydistill.data.sources.tables import ENDINGS, Table, read_table
from pydistill.data.sources.walk import Folder, has_pictures, scan, told
from pydistill.errors import DataError
from pydistill.tasks import Classification

_TABLES_FIRST = ("metadata", "labels", "label", "annotations", "val_annotations")


class ImageFolder(Source):
    """``root/class/*.png``, or ``root/SPLIT/class/*.png`` for the splits train, test and val.

    Classes are numbered in the order of their folders' names (as numbers where all are); files count at
    any depth below. Images that lie in no class folders take their labels from a table beside them:
    ``metadata.csv`` with columns ``file_name`` and ``label``, or any that names the files.
    """

    understands: ClassVar[str] = (
        "a folder of images (root/class/*.png, or root/train/class/*.png and root/test/..., or images "
        "beside metadata.csv with file_name and label)"
    )
    takes: ClassVar[frozenset[str]] = frozenset({"class_names", "image_column", "target_column"})
    part_of: ClassVar[frozenset[str]] = frozenset({"CocoFolder", "MaskFolder"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and has_pictures(path)

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        tree = scan(path)
        layout = understand_layout(tree)
        notes = list(layout.notes)
        if (
            layout.classes["train"] is None
            or _is_heap(tree, layout)
            or _is_told_by_table(tree, layout, options)
        ):
            files, labels = _by_tables(tree, layout, options, notes)
            found = understand(labels, options.class_names)
            task, targets, named = found.task, found.targets, found.named
            notes += found.notes
        else:
            files, targets, names = _by_folders(tree, layout, options, notes)
            task, named = Classification(names), options.class_names is None
        seen = Seen()
        splits = {
            split: Split(decode(_encoded(files[split]), options.size, seen), numbers)
            for split, numbers in targets.items()
        }
        used = {file for split in targets for file in files[split]}
        return Raw(
            source_name(path),
            task,
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            (*notes, *told(tree, used, notes), *seen.notes()),
            named=named,
            origins={
                split: f"folder {_relative(folder, tree)!r}" for split, folder in layout.splits.items()
            },
            folders=surroundings(path),
        )


def _is_heap(tree: Folder, layout: Layout) -> bool:
    """Whether the one folder in the training split is no class, but holds images that a table labels."""
    classes = layout.classes["train"]
    if classes is None or len(classes) != 1:
        return False
    general = ("images", "image", "imgs", "img", "data", "pictures", "photos", "all")
    return (
        classes[0].name.lower() in general or _table(tree, layout.splits["train"], "train", []) is not None
    )


def _is_told_by_table(tree: Folder, layout: Layout, options: Options) -> bool:
    """Whether a table is asked to give labels, though there are folders as of classes.

    Raises:
        DataError: It is not asked to, but gives labels that are not those of the folders.
    """
    classes = layout.classes["train"]
    found = None if len(layout.splits) > 1 else _table(tree, layout.splits["train"], "train", [])
    if classes is None or found is None:
        return False
    if options.target_column is not None:
        return True
    if not found[0].find(LABELS):
        return False
    listing = understand_listing(*found, None, None)
    pairs = {
        (folder.name, label)
        for folder in classes
        for file, label in zip(listing.files, listing.labels, strict=True)
        if file.is_relative_to(folder.path)
    }
    if len(pairs) in (len({name for name, _ in pairs}), 0) and len({label for _, label in pairs}) == len(
        pairs
    ):
        return False
    column = found[0].find(LABELS)[0]
    raise DataError(
        f"{found[0].name} gives labels (column {column!r}) that are not those of the folders "
        f"{some([folder.name for folder in classes], 4)}: give target_column={column!r} to go by the "
        "table, or move the table away to go by the folders"
    )


def _by_folders(
    tree: Folder, layout: Layout, options: Options, notes: list[str]
) -> tuple[dict[str, list[Path]], dict[str, torch.Tensor], tuple[str, ...]]:
    """Files and targets of splits whose training split has a folder a class."""
    classes = layout.classes["train"]
    assert classes is not None
    names = options.class_names or _in_order([folder.name for folder in classes])
    index = {plain(name): at for at, name in enumerate(names)}
    files: dict[str, list[Path]] = {}
    targets: dict[str, torch.Tensor] = {}
    for split, folder in layout.splits.items():
        inner = layout.classes[split]
        if inner is None:
            listing = _listing(tree, folder, split, options, notes)
            if listing is None:
                continue
            if all(label is None for label in listing.labels):
                notes.append(f"the {split} split of the source has no labels: it is left out")
                continue
            numbers = [_index(label, index, names, split) for label in listing.labels]
            files[split], targets[split] = listing.files, torch.tensor(numbers, dtype=torch.int64)
            continue
        unknown = sorted(each.name for each in inner if plain(each.name) not in index)
        if unknown:
            raise DataError(
                f"{folder.path} has a folder {unknown[0]!r}, but the classes are {', '.join(names)}"
            )
        ordered = sorted(inner, key=lambda each: index[plain(each.name)])
        pairs = [(index[plain(each.name)], file) for each in ordered for file in each.all_pictures()]
        files[split] = [file for _, file in pairs]
        targets[split] = torch.tensor([at for at, _ in pairs], dtype=torch.int64)
    return files, targets, names


def _by_tables(
    tree: Folder, layout: Layout, options: Options, notes: list[str]
) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Files and labels of splits whose training split has them in a table."""
    files: dict[str, list[Path]] = {}
    labels: dict[str, Any] = {}
    for split, folder in layout.splits.items():
        listing = _listing(tree, folder, split, options, notes)
        if listing is None:
            continue
        if split == "train" and listing.splits is not None and len(layout.splits) == 1:
            return by_split(listing)
        files[split], labels[split] = listing.files, listing.labels
    for split in ("validation", "test"):
        if split in layout.splits:
            continue
        found = _table(tree, layout.splits["train"], split, [], named=True)
        if found is not None:
            listing = understand_listing(*found, options.image_column, options.target_column)
            notes += listing.notes
            files[split], labels[split] = listing.files, listing.labels
    return files, labels


def by_split(listing: Listing) -> tuple[dict[str, list[Path]], dict[str, Any]]:
    """Files and labels of a table with a column of splits."""
    assert listing.splits is not None
    files: dict[str, list[Path]] = {}
    labels: dict[str, list[Any]] = {}
    for file, label, split in zip(listing.files, listing.labels, listing.splits, strict=True):
        if split is not None:
            files.setdefault(split, []).append(file)
            labels.setdefault(split, []).append(label)
    return files, labels


def _listing(
    tree: Folder, folder: Folder, split: str, options: Options, notes: list[str]
) -> Listing | None:
    """The table that labels a split's pictures; None for test images without one, which are left out."""
    failures: list[str] = []
    found = _table(tree, folder, split, failures)
    if found is not None:
        listing = understand_listing(*found, options.image_column, options.target_column)
        notes += listing.notes
        return _only_in(folder, listing)
    if split == "test":
        notes.append(f"the test split, folder {_relative(folder, tree)!r}, has no labels: it is left out")
        return None
    reason = f" ({failures[0]})" if failures else ""
    raise DataError(
        f"{folder.path}: the images of the {split} split lie in no folders of classes, nor is there a "
        f"table of their labels{reason}: put the images of each class into a folder, or beside them a "
        "file metadata.csv with columns file_name and label"
    )


def _only_in(folder: Folder, listing: Listing) -> Listing:
    """The rows whose files lie in a split's folder: a table may list those of several."""
    kept = [at for at, file in enumerate(listing.files) if file.is_relative_to(folder.path)]
    if len(kept) == len(listing.files):
        return listing
    splits = None if listing.splits is None else [listing.splits[at] for at in kept]
    return replace(
        listing,
        files=[listing.files[at] for at in kept],
        labels=[listing.labels[at] for at in kept],
        splits=splits,
    )


def _table(
    tree: Folder, folder: Folder, split: str, failures: list[str], named: bool = False
) -> tuple[Table, Places] | None:
    """The first table that names pictures of a split; ``failures`` takes why others cannot be read.

    Args:
        tree: All that is there.
        folder: Where the split's pictures are.
        split: Its name.
        failures: Takes sentences.
        named: Look at tables alone that are named after the split.
    """
    for path in _tables(tree, folder, split, named):
        places = Places([folder.path], tree.path, also=[path.parent])
        try:
            table = read_table(path, lambda text, places=places: places.find(text) is not None)  # type: ignore[misc]
        except DataError as error:
            failures.append(str(error))
            continue
        column = file_column(table, places, None)
        if column is not None and (
            split == "train" or _is_its_own(path, table.columns[column], folder, tree)
        ):
            return table, places
    return None


def _is_its_own(path: Path, files: list[Any], folder: Folder, tree: Folder) -> bool:
    """Whether a table is this split's, not the training split's, whose files may have equal names."""
    around = path.parent.relative_to(tree.path).parts
    named = [read.split for part in (path.stem, *around) if (read := read_name(part)) is not None]
    if path.is_relative_to(folder.path) or any(word != "train" for word in named):
        return True
    return any(isinstance(file, str) and ("/" in file or "\\" in file) for file in files[:20])


def _tables(tree: Folder, folder: Folder, split: str, named: bool) -> list[Path]:
    """Tables that may label a split, the likeliest first: in its folder, then in those around it."""
    chain = [each for each in tree.every() if folder.path.is_relative_to(each.path)]
    found: list[Path] = []
    for each in sorted(chain, key=lambda each: -len(each.path.parts)):
        tables = [path for path in each.others if path.suffix.lower() in ENDINGS]
        own = [
            path for path in tables if (read := read_name(path.stem)) is not None and read.split == split
        ]
        general = [path for path in tables if read_name(path.stem) is None or each is folder]
        ranked = sorted(general, key=lambda path: path.stem.lower() not in _TABLES_FIRST)
        found += dict.fromkeys(own if named else [*own, *ranked])
    return found


def _index(label: object, index: dict[str, int], names: tuple[str, ...], split: str) -> int:
    """The class that a table's label means: its name, its name and more, or the number in its name."""
    text = plain(str(label))
    for tried in (text, text.split()[0] if text.split() else text):
        if tried in index:
            return index[tried]
    if isinstance(label, int):
        alike = [at for at, name in enumerate(names) if name.isdecimal() and int(name) == label]
        if len(alike) == 1:
            return alike[0]
    raise DataError(f"{split}: label {label!r} of a table is not among the classes {', '.join(names)}")


def _relative(folder: Folder, tree: Folder) -> str:
    return folder.path.relative_to(tree.path).as_posix()


def _encoded(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    return ((str(path), content(path)) for path in files)


def content(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DataError: It is no regular file, or cannot be read.
    """
    return read_inside(path, ())  # where links lead was seen as the folder was walked


def _in_order(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names))
