"""``pydistill evaluate``."""

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.cli.common import Listener, add_dry_run, advised, foretell, same_command, say
from pydistill.cli.data_options import add_data_options, logged, read_data, recipe_of, recorded
from pydistill.cli.signature import add_options, given_options
from pydistill.data import DistilledData
from pydistill.errors import FileFormatError
from pydistill.evaluation import Protocol, evaluate
from pydistill.evaluation.kept import usual_folder
from pydistill.evaluation.protocol import CHOICES, PROTOCOLS, suited
from pydistill.shown import printable

UNFINISHED = "evaluation"
"""Folder beside a set where scores are kept until its evaluation ends."""


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_evaluate)
    parser.add_argument("folder", type=Path, metavar="DIR", help="what distill wrote")
    parser.add_argument("--data", help="the real data (default: what the set was distilled from)")
    protocols = f"how to train and score: {', '.join(PROTOCOLS)} (default %(default)s)"
    parser.add_argument("--protocol", default="quick", metavar="PROTOCOL", help=protocols)
    parser.add_argument("--as-learned", action="store_true",
                        help="score what the set was learned for alone, in seconds: its kernel or its own "
                             "training; train no network by the protocol")  # fmt: skip
    add_options(
        parser,
        evaluate,
        under="evaluate",
        skip=("distilled", "data", "protocol", "unfinished", "on_event"),
        helps={
            "allow_other_data": "take other real data than the set was distilled from",
            "baselines": "folder where scores of random selections and of whole data are kept, and found "
            "again by the next evaluation (default: the user's cache); none: every network is trained",
        },
    )
    add_options(
        parser.add_argument_group("settings of the protocol, instead of its own"),
        Protocol,
        under="protocol",
        flags={"architectures": "network", "kernels": "kernel"},
        choices=CHOICES,
        helps={
            "architectures": "network to train; give it again for more",
            "kernels": "kernel whose ridge regression on the set is scored too, instead of the set's own; "
            "give it again for more; trained: of features in each network",
        },
        defaults=False,
    )
    add_dry_run(parser)
    add_data_options(parser)


def _evaluate(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    changes = given_options(options, "protocol")
    if options.as_learned:
        if "architectures" in changes:
            raise ValueError("--as-learned trains no network: leave --network or it out")
        changes["architectures"] = ()
    distilled = DistilledData.load(options.folder)
    protocol = suited(options.protocol, distilled.task, **changes)
    recipe = recipe_of(options)
    if "source" not in recipe:
        recipe = {"source": distilled.provenance.data} | recorded(options.folder) | recipe
    else:
        with contextlib.suppress(FileFormatError):  # as the message of a damaged one advises
            recipe = recorded(options.folder) | recipe
    data = read_data(recipe)
    say(screen, data.summary())
    if options.dry_run:
        from pydistill.cli.forecast import of_evaluation

        device = given_options(options, "evaluate").get("device", "auto")
        return foretell(screen, of_evaluation(distilled, data, protocol, device=device), options.folder)
    listener, run = Listener(screen, options.signals), given_options(options, "evaluate")
    where = run.pop("baselines", str(usual_folder()))
    stores = {
        "baselines": None if where == "none" else where,
        "unfinished": options.folder / UNFINISHED,
    }
    advice = f"networks that were trained are kept; go on with:\n{same_command(options)}"
    with advised(advice), listener.bar, logged(options.folder, options):
        report = evaluate(distilled, data, protocol, on_event=listener, **stores, **run)
    page = report.save(options.folder)
    if not options.json:
        print(report.text())
        print(f"report: {printable(page)}")
    answer: dict[str, Any] = report.to_json()
    return answer
