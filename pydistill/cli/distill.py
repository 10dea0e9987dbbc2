"""``pydistill distill``."""

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pydistill.budget import KINDS, OPTIONS, Budget
from pydistill.cli.common import Listener, add_dry_run, foretell, same_command, say
from pydistill.cli.data_options import (
    RECIPE,
    RECORD,
    SOURCES,
    add_data_options,
    logged,
    read_data,
    recipe_of,
)
from pydistill.cli.signature import add_options, given_options
from pydistill.cli.stopping import StoppedError
from pydistill.data.short import shortage
from pydistill.engine.method import Method, make_method, methods, notices, option_types
from pydistill.engine.problem import SHORT_CLASSES
from pydistill.engine.run import distill
from pydistill.machine import resolve_device
from pydistill.storage.records import write_json
from pydistill.storage.run_folder import (
    CHECKPOINT,
    PREPARATION,
    RESULT,
    left_as_found,
    prepare,
    require_free,
)


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options, with those of the method that is asked for."""
    parser.set_defaults(run=_distill)
    parser.add_argument("data", metavar="DATA", help=SOURCES)
    known = f"one of {', '.join(methods())}; --method METHOD --help shows its options"
    parser.add_argument("--method", required=True, metavar="METHOD", help=known)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the result")
    add_options(
        parser,
        distill,
        under="distill",
        skip=("data", "method", "folder", "on_event"),
        flags={"nbytes": "bytes"},
        choices={"short_classes": SHORT_CLASSES},
        helps={
            "preset": "a configuration of the method: quick, paper",
            "resume": "go on where an interrupted run in DIR stopped; a finished one is given back at once",
            "overwrite": "replace a run that DIR holds",
            "checkpoint_every": "iterations between checkpoints",
        },
    )
    add_dry_run(parser)
    add_data_options(parser)
    method = _method_asked_for(given)
    if method is not None:
        _add_method_options(parser, methods()[method])


def _method_asked_for(given: Sequence[str]) -> str | None:
    """The method named in the arguments, so that its own options can be parsed and shown in the help."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--method")
    found: str | None = finder.parse_known_args(list(given))[0].method
    if found is not None and found not in methods() and not {"-h", "--help"} & set(given):
        make_method(found)  # says what is known, before its options are taken for unknown ones
    return found if found in methods() else None


def _add_method_options(parser: argparse.ArgumentParser, kind: type[Method]) -> None:
    group = parser.add_argument_group(f"options of {kind.name}", f"{kind.summary} [{kind.citation}]")
    for field in dataclasses.fields(kind):
        of, _ = option_types(kind)[field.name]
        choices = None if field.metadata["selectors"] else field.metadata["choices"]
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


def _budget(run: dict[str, Any]) -> Budget:
    """The budget that is given; none or several are refused in the command line's words."""
    given = [OPTIONS[kind] for kind in KINDS if kind in run]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"one budget is needed, of {', '.join(OPTIONS.values())}; found {found}")
    return Budget.of(**{kind: run[kind] for kind in KINDS if kind in run})


@contextlib.contextmanager
def _advised(options: argparse.Namespace, listener: Listener) -> Iterator[None]:
    """Say of a run that a signal ends what was kept of it and how to go on."""
    try:
        yield
    except StoppedError as stop:
        checkpoint, again = options.out / CHECKPOINT, same_command(options, resumed=True)
        if checkpoint.exists():
            index, total = listener.done or (0, 0)
            after = f"after {index:,} of {total:,} iterations; " if listener.done else ""
            advice = f"{after}the checkpoint is {checkpoint}; go on with:\n{again}"
        elif (options.out / RESULT).exists():
            advice = f"the set in {options.out} is whole; it is given back by:\n{again}"
        elif (options.out / PREPARATION).exists():
            kept = f"what was trained before the first iteration is kept in {options.out / PREPARATION}"
            advice = f"{kept}; go on with:\n{again}"
        else:
            advice = "no iteration was done, nothing is kept; the same command starts again"
        raise StoppedError(stop.number, advice) from stop


def _shorter(method: Method, preset: str | None, chosen: dict[str, Any]) -> str:
    """What to say to someone who named no preset: a method's own settings are its paper's length."""
    if preset is not None or "quick" not in method.presets:
        return ""
    quick = make_method(method.name, "quick", **chosen).steps
    return f" (no preset was named; --preset quick: {quick:,})" if quick < method.steps else ""


def _foretell(
    options: argparse.Namespace, screen: Console, method: Method, budget: Budget, run: dict[str, Any]
) -> dict[str, Any]:
    from pydistill.cli.forecast import of_distillation

    passed = ("preset", "checkpoint_every", *KINDS)
    run = {name: value for name, value in run.items() if name not in passed}
    require_free(options.out, resume=run.get("resume", False), overwrite=run.pop("overwrite", False))
    data = read_data(recipe_of(options))
    say(screen, data.summary())
    for text in notices(method, resolve_device(run.get("device", "auto"))):
        say(screen, text)
    forecast = of_distillation(data, method, folder=options.out, budget=budget, **run)
    return foretell(screen, forecast, options.out)


def _distill(options: argparse.Namespace, screen: Console) -> dict[str, Any]:
    chosen, run = given_options(options, "option"), given_options(options, "distill")
    # What is misspelt is said before data is read.
    method = make_method(options.method, run.get("preset"), **chosen)
    budget = _budget(run)
    if options.dry_run:
        return _foretell(options, screen, method, budget, run)
    listener = Listener(screen, options.signals, _shorter(method, run.get("preset"), chosen))
    with left_as_found(options.out), _advised(options, listener):
        prepare(options.out, resume=run.get("resume", False), overwrite=run.get("overwrite", False))
        recipe = recipe_of(options)
        data = read_data(recipe)
        say(screen, data.summary())
        with listener.bar, logged(options.out, options):
            made = distill(data, options.method, folder=options.out, on_event=listener, **run, **chosen)
        write_json(options.out / RECIPE, RECORD, recipe)
    picture = options.out / "preview.png"
    made.preview(picture)
    views = "" if made.factor == 1 else f" of {made.factor**2} views each"
    say(
        screen,
        f"{len(made.images)} images{views}, {made.nbytes['total']:,} bytes, "
        f"in {made.provenance.seconds:.0f} s",
    )
    if short := shortage(made.provenance.short_classes, made.provenance.ipc, made.factor):
        say(screen, short)
    say(screen, f"wrote {options.out / 'distilled.json'} and {picture}")
    return {
        "folder": str(options.out),
        "images": len(made.images),
        "factor": made.factor,
        "views": len(made),
        "bytes": dict(made.nbytes),
        "preview": str(picture),
        "provenance": dataclasses.asdict(made.provenance),
    }
