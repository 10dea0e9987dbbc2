"""``pydistill analyse``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.analysis import Finder, analyse, finders, make_finder
from pydistill.cli.common import Listener, advised, same_command, say
from pydistill.cli.data_options import SOURCES, add_data_options, read_data, recipe_of
from pydistill.cli.signature import add_options, given_options
from pydistill.data.real import RealData
from pydistill.scores import Scores, ScoreTraining, compute_scores
from pydistill.shown import printable, printable_lines
from pydistill.storage.run_folder import left_as_found

SCORES = "scores"
"""Folder beside an analysis where scores that were made for it lie."""
_FOLDS = 2


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_analyse)
    known = "; ".join(f"{name}: {kind.summary}" for name, kind in finders().items())
    parser.add_argument("data", metavar="DATA", help=SOURCES)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the page and the JSON"
    )
    parser.add_argument(
        "--findings",
        metavar="A,B",
        help=f"what to look for (default: all that can be told of the data): {known}",
    )
    parser.add_argument(
        "--scores", type=Path, metavar="DIR",
        help="what pydistill scores wrote, with --folds 2 or more (default: networks are trained for it)",
    )  # fmt: skip
    parser.add_argument(
        "--no-training", action="store_true", help="train no networks: leave out findings that need scores"
    )
    add_options(
        parser,
        analyse,
        under="analyse",
        skip=("data", "scores", "findings", "on_event"),
        helps={"seed": "seed of every random draw"},
    )
    add_data_options(parser)


def _analyse(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    if options.no_training and options.scores is not None:
        raise ValueError(
            "--no-training and --scores exclude each other: scores that are there need no training"
        )
    names = None if options.findings is None else _names(options.findings)
    finders_asked = _asked(names)
    data = read_data(recipe_of(options))
    say(screen, data.summary())
    listener, run = Listener(screen, options.signals), given_options(options, "analyse")
    advice = f"epochs that were trained are kept; go on with:\n{same_command(options)}"
    with left_as_found(options.out), advised(advice), listener.bar:
        scores = _scores(options, screen, data, finders_asked, listener, run)
        found = analyse(data, scores, findings=names, on_event=listener, **run)
    path = found.save(options.out)
    if not options.json:
        print(printable_lines(found.text()))
        print(f"page: {printable(path)}")
    return {**found.to_json(), "folder": str(options.out), "page": str(path)}


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError(f"--findings expects names separated by commas, got {text!r}")
    return names


def _asked(names: list[str] | None) -> list[Finder]:
    """Finders that will be asked; a name that is misspelt is said before data is read."""
    chosen = [name for name, kind in finders().items() if kind.default] if names is None else names
    return [make_finder(name) for name in chosen]


def _scores(
    options: argparse.Namespace,
    screen: Console,
    data: RealData,
    asked: list[Finder],
    listener: Listener,
    run: dict[str, Any],
) -> Scores | None:
    """Scores that are given, or made here where a finding needs them."""
    if options.scores is not None:
        return Scores.load(options.scores)
    task, classes = data.task.name, len(data.task.class_names)
    needing = [
        finder.name
        for finder in asked
        if finder.needs != "nothing" and task in finder.tasks and classes >= finder.classes
    ]
    if options.no_training or not needing:
        return None
    settings = ScoreTraining(folds=_FOLDS if data.task.by_class else 0).settled(data)
    networks = len(settings.trainings)
    say(
        screen,
        f"{', '.join(needing)} need networks: {networks} x {settings.network} are trained for "
        f"{settings.epochs} epochs "
        f"of {len(data.train):,} images, and kept in {options.out / SCORES}; --no-training leaves these "
        "findings out",
    )
    chosen = {name: value for name, value in run.items() if name in ("seed", "device")}
    return compute_scores(
        data, folder=options.out / SCORES, folds=settings.folds, on_event=listener, **chosen
    )
