"""The command line: events become progress bars, results tables, errors exit codes.

Exit codes: 0 done, 1 a fault of pydistill itself, 2 a wrong argument, 3 unusable data, 4 a file or state
that cannot be read or written, 5 a loss that is not finite, 130 interrupted.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from pydistill import events
from pydistill._version import __version__
from pydistill.errors import DataError, DivergenceError, FileFormatError, PydistillError
from pydistill.files import write_text
from pydistill.method import Method, make_method, methods, option_types

USAGE, DATA, FILES, DIVERGED, INTERRUPTED = 2, 3, 4, 5, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is returned, never raised (but for ``--help`` and misuse)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(_method_asked_for(given)).parse_args(given)
    screen = Console(stderr=True, quiet=getattr(options, "json", False))
    try:
        answer = options.run(options, screen)
    except (ValueError, TypeError) as error:
        return _fail(error, USAGE)
    except DataError as error:
        return _fail(error, DATA)
    except DivergenceError as error:
        return _fail(error, DIVERGED)
    except PydistillError as error:
        return _fail(error, FILES)
    except KeyboardInterrupt:
        return _fail("interrupted; go on with --resume", INTERRUPTED)
    if options.json:
        print(json.dumps(answer, indent=2))
    return 0


def _fail(error: object, code: int) -> int:
    print(f"pydistill: {error}", file=sys.stderr)
    return code


def _method_asked_for(given: Sequence[str]) -> str | None:
    """The method named in the arguments, so that its own options can be parsed and shown in the help."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--method")
    found: str | None = finder.parse_known_args(list(given))[0].method
    return found if found in methods() else None


def _parser(method: str | None) -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="pydistill", description="Dataset distillation.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"pydistill {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_distill(commands, method)
    _add_evaluate(commands)
    _add_methods(commands)
    _add_info(commands)
    return top


def _command(commands: Any, name: str, help: str, run: Any) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=help, allow_abbrev=False
    )
    made.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    made.set_defaults(run=run)
    return made


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data (evaluate: what distill was given, where left out)")
    group.add_argument("--validation", type=float, metavar="SHARE",
                       help="share of the training images held out for choices (default 0.1)")  # fmt: skip
    group.add_argument("--split-seed", type=int, metavar="SEED", help="seed of that split (default 0)")
    group.add_argument("--preprocess", choices=("standardise", "zca"), help="(default standardise)")
    group.add_argument("--size", type=int, help="scale images to SIZE x SIZE")


def _add_distill(commands: Any, method: str | None) -> None:
    parser = _command(commands, "distill", "Distil a data set into a few images a class.", _distill)
    sources = "digits; a folder (parquet, IDX, images), an .npz file or the name of a Hugging Face data set"
    parser.add_argument("data", metavar="DATA", help=sources)
    known = f"one of {', '.join(methods())}; --method METHOD --help shows its options"
    parser.add_argument("--method", required=True, metavar="METHOD", help=known)
    parser.add_argument("--ipc", type=int, required=True, help="stored images a class")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the result")
    parser.add_argument("--preset", help="a configuration of the method: quick, paper")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of every random draw (default %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)")
    parser.add_argument("--max-batch", type=int, help="most real images in one pass of a network")
    parser.add_argument("--checkpoint-every", type=int, default=50, metavar="N",
                        help="iterations between checkpoints (default %(default)s)")  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="go on where an interrupted run in DIR stopped"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a run that DIR holds")
    _add_data_options(parser)
    if method is not None:
        _add_method_options(parser, methods()[method])


def _add_method_options(parser: argparse.ArgumentParser, kind: type[Method]) -> None:
    group = parser.add_argument_group(f"options of {kind.name}", f"{kind.summary} [{kind.citation}]")
    for field in dataclasses.fields(kind):
        of, _ = option_types(kind)[field.name]
        choices = field.metadata["choices"]
        presets = [
            f"{preset}: {chosen[field.name]}"
            for preset, chosen in kind.presets.items()
            if field.name in chosen
        ]
        note = "; ".join([f"default {field.default}", *presets])
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=f"option.{field.name}",
            type=_boolean if of is bool else of,
            default=argparse.SUPPRESS,
            choices=choices,
            metavar=None if choices else of.__name__.upper(),
            help=f"{field.metadata['help']} ({note})".replace("%", "%%"),
        )


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
    return text.lower() == "true"


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands, "evaluate", "Train fresh networks on a distilled set and score them.", _evaluate
    )
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
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="what to score on")
    parser.add_argument("--seed", type=int, default=0, help="seed of the evaluation (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)")
    _add_data_options(parser)


def _add_methods(commands: Any) -> None:
    _command(commands, "methods", "List the methods.", _methods)


