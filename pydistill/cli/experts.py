"""``pydistill experts``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.cli.common import Listener, add_dry_run, advised, foretell, same_command, say
from pydistill.cli.data_options import SOURCES, add_data_options, read_data, recipe_of
from pydistill.cli.signature import add_options, given_options
from pydistill.experts import ExpertTraining, needed_bytes, train_experts
from pydistill.experts.run import STORAGES

_HELP = {
    "network": "network to train, for example convnet:width=64",
    "epochs": "passes over the real training images",
    "snapshots": "snapshots an epoch",
    "batch_size": "images a step",
    "learning_rate": "of gradient descent",
    "momentum": "of gradient descent",
    "weight_decay": "of gradient descent",
    "augment": "siamese augmentation; auto: what suits the data; none",
    "rho": "radius of descent to flat minima (arXiv:2211.11004), 0.01 there; 0: plain",
    "alpha": "how much of the plain gradient's other part is taken off, with a --rho",
    "seed": "seed of every random draw",
}


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_experts)
    parser.add_argument("data", metavar="DATA", help=SOURCES)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the experts")
    parser.add_argument(
        "--count", type=int, default=10, metavar="N",
        help="experts in all, those there included (default %(default)s)",
    )  # fmt: skip
    add_options(parser, ExpertTraining, under="training", helps=_HELP)
    add_options(
        parser,
        train_experts,
        under="experts",
        skip=("data", "folder", "count", "training", "on_event"),
        choices={"storage": STORAGES},
        helps={
            "rank": "which part of the experts is this process's; left out: what torchrun says, or 0",
            "ranks": "how many parts there are; left out: what torchrun says, or 1",
        },
    )
    add_dry_run(parser)
    add_data_options(parser)


def _experts(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    training, run = ExpertTraining(**given_options(options, "training")), given_options(options, "experts")
    data = read_data(recipe_of(options))
    say(screen, data.summary())
    if options.dry_run:
        from pydistill.cli.forecast import of_experts

        taken = {name: value for name, value in run.items() if name not in ("rank", "ranks")}
        return foretell(
            screen, of_experts(data, training, options.count, folder=options.out, **taken), options.out
        )
    needed = needed_bytes(data, training, options.count, run.get("storage", "float32"))
    say(screen, f"{options.count} experts take {needed / 2**20:,.0f} MiB of disk in {options.out}")
    listener = Listener(screen, options.signals)
    advice = f"every finished epoch is kept; go on with:\n{same_command(options)}"
    with advised(advice), listener.bar:
        made = train_experts(
            data,
            options.out,
            options.count,
            training,
            on_event=listener,
            **run,
        )
    lengths = [len(each) for each in made.trajectories]
    say(screen, f"{options.out} holds {len(made)} experts, of {min(lengths)} to {max(lengths)} snapshots")
    return {"folder": str(options.out), "experts": len(made), "snapshots": lengths, "bytes": needed}
