"""``pydistill scores``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.cli.common import Listener, advised, same_command, say
from pydistill.cli.data_options import SOURCES, add_data_options, read_data, recipe_of
from pydistill.cli.signature import add_options, given_options
from pydistill.scores import ScoreTraining, compute_scores
from pydistill.storage.run_folder import left_as_found

_HELP = {
    "network": "network to train, such as convnet:width=64 (default: the task's usual one, of width 32)",
    "epochs": "passes over the training images; 0: what suits their number",
    "networks": "networks that scores are averaged over",
    "folds": "parts of the training images that are held out in turn and answered for; 0: none",
    "early": "the epoch of EL2N and GraNd, counted from 1; 0: a fifth of the epochs",
    "batch_size": "images a step",
    "learning_rate": "the first one; it falls to 0 by a cosine",
    "augment": "siamese augmentation; auto: what suits the data; none",
}


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_scores)
    parser.add_argument("data", metavar="DATA", help=SOURCES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the scores")
    add_options(parser, ScoreTraining, under="training", helps=_HELP)
    add_options(
        parser,
        compute_scores,
        under="scores",
        skip=("data", "network", "folder", "on_event", "settings"),
        helps={"seed": "seed of every random draw"},
    )
    add_data_options(parser)


def _scores(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    training, run = given_options(options, "training"), given_options(options, "scores")
    ScoreTraining(**training)  # what is out of range is said before data is read
    data = read_data(recipe_of(options))
    say(screen, data.summary())
    listener = Listener(screen, options.signals)
    advice = f"every finished epoch is kept; go on with:\n{same_command(options)}"
    with left_as_found(options.out), advised(advice), listener.bar:
        made = compute_scores(data, folder=options.out, on_event=listener, **training, **run)
    say(screen, repr(made))
    say(screen, f"wrote {options.out / 'scores.json'}; selectors take it as --scores {options.out}")
    means = {name: float(made.value(name).mean()) for name in made.names}
    return {
        "folder": str(options.out),
        "images": len(made),
        "scores": means,
        "training": made.training.record(),
        "seconds": made.seconds,
    }
