"""What commands that read real data share: options, the record of what was said, the log of a run."""

import argparse
import contextlib
import datetime
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydistill._version import __version__
from pydistill.cli.common import same_command
from pydistill.cli.signature import add_options, given_options
from pydistill.data.drop import Drop
from pydistill.data.identity import EARLIER
from pydistill.errors import FileFormatError, OutputError
from pydistill.shown import printable
from pydistill.storage.records import Kind, read_json, renamed
from pydistill.storage.run_folder import LOG

if TYPE_CHECKING:
    from pydistill.data import RealData

SOURCES = "digits; a folder (images, parquet, IDX, tables), an .npz or .csv file, or a Hugging Face name"


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Options of how the real data is read: every one of ``load_data``."""
    from pydistill.data import load_data
    from pydistill.data.preprocess import PREPROCESSES
    from pydistill.data.sources.base import TASKS

    add_options(
        parser.add_argument_group("data (evaluate: what distill was given, where left out)"),
        load_data,
        under="data",
        skip=("source", "drop"),
        flags={"seed": "split-seed"},
        choices={"preprocess": tuple(PREPROCESSES), "layout": ("NCHW", "NHWC"), "task": TASKS},
        helps={
            "class_names": "names of the classes, where the source has none or only some occur: separated "
            "by commas, or the option once for each",
            "horizontal_flip": "whether a mirrored image keeps its class; where neither is given, names of "
            "classes, source and folders decide, and the notes of the result say why",
            "seed": "decides which images are held out for validation",
            "task": "what to read a source for that could be read for several; where it is not given, the "
            "notes of the result say which was taken",
            "void": "values of masks, or names of classes, that are no class, neither learned nor scored: "
            "separated by commas, 'none' where all are classes; where it is not given, what is called void "
            "or unlabeled, and what the notes of the result say; in either case 255 where it has no name",
        },
    )
    group = parser.add_argument_group("cleaning")
    group.add_argument(
        "--drop", dest="data.drop", default=argparse.SUPPRESS, metavar="A,B",
        help="leave out training images that these findings of --analysis flag, such as "
        "duplicates,label_errors; "
        "one reason of a finding is named as duplicates:leak",
    )  # fmt: skip
    group.add_argument(
        "--analysis", dest="data.analysis", type=Path, default=argparse.SUPPRESS, metavar="DIR",
        help="what pydistill analyse wrote, of the same data read with the same options",
    )  # fmt: skip


RECIPE = "data.json"
"""Beside a distilled set: how the command line read its real data, for ``evaluate`` to do the same."""
RECORD = Kind("pydistill.data", 1, "a record of how data was read", "name the data with --data")


def recipe_of(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the data: arguments of ``load_data``, paths so that they mean the same elsewhere."""
    chosen = given_options(options, "data")
    if options.data is not None:
        chosen["source"] = _whole_path(options.data)
    if "cache" in chosen:
        chosen["cache"] = os.path.abspath(chosen["cache"])
    folder, names = chosen.pop("analysis", None), chosen.pop("drop", None)
    if names is not None:
        chosen["drop"] = _dropped(names, folder)
    elif folder is not None:
        raise ValueError(
            "--analysis says nothing without --drop: name the findings whose images are left out"
        )
    return chosen


def _dropped(names: str, folder: Path | None) -> dict[str, Any]:
    """The images that findings of an analysis flag, as JSON holds them."""
    if folder is None:
        raise ValueError(
            "--drop needs an analysis of the data: make one with pydistill analyse DATA --out DIR, then "
            "give "
            "--analysis DIR"
        )
    from pydistill.analysis import Analysis

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if not chosen:
        raise ValueError(f"--drop expects names of findings separated by commas, got {names!r}")
    return Analysis.load(folder).drop(*chosen).to_json()


def read_data(recipe: Mapping[str, Any]) -> "RealData":
    """The real data by what :func:`recipe_of` gives, or a record of it.

    Raises:
        FileFormatError: The record names images to leave out in another form.
    """
    from pydistill.data import load_data

    given = dict(recipe)
    if "drop" in given:
        try:
            given["drop"] = Drop.from_json(given["drop"])
        except (KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(
                f"images to leave out are not understood: {error!r}; {RECORD.mend}"
            ) from error
    return load_data(**given)


def _whole_path(source: str) -> str:
    """An existing file or folder by its whole path, anything else as it is."""
    path = Path(source).expanduser()
    return os.path.abspath(path) if path.exists() else source  # links keep the names that they were given


@contextlib.contextmanager
def logged(folder: Path, options: argparse.Namespace) -> Iterator[None]:
    """Write a line into the run's log as the work inside begins, and one as it ends and how."""
    try:
        _log(folder, f"begin: pydistill {__version__}: {same_command(options)}")
    except OSError as error:
        raise OutputError(f"cannot write {folder / LOG}: {error.strerror or error}") from error
    outcome = "done"
    try:
        yield
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
        raise
    finally:
        with contextlib.suppress(OSError):  # the disk may be full: that is said already
            _log(folder, f"end: {outcome}")


def _log(folder: Path, text: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(f"{now} {printable(' '.join(text.split()))}\n")


def recorded(folder: Path) -> dict[str, Any]:
    """What was said of the data when a set was distilled into ``folder``.

    Raises:
        FileFormatError: The record is damaged.
    """
    path = folder / RECIPE
    if not path.exists():
        return {}
    return renamed(read_json(path, RECORD), EARLIER)