def _add_info(commands: Any) -> None:
    what = "Tell versions, and what the extension was built with or why it is absent; or what a set holds."
    parser = _command(commands, "info", what, _info)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what distill wrote")


class _Listener:
    """Draws one bar a stage from events."""

    def __init__(self, screen: Console) -> None:
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=screen,
        )
        self.stages: dict[str, Any] = {}

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Step(index, total, metrics):
                note = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
                self._show("distil", index, total, note)
            case events.Progress(stage, done, total, detail):
                self._show(stage, done, total, detail)

    def _show(self, stage: str, done: int, total: int, note: str) -> None:
        if stage not in self.stages:
            self.stages[stage] = self.bar.add_task(stage, total=total, note="")
        self.bar.update(self.stages[stage], completed=done, total=total, note=note)


_RECIPE = "data.json"
"""Beside a distilled set: how the command line read its real data, for ``evaluate`` to do the same."""


def _recipe(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the data: arguments of ``load_data``."""
    said = {
        "source": options.data,
        "validation": options.validation,
        "seed": options.split_seed,
        "preprocess": options.preprocess,
        "size": options.size,
    }
    return {name: value for name, value in said.items() if value is not None}


def _recorded(folder: Path) -> dict[str, Any]:
    path = folder / _RECIPE
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError, OSError) as error:
        raise FileFormatError(f"{path} cannot be read ({error}): name the data with --data") from error


def _distill(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from pydistill.data import load_data
    from pydistill.distill import distill, prepare

    chosen = {
        name.removeprefix("option."): value for name, value in vars(options).items() if "option." in name
    }
    method = make_method(options.method, options.preset, **chosen)
    prepare(options.out, resume=options.resume, overwrite=options.overwrite)
    recipe = _recipe(options)
    data = load_data(**recipe)
    write_text(options.out / _RECIPE, json.dumps(recipe))
    listener = _Listener(screen)
    with listener.bar:
        made = distill(
            data,
            method,
            ipc=options.ipc,
            seed=options.seed,
            device=options.device,
            max_batch=options.max_batch,
            folder=options.out,
            resume=options.resume,
            overwrite=options.overwrite,
            checkpoint_every=options.checkpoint_every,
            on_event=listener,
        )
    picture = options.out / "preview.png"
    made.preview(picture)
    views = "" if made.factor == 1 else f" of {made.factor**2} views each"
    screen.print(
        f"{len(made.images)} images{views}, {made.nbytes['total']:,} bytes, "
        f"in {made.provenance.seconds:.0f} s"
    )
    screen.print(f"wrote {options.out / 'distilled.json'} and {picture}", soft_wrap=True)
    return {
        "folder": str(options.out),
        "images": len(made.images),
        "factor": made.factor,
        "views": len(made),
        "bytes": dict(made.nbytes),
        "preview": str(picture),
        "provenance": dataclasses.asdict(made.provenance),
    }


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
        "split": options.split,
        "seed": options.seed,
    }
    protocol = named(
        options.protocol, **{name: value for name, value in changes.items() if value is not None}
    )
    recipe = {"source": distilled.provenance.data} | _recorded(options.folder) | _recipe(options)
    data = load_data(**recipe)
    listener = _Listener(screen)
    with listener.bar:
        report = evaluate(distilled, data, protocol, device=options.device, on_event=listener)
    page = report.save(options.folder)
    if not options.json:
        print(report.text())
        print(f"report: {page}")
    answer: dict[str, Any] = report.to_json()
    return answer


def _methods(options: argparse.Namespace, screen: Console) -> list[dict[str, Any]]:
    table = Table("method", "family", "what it does", "source")
    rows = []
    for name, kind in methods().items():
        table.add_row(name, kind.family, kind.summary, kind.citation)
        rows.append(
            {
                "name": name,
                "family": kind.family,
                "summary": kind.summary,
                "citation": kind.citation,
                "options": {field.name: field.default for field in dataclasses.fields(kind)},
                "presets": {preset: dict(chosen) for preset, chosen in kind.presets.items()},
            }
        )
    if not options.json:
        Console().print(table)
    return rows


def _info(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    from pydistill import about
    from pydistill.data import DistilledData

    if options.folder is None:
        answer = about.installation()
    else:
        answer = about.distilled_set(DistilledData.load(options.folder))
    if not options.json:
        for name, value in _lines(answer):
            print(f"{name:<28} {value}")
    return answer


def _lines(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        return [line for key, value in tree.items() for line in _lines(value, f"{path} {key}".strip())]
    shown = ", ".join(map(str, tree)) or "none" if isinstance(tree, list | tuple) else tree
    return [(path, "none" if shown is None else shown)]


if __name__ == "__main__":
    sys.exit(main())
