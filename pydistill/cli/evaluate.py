"""``pydistill evaluate``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.cli.common import Listener, advised, same_command, say
from pydistill.cli.data_options import add_data_options, logged, recipe_of, recorded
from pydistill.shown import printable


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_evaluate)
    parser.add_argument("folder", type=Path, metavar="DIR", help="what distill wrote")
    parser.add_argument("--data", help="the real data (default: what the set was distilled from)")
    parser.add_argument(
        "--protocol", default="quick", help="how to train and score: quick, dc (default quick)"
    )
    networks = "network to train instead of the protocol's; give it again for more"
    parser.add_argument("--network", action="append", metavar="NETWORK", help=networks)
    parser.add_argument("--as-learned", action="store_true",
                        help="score what the set was learned for alone, in seconds: its kernel or its own "
                             "training; train no network by the protocol")  # fmt: skip
    kernels = "kernel whose ridge regression on the set is scored too, instead of the set's own; likewise"
    parser.add_argument("--kernel", action="append", metavar="KERNEL", help=kernels)
    parser.add_argument("--repeats", type=int, help="networks trained a set, instead of the protocol's")
    parser.add_argument(
        "--epochs", type=int, help="passes over the distilled set, instead of the protocol's"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="to train in, instead of the protocol's"
    )
    parser.add_argument(
        "--labels",
        choices=("both", "classes", "stored"),
        help="which labels networks are trained with: each image's class, the set's own, or one beside the "
        "other, instead of the protocol's",
    )
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="what to score on")
    parser.add_argument("--seed", type=int, default=0, help="seed of the evaluation (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)")
    add_data_options(parser)


def _evaluate(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from pydistill.data import DistilledData, load_data
    from pydistill.evaluate import evaluate, named

    if options.as_learned and options.network:
        raise ValueError("--as-learned trains no network: leave --network or it out")
    distilled = DistilledData.load(options.folder)
    changes = {
        "architectures": () if options.as_learned else tuple(options.network or ()) or None,
        "kernels": tuple(options.kernel) if options.kernel else None,
        "repeats": options.repeats,
        "epochs": options.epochs,
        "precision": options.precision,
        "labels": options.labels,
        "split": options.split,
        "seed": options.seed,
    }
    protocol = named(
        options.protocol, **{name: value for name, value in changes.items() if value is not None}
    )
    recipe = {"source": distilled.provenance.data} | recorded(options.folder) | recipe_of(options)
    data = load_data(**recipe)
    say(screen, data.summary())
    listener = Listener(screen, options.signals)
    advice = f"evaluate keeps nothing in between; start again with: {same_command(options)}"
    with advised(advice), listener.bar, logged(options.folder, options):
        report = evaluate(distilled, data, protocol, device=options.device, on_event=listener)
    page = report.save(options.folder)
    if not options.json:
        print(report.text())
        print(f"report: {printable(page)}")
    answer: dict[str, Any] = report.to_json()
    return answer
