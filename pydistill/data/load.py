"""``load_data``: any source of labelled images to :class:`~pydistill.data.real.RealData`."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pydistill.data.drop import Droppable, leave_out
from pydistill.data.flips import keeps_class_flipped
from pydistill.data.preprocess import PREPROCESSES
from pydistill.data.real import RealData, Split, fingerprint
from pydistill.data.sources import SOURCES, Options, Raw, Source
from pydistill.data.sources.base import TASKS, as_path, source_name
from pydistill.data.sources.hub import ALIASES
from pydistill.data.sources.labels import some
from pydistill.data.sources.pixels import check_pixels, fit
from pydistill.data.sources.walk import shown
from pydistill.data.understood import from_two_values, in_one_colour, oddities, overview
from pydistill.errors import DataError, did_you_mean

DataSource: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any] | Dataset[Any]

_TEST_SEED = 0
"""Where a source has no test split, it is drawn from this seed whatever the caller's: two runs with
different seeds must not disagree about which images are test data."""


def load_data(
    source: DataSource,
    *,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    preprocess: str = "standardise",
    horizontal_flip: bool | None = None,
    name: str | None = None,
    size: int | tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    image_column: str | None = None,
    target_column: str | None = None,
    subset: str | None = None,
    layout: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    task: str | None = None,
    void: Sequence[int | str] | int | str | None = None,
    block_column: str | None = None,
    drop: Droppable | None = None,
) -> RealData:
    """Read a data set of images with classes, masks or boxes and make it ready to distil.

    Every split ends as one tensor in memory, uint8 where the source has 8 bits a channel. What was
    understood is told: ``load_data(...).summary()``.

    What a file declares is checked before it is read: all images together may take a quarter of the memory
    that the machine, the container or the process may have, and beyond 256 MiB no more than 250 times what
    they take packed (environment variable ``PYDISTILL_MAX_BYTES`` sets another limit); one picture may
    have 89 million pixels (``PYDISTILL_MAX_PIXELS``). Files that a data set names are read only inside its
    own folder, links that stay inside it included.

    Args:
        source: ``"digits"``; a Hugging Face data set by hub name; a folder of parquet, IDX or image
            files, of images and masks, of images and COCO's JSON, of CSV files or of MATLAB files; an
            ``.npz`` file; a table (CSV, JSON lines, data frame) of paths or of pixels; arrays as a mapping
            or tuple; a map-style ``torch`` data set, or its splits as a pair or mapping; a loaded
            ``datasets`` object.
        validation: Fraction of the training images held out for choices, within (0, 1), stratified.
            Not used where the source has a validation split beside a test split. (Alone, it is the test
            split.)
        test: Fraction held out as test images where the source has none; the same images whatever
            ``seed``, and ``notes`` of the result say so.
        seed: Decides which images are held out for validation.
        preprocess: ``"standardise"`` or ``"zca"``, fitted on what is left for training.
        horizontal_flip: Whether a mirrored image keeps its class. None: not where class names, the source's
            name or folders, or images like MNIST's without class names speak of digits or letters;
            ``notes`` of the result say why.
        name: What to call it; None: after the source.
        size: Height and width, or one number for both: images are scaled to cover it and centre-cropped;
            images with masks or boxes are scaled to fit it whole, on black, and their targets with them.
        class_names: One name a class, where the source has none or only some occur.
        image_column: Of a table with several columns of images or paths.
        target_column: Of a table whose labels cannot be told by name or type.
        subset: Configuration of a hub data set that has several, one of several parquet or IDX sets.
        layout: ``"NCHW"`` or ``"NHWC"``, where arrays leave it open.
        cache: Folder for what ``datasets`` prepares; None: its own.
        task: ``"classification"``, ``"segmentation"`` or ``"detection"``, where a source could be read for
            several; None: ``notes`` of the result say which was taken.
        void: Values of masks, or names of classes, that are no class, neither learned nor scored;
            ``"none"``: all are classes. None: what is called void, ignore or unlabeled, and what ``notes``
            of the result say; in either case 255 where it has no name.
        block_column: Of a table of ``datasets``: images with the same value in this column stay on one side
            where images are held out, as consecutive frames should.
        drop: Training images to leave out after the splits are made: a :class:`~pydistill.data.drop.Drop`,
            or an analysis of this data, read with the same options, whose every finding is then followed.

    Raises:
        ValueError: ``drop`` is of other data or leaves nothing of a class. Or a fraction is not within (0,
            1), or ``preprocess``, ``layout``, ``size`` or ``task`` is unknown, or an option means nothing
            to this kind of source.
        TypeError: ``source`` is of no type known here.
        DataError: The source is missing or damaged, or cannot be understood without guessing, or holds
            what no method can use: pixels that are NaN or out of range, several labels an image, values to
            regress, a class without images, images that differ in size; masks of another size than their
            images, or with values without a class; boxes that are not finite, leave their images or are of
            an unknown category. Or it cannot serve ``task``.
    """
    for title, fraction in (("validation", validation), ("test", test)):
        if not 0 < fraction < 1:
            raise ValueError(
                f"{title} is the fraction of images held out: expected within (0, 1), got {fraction}"
            )
    if preprocess not in PREPROCESSES:
        raise ValueError(f"unknown preprocess {preprocess!r}; expected one of {', '.join(PREPROCESSES)}")
    options = Options(
        image_column=image_column,
        target_column=target_column,
        subset=subset,
        size=_size(size),
        layout=_layout(layout),
        class_names=None if class_names is None else _distinct(class_names),
        cache=None if cache is None else Path(cache),
        task=_task(task),
        void=_void(void),
        block_column=block_column,
    )
    raw = _check(from_two_values(in_one_colour(_one_rule(_read(source, options)))))
    origins, drawn = dict(raw.origins), []
    if void is not None and raw.task.name != "segmentation":
        raise ValueError(f"void means nothing to {raw.task.name}, it is of masks: leave it out")
    blocks = _blocks(raw)
    if block_column is not None and raw.test is not None and raw.validation is not None:
        drawn.append(f"block_column={block_column!r} decides nothing: the source has splits of its own")
    if raw.test is None:
        kept, held = raw.task.hold_out(raw.train.targets, test, _TEST_SEED, blocks)
        drawn.append(
            f"the source has no test split: {len(held)} of its {len(raw.train)} images, drawn by class, "
            "are held out as test images"
        )
        origins["test"] = "held out of the training images, whatever the seed"
        raw = replace(raw, train=raw.train.take(kept), test=raw.train.take(held))
        blocks = None if blocks is None else blocks[kept]
    if raw.validation is None:
        kept, held = raw.task.hold_out(raw.train.targets, validation, seed, blocks)
        origins["validation"] = f"held out of the training images by seed {seed}"
        raw = replace(raw, train=raw.train.take(kept), validation=raw.train.take(held))
    assert raw.validation is not None
    assert raw.test is not None
    for split, found in raw.splits().items():
        if not len(found):
            raise DataError(f"{raw.name}: too few images for a {split} split: a class needs two or more")
    train, validation_split, test_split, dropped = raw.train, raw.validation, raw.test, dict[str, Any]()
    if drop is not None:
        whole = fingerprint(train=train, validation=validation_split, test=test_split)
        train, dropped, note = leave_out(train, raw.task, drop.drop_record(), whole)
        raw = replace(raw, train=train)
        drawn.append(note)
    fitted = PREPROCESSES[preprocess].fit(raw.train.images)
    kept_class, why = (
        keeps_class_flipped(raw) if horizontal_flip is None else (horizontal_flip, "as asked for")
    )
    targets = "keep their class" if raw.task.by_class else f"have mirrored {raw.task.target_names['hard']}"
    mirrored = f"mirrored images {targets}" if kept_class else "images are not mirrored"
    return RealData(
        name=raw.name if name is None else name,
        task=raw.task,
        train=train,
        validation=validation_split,
        test=test_split,
        preprocess=fitted,
        horizontal_flip=kept_class,
        fingerprint=fingerprint(train=train, validation=validation_split, test=test_split),
        notes=(
            *overview(raw, origins),
            f"{mirrored}: {why} (horizontal_flip= decides otherwise)",
            *raw.notes,
            *drawn,
            *oddities(raw, fitted.tensors()["std"]),
        ),
        dropped=dropped,
    )


def _one_rule(raw: Raw) -> Raw:
    """``raw`` with its validation split as test split, where it has that one alone."""
    if raw.test is not None or raw.validation is None:
        return raw
    note = "the source has a validation split but no test split: it serves as the test split"
    origins = {"train": raw.origins.get("train"), "test": raw.origins.get("validation")}
    known = {split: origin for split, origin in origins.items() if origin is not None}
    return replace(raw, validation=None, test=raw.validation, origins=known, notes=(*raw.notes, note))


def _read(source: object, options: Options) -> Raw:
    path = as_path(source)
    if path is not None and (path / "distilled.json").exists():
        raise DataError(f"{path} holds a distilled set: read it with DistilledData.load, not as real data")
    able = (kind for kind in SOURCES if options.task in (None, *kind.tasks))
    kind = next((kind for kind in able if kind.recognises(source)), None)
    if path is not None and path.is_dir() and (kind is None or kind.yields):
        inner = _inside(path, options.task)
        if inner is not None:
            raw = _read(inner, options)
            within = inner.relative_to(path).as_posix()
            return replace(raw, name=source_name(path), notes=(*raw.notes, f"read from {within!r} in it"))
    if kind is None:
        other = next((kind for kind in SOURCES if kind.recognises(source)), None)
        raise _not_understood(source) if other is None else _not_for_task(other, options.task)
    foreign = sorted(options.given() - kind.takes - {"size", "task"})
    if foreign:
        raise ValueError(f"{foreign[0]} means nothing to {_short(kind)}: leave it out")
    raw = kind.read(source, options)
    later = () if path is None else SOURCES[SOURCES.index(kind) + 1 :]
    others = [other for other in later if other.understands and type(kind).__name__ not in other.part_of]
    also = [_short(other) for other in others if other.recognises(source)]
    if also:
        raw = replace(
            raw, notes=(*raw.notes, f"read as {_short(kind)}; what else is there is not read: {also[0]}")
        )
    return raw if options.size is None else _scaled(raw, options.size)


def _inside(folder: Path, task: str | None, deepest: int = 3) -> Path | None:
    """The one data set in a folder that is none itself, or in a folder in it, that serves ``task``.

    Raises:
        DataError: There are several.
    """
    kinds = [kind for kind in SOURCES if kind.understands and task in (None, *kind.tasks)]
    entries = [
        path for path in shown(folder) if path.is_dir() or path.suffix.lower() in (".npz", ".parquet")
    ]
    found = [path for path in entries if any(kind.recognises(path) for kind in kinds)]
    if not found and deepest:
        folders = [path for path in entries if path.is_dir()]
        found = [inner for path in folders if (inner := _inside(path, task, deepest - 1)) is not None]
    if len(found) > 1:
        names = some([path.relative_to(folder).as_posix() for path in found])
        raise DataError(f"{folder} holds several data sets, {names}: give the path of one of them")
    return found[0] if found else None


def _scaled(raw: Raw, size: tuple[int, int]) -> Raw:
    """``raw`` at ``size``, where its source did not already read it so."""
    scaled: dict[str, Any] = {}
    for split, found in raw.splits().items():
        if len(found) and found.images.shape[-2:] != size:
            parts = [fit(part, size) for part in torch.split(found.images, 1024)]
            scaled[split] = Split(torch.cat(parts), found.targets)
    return replace(raw, **scaled)


def _short(kind: Source) -> str:
    return kind.understands.split(" (")[0]


def _not_for_task(kind: Source, task: str | None) -> DataError:
    able = "\n  ".join(each.understands for each in SOURCES if each.understands and task in each.tasks)
    return DataError(
        f"{_short(kind)} cannot be read for task={task!r}, only for {' or '.join(kind.tasks)}; read for "
        f"{task} are:\n  {able}"
    )


def _not_understood(source: object) -> Exception:
    understood = "understood are: " + "\n  ".join(kind.understands for kind in SOURCES if kind.understands)
    if not isinstance(source, str | os.PathLike):
        return TypeError(f"cannot load a data set from {type(source).__name__}; {understood}")
    path = as_path(source)
    if path is not None:
        what = "folder" if path.is_dir() else "file"
        return DataError(f"the {what} {path} holds no data set known here; {understood}")
    text = os.fspath(source)
    near = difflib.get_close_matches(text.lower(), ["digits", *ALIASES], cutoff=0.5)
    if near and os.sep not in text:
        return DataError(f"unknown data set {text!r}: did you mean {' or '.join(near)}? {understood}")
    return DataError(f"no data set, file or folder {text!r}{_beside(Path(text))}; {understood}")


def _beside(missing: Path) -> str:
    """A hint at the file or folder of a near name where a missing one would lie; empty where none is."""
    try:
        names = [each.name for each in missing.expanduser().absolute().parent.iterdir()]
    except (OSError, ValueError, RuntimeError):
        return ""
    return did_you_mean(missing.name, names)


def _check(raw: Raw) -> Raw:
    """``raw`` where every split can be used together with the others."""
    shape = raw.train.images.shape[1:]
    for split, found in raw.splits().items():
        where = f"{raw.name}, {split}"
        if not len(found):
            raise DataError(f"{where}: no images")
        check_pixels(found.images, where)
        if found.images.shape[1:] != shape or found.images.dtype != raw.train.images.dtype:
            raise DataError(
                f"{where}: images are {tuple(found.images.shape[1:])} {found.images.dtype}, but the "
                f"training images {tuple(shape)} {raw.train.images.dtype}: they must agree"
            )
        raw.task.check(found.images, found.targets, where)
    if not raw.task.by_class:
        return raw  # what is in no image is told
    groups = raw.task.groups(raw.train.targets)
    empty = [title for title, member in zip(groups.names, groups.members, strict=True) if not len(member)]
    if empty:
        raise DataError(
            f"{raw.name}: class {empty[0]!r} has no training images ({len(empty)} of {len(groups)} classes "
            "have none): add some, or leave the class out"
        )
    return raw


def _size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise ValueError(f"expected size as one or two numbers of pixels, got {size!r}")
    return pair


def _task(task: str | None) -> str | None:
    if task is not None and task not in TASKS:
        raise ValueError(
            f"unknown task {task!r}; expected one of {', '.join(TASKS)}{did_you_mean(task, TASKS)}"
        )
    return task


def _void(void: Sequence[int | str] | int | str | None) -> tuple[int | str, ...] | None:
    """Values and names that the caller calls void; empty: nothing is."""
    if void is None:
        return None
    each = [void] if isinstance(void, int | str) else list(void)
    if any(isinstance(value, bool) or not isinstance(value, int | str) for value in each):
        raise ValueError(f"expected void as values of masks or names of classes, got {void!r}")
    if each == ["none"]:
        return ()
    return tuple(int(value) if str(value).isdecimal() else value for value in each)


def _blocks(raw: Raw) -> Tensor | None:
    """Blocks of training images that stay together where images are held out.

    Where images are of several classes or none, each is a block of its own: stratified over all classes.

    Raises:
        DataError: There are fewer than two images.
    """
    if raw.blocks is not None or raw.task.by_class:
        return raw.blocks
    if len(raw.train) < 2:
        raise DataError(f"{raw.name}: 1 training image is too few to hold some out: two or more are needed")
    return torch.arange(len(raw.train))


def _layout(layout: str | None) -> str | None:
    if layout not in (None, "NCHW", "NHWC"):
        raise ValueError(f'expected layout "NCHW" or "NHWC", got {layout!r}')
    return layout


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"expected different class names, got {list(names)}")
    return tuple(names)
