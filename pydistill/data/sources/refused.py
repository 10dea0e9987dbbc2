"""Files that people have and that are not read, each with what to do instead."""

from pathlib import Path
from typing import ClassVar

from pydistill.data.sources.base import TASKS, Options, Raw, Source, as_path
from pydistill.data.sources.walk import shown
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


class NotRead(Source):
    """Pickles, archives and other containers; asked last, so that nothing that is read is refused here."""

    understands: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and _reason(path) is not None

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        raise DataError(f"{path} {_reason(path)}")


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
