"""Files that people have and that are not read, each with what to do instead."""

from pathlib import Path
from typing import ClassVar

from pydistill.data.sources.base import TASKS, Options, Raw, Source, as_path
from pydistill.data.sources.names import read_name
from pydistill.data.sources.roles import read_role
from pydistill.data.sources.walk import has_pictures, shown
from pydistill.errors import DataError

_PICKLED = frozenset({".pkl", ".pickle", ".p", ".pck", ".pt", ".pth", ".joblib", ".dill"})
_PICKLED_NAMES = ("batches.meta", "data_batch_1", "test_batch")
_PICKLED_HUNDRED = ("train", "test", "meta")
_PACKED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_OTHER = frozenset(
    {".h5", ".hdf5", ".tfrecord", ".tfrecords", ".lmdb", ".mdb", ".npy", ".arrow", ".feather"}
) | {
    ".msgpack",
    ".beton",
    ".rec",
}


_LOOKED_AT, _BEGIN = 20, 4096
"""Files of a folder, and bytes of a file, that tell whether they hold boxes."""


class NotRead(Source):
    """Pickles, archives and other containers; asked last, so that nothing that is read is refused here."""

    understands: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = TASKS
    yields: ClassVar[bool] = True

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and _reason(path) is not None

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        raise DataError(f"{path} {_reason(path)}")


class BoxesNotRead(Source):
    """Boxes in a file an image, as YOLO and Pascal VOC have them, beside images without classes."""

    understands: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = ("detection",)

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_dir() and _boxes_in(path) is not None

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        file = _boxes_in(path)
        kind = "YOLO" if file is not None and file.suffix == ".txt" else "Pascal VOC"
        raise DataError(
            f"{path} holds boxes in a file an image, as {kind} has them ({file}): they are not read; "
            "convert them to COCO's JSON (one file a split, beside the images), or read them yourself and "
            "give arrays, load_data((images, boxes)) with (B, 5) class, x, y, width, height an image"
        )


def _boxes_in(root: Path, deepest: int = 2) -> Path | None:
    """A file of boxes in a folder beside one of images that lie in no folders of classes."""
    folders = [path for path in shown(root) if path.is_dir()]
    named = {path: read_role(path.name).role for path in folders}
    images = [path for path in folders if named[path] == "images" and _are_loose(path)]
    files = (
        file
        for path in folders
        if named[path] == "masks" and images
        for folder in (path, *(inner for inner in shown(path) if inner.is_dir()))
        for file in shown(folder)[:_LOOKED_AT]
        if _holds_boxes(file)
    )
    found = next(files, None)
    if found is not None or not deepest:
        return found
    inner = [path for path in folders if named[path] is None and read_name(path.name) is not None]
    for folder in inner or (folders if len(folders) == 1 else []):
        found = found or _boxes_in(folder, deepest - 1)
    return found


def _are_loose(folder: Path) -> bool:
    """Whether pictures lie directly in a folder or in folders of splits in it, in none of classes."""
    splits = [path for path in shown(folder) if path.is_dir() and read_name(path.name) is not None]
    return any(has_pictures(path, 0) for path in (folder, *splits))


def _holds_boxes(file: Path) -> bool:
    """Whether a file is XML of boxes, or lines of a class and four shares of an image's sides."""
    try:
        if file.suffix.lower() == ".xml":
            return b"<annotation" in file.read_bytes()[:_BEGIN]
        lines = file.read_text()[:_BEGIN].splitlines()[:1] if file.suffix.lower() == ".txt" else []
        numbers = [float(word) for word in lines[0].split()] if lines else []
    except (OSError, ValueError):
        return False
    return (
        len(numbers) == 5 and numbers[0] == int(numbers[0]) and all(0 <= each <= 1 for each in numbers[1:])
    )


def _reason(path: Path) -> str | None:
    """Why what lies at ``path`` is not read and what to do, or None."""
    if path.is_file():
        return _reason_of_file(path)
    folders = [
        path,
        *(inner for inner in shown(path) if inner.is_dir()),
    ]
    for folder in folders:
        if any((folder / name).is_file() for name in _PICKLED_NAMES):
            return _pickled("data_batch_1, ...", "cifar10, or its binary version (cifar-10-batches-bin)")
        if all((folder / name).is_file() for name in _PICKLED_HUNDRED):
            return _pickled("train, test and meta", "cifar100, or its binary version (cifar-100-binary)")
    files = [file for file in shown(path) if file.is_file()]
    reasons = [f"holds {file.name}, which {reason}" for file in files if (reason := _reason_of_file(file))]
    return reasons[0] if reasons else None


def _reason_of_file(path: Path) -> str | None:
    ending = path.suffix.lower()
    if ending in _PICKLED or (
        not ending and path.name in (*_PICKLED_NAMES, *_PICKLED_HUNDRED) and _is_pickle(path)
    ):
        return _pickled("it", "arrays in an .npz file")
    if ending in _PACKED:
        return "is packed: unpack it, and give the folder"
    if ending in _OTHER:
        return (
            f"is of a kind ({ending}) that is not read: read it with its own library, and give the arrays "
            "(load_data((images, labels))) or an .npz file of them"
        )
    return None


def _pickled(what: str, instead: str) -> str:
    return (
        f"holds pickles ({what}): reading a pickle runs whatever code is in it, so none is read here; "
        f"take {instead}, or a data set object that reads it, as of torchvision, as (train, test)"
    )


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as handle:
        begin = handle.read(2)
    return begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
