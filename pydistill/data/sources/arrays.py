"""NumPy arrays and torch tensors, at hand or in an ``.npz`` file."""

import zipfile
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from pydistill.data.real import Split
from pydistill.data.sources.base import Options, Raw, Source, as_path, class_indices
from pydistill.data.sources.pixels import from_array
from pydistill.errors import DataError

_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "train": (
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
        ("train_x", "train_y"),
        ("images", "labels"),
        ("images", "targets"),
        ("x", "y"),
    ),
    "validation": (
        ("x_val", "y_val"),
        ("val_images", "val_labels"),
        ("x_valid", "y_valid"),
        ("validation_images", "validation_labels"),
    ),
    "test": (("x_test", "y_test"), ("test_images", "test_labels"), ("test_x", "test_y")),
}
_NAMES_SHOWN = "x_train, y_train, x_test, y_test; train_images, train_labels, ...; images, labels; x, y"


class Arrays(Source):
    """A mapping or a tuple of arrays.

    A mapping has the names ``x_train, y_train, x_test, y_test`` (also ``x_val, y_val``), or
    ``train_images, train_labels, test_images, test_labels`` (also ``val_``), or ``images, labels``, or
    ``x, y``. A tuple is ``(images, labels)``, ``(x_train, y_train, x_test, y_test)`` or
    ``((x_train, y_train), (x_test, y_test))``.
    """

    understands: ClassVar[str] = f"a mapping of arrays ({_NAMES_SHOWN}) or a tuple of two or four"
    takes: ClassVar[frozenset[str]] = frozenset({"layout", "class_names"})

    def recognises(self, source: object) -> bool:
        return isinstance(source, Mapping | tuple | list)

    def read(self, source: object, options: Options) -> Raw:
        named = source if isinstance(source, Mapping) else _name(source)
        return from_arrays("arrays", named, options)


class Npz(Source):
    """An ``.npz`` file with the names that :class:`Arrays` knows; pickled objects are refused."""

    understands: ClassVar[str] = f"an .npz file ({_NAMES_SHOWN})"
    takes: ClassVar[frozenset[str]] = frozenset({"layout", "class_names"})

    def recognises(self, source: object) -> bool:
        path = as_path(source)
        return path is not None and path.is_file() and path.suffix == ".npz"

    def read(self, source: object, options: Options) -> Raw:
        path = as_path(source)
        assert path is not None
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} cannot be read as an .npz file: {error}") from error
        return from_arrays(path.stem, arrays, options)


def from_arrays(name: str, arrays: Mapping[str, Any], options: Options) -> Raw:
    """Splits from arrays under the names that :class:`Arrays` knows."""
    pairs = {
        split: next((pair for pair in known if pair[0] in arrays and pair[1] in arrays), None)
        for split, known in _NAMES.items()
    }
    if pairs["train"] is None:
        raise DataError(f"{name}: expected arrays named {_NAMES_SHOWN}; found {sorted(map(str, arrays))}")
    chosen = {split: pair for split, pair in pairs.items() if pair is not None}
    labels = {split: _labels(arrays[pair[1]]) for split, pair in chosen.items()}
    targets, task = class_indices(labels, options.class_names)
    splits = {
        split: Split(from_array(arrays[pair[0]], options.layout, f"{name}, {pair[0]}"), targets[split])
        for split, pair in chosen.items()
    }
    return Raw(name, task, splits["train"], splits.get("validation"), splits.get("test"))


def _labels(values: Any) -> Any:
    """As a NumPy array; a column (N, 1) is flattened, as some published ``.npz`` files have it."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _name(source: Any) -> Mapping[str, Any]:
    parts = tuple(source)
    if len(parts) == 2 and all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
        parts = (*parts[0], *parts[1])
    if len(parts) == 2:
        return {"x_train": parts[0], "y_train": parts[1]}
    if len(parts) == 4:
        return dict(zip(("x_train", "y_train", "x_test", "y_test"), parts, strict=True))
    raise DataError(
        f"expected (images, labels) or (x_train, y_train, x_test, y_test), found {len(parts)} parts"
    )
