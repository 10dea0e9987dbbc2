"""NumPy arrays and torch tensors, at hand or in an ``.npz`` file."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.array_names import SHOWN, flattened, pairs
from pydistill.data.sources.base import TASKS, Options, Raw, Source, as_path, surroundings
from pydistill.data.sources.dense import Dense
from pydistill.data.sources.dense_arrays import kind_of, may_be_dense, read_dense, whole
from pydistill.data.sources.labels import some, understand
from pydistill.data.sources.npz import read_npz
from pydistill.data.sources.pixels import from_array
from pydistill.errors import DataError


class Arrays(Source):
    """A mapping or a tuple of arrays.

    A mapping has names such as ``x_train, y_train, x_test, y_test`` (also ``x_val, y_val``), or
    ``train_images, train_labels, test_images, test_labels``, or ``images, labels``, or ``x, y``, or splits
    of pairs. A tuple is ``(images, labels)``, ``(x_train, y_train, x_test, y_test)``, or two or three
    pairs: training, validation where there are three, test.

    Labels are (N,) classes, (N, H, W) masks of whole numbers, or boxes, (N, B, 5) or a list of (B, 5):
    class, x, y, width and height in pixels, class -1 for padding.
    """

    understands: ClassVar[str] = f"a mapping of arrays ({SHOWN}) or a tuple of two or four"
    takes: ClassVar[frozenset[str]] = frozenset({"layout", "class_names", "void"})
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        return isinstance(source, Mapping | tuple | list)

    def read(self, source: object, options: Options) -> Raw:
        named = source if isinstance(source, Mapping) else _name(source)
        return from_arrays("arrays", named, options)


class Npz(Source):
    """An ``.npz`` file with the names that :class:`Arrays` knows; pickled objects are refused."""

    understands: ClassVar[str] = f"an .npz file ({SHOWN})"
    takes: ClassVar[frozenset[str]] = frozenset({"layout", "class_names", "void"})
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_file() and path.suffix == ".npz"

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        return from_arrays(path.stem, read_npz(path), options, surroundings(path))


def from_arrays(
    name: str, arrays: Mapping[Any, Any], options: Options, folders: tuple[str, ...] = ()
) -> Raw:
    """Splits from arrays under the names that :class:`Arrays` knows."""
    arrays = flattened(arrays)
    chosen = pairs(name, arrays)
    made = _read(name, arrays, chosen, options)
    used = {key for pair in chosen.values() for key in pair}
    spare = sorted(map(str, arrays.keys() - used))
    notes = (f"arrays that are not used: {some(spare)}",) if spare else ()
    return Raw.of(
        name,
        made.task,
        made.splits,
        (*made.notes, *notes),
        named=made.named,
        origins={split: f"array {chosen[split][0]!r}" for split in made.splits},
        folders=folders,
    )


def _read(
    name: str, arrays: Mapping[Any, Any], chosen: Mapping[str, tuple[Any, Any | None]], options: Options
) -> Dense:
    """Images and their targets, of whatever task they are."""

    def images(split: str) -> Tensor:
        key = chosen[split][0]
        return from_array(arrays[key], options.layout, f"{name}, {key}")

    targets = {split: None if key is None else arrays[key] for split, (_, key) in chosen.items()}
    if options.task not in (None, "classification") or may_be_dense(targets["train"]):
        pictures = {split: images(split) for split, found in targets.items() if found is not None}
        kind = kind_of(pictures["train"], targets["train"], options, f"{name}, {chosen['train'][1]}")
        if kind != "classification":
            read = {split: whole(found, options.size) for split, found in pictures.items()}
            return read_dense(name, read, targets, kind, options)
    labels = {split: [None] if found is None else found for split, found in targets.items()}
    learned = understand(labels, options.class_names)
    splits = {split: Split(images(split), each) for split, each in learned.targets.items()}
    return Dense(learned.task, splits, learned.named, learned.notes)


def _name(source: Any) -> Mapping[str, Any]:
    parts = tuple(source)
    if len(parts) in (2, 3) and all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
        order = ("train", "test") if len(parts) == 2 else ("train", "validation", "test")
        return dict(zip(order, parts, strict=True))
    if len(parts) == 2:
        return {"x_train": parts[0], "y_train": parts[1]}
    if len(parts) == 4:
        return dict(zip(("x_train", "y_train", "x_test", "y_test"), parts, strict=True))
    raise DataError(
        f"expected (images, labels), (x_train, y_train, x_test, y_test) or two or three such pairs, found "
        f"{len(parts)} parts"
    )
