"""Every option of the functions is one of the command line; misspelt words get near ones named."""

import argparse
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pydistill import ExpertTraining, Protocol, distill, evaluate, load_data, methods, train_experts
from pydistill.cli import _parser, main
from pydistill.cli.common import short_lines
from pydistill.cli.signature import add_options, descriptions, given_options, parameters
from pydistill.evaluation.protocol import PROTOCOLS
from tests.conftest import blobs

NOT_SAID = {
    "data",
    "distilled",
    "method",
    "folder",
    "source",
    "on_event",
    "protocol",
    "training",
    "unfinished",
    "options",
    "changes",
}
WANTED = {
    "distill": {"distill": distill, "data": load_data},
    "evaluate": {"evaluate": evaluate, "protocol": Protocol, "data": load_data},
    "experts": {"experts": train_experts, "training": ExpertTraining, "data": load_data},
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tiny.npz"
    np.savez(path, **blobs())
    return str(path)


@pytest.mark.parametrize("command", WANTED)
def test_every_parameter_has_its_option(command):
    found = {action.dest for action in _parser([command]).asked._actions}
    for under, of in WANTED[command].items():
        names = set(inspect.signature(of).parameters) - NOT_SAID
        missing = {name for name in names if not {f"{under}.{name}", name} & found}
        assert not missing, f"{command} lacks {missing}"


@pytest.mark.parametrize("name", methods())
def test_every_option_of_every_method_is_there_beside_those_of_the_data(name):
    parser = _parser(["distill", "--method", name]).asked
    found = {action.dest for action in parser._actions}
    assert {f"option.{each.name}" for each in fields(methods()[name])} <= found
    assert all(action.help and "TRAINING." not in str(action.metavar) for action in parser._actions)
    assert parser.format_help()


@pytest.mark.parametrize("command", ["evaluate", "experts"])
def test_help_is_whole(command):
    text = _parser([command]).asked.format_help()
    assert "TRAINING" not in text
    assert "``" not in text
    assert ":class:" not in text
    assert "--network NETWORK" in text
    if command == "evaluate":
        assert all(name in text for name in PROTOCOLS)


def several(
    text: str,
    *,
    sides: int | tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    each: tuple[str, ...] = (),
    way: Literal["up", "down"] = "up",
    rate: float = 0.5,
    switch: bool = False,
    whole: bool = True,
    maybe: bool | None = None,
    place: str | os.PathLike[str] | None = None,
) -> None:
    """Do nothing.

    Args:
        text: Some text, of
            two lines with 5 %.
        sides: One or two.
        names: Some.
        each: Some.
        way: Which way.
        rate: A rate.
        switch: Off.
        whole: On.
        maybe: Neither.
        place: A path.
    """


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_options(parser, several, under="x")
    assert "5 %" in parser.format_help()
    return given_options(parser.parse_args(["--text", "t", *arguments]), "x")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("--sides 32", {"sides": 32}),
        ("--sides 32x48", {"sides": (32, 48)}),
        ("--names a,b", {"names": ["a", "b"]}),
        ("--names a,b --names c", {"names": ["a,b", "c"]}),
        ("--each a:b=1,c=2 --each d", {"each": ("a:b=1,c=2", "d")}),
        ("--way down", {"way": "down"}),
        ("--rate 1e-3", {"rate": 1e-3}),
        ("--switch --no-whole", {"switch": True, "whole": False}),
        ("--no-maybe", {"maybe": False}),
        ("--place a/b", {"place": "a/b"}),
    ],
)
def test_what_is_said_is_what_is_passed(arguments, expected):
    assert parsed(*arguments.split()) == {"text": "t", **expected}


def test_what_fits_no_option_is_refused_as_it_is_made():
    @dataclass
    class Odd:
        """Odd.

        Attributes:
            content: What no text can say.
        """

        content: dict[str, int]

    with pytest.raises(TypeError, match="cannot make an option of content"):
        add_options(argparse.ArgumentParser(), Odd, under="x")
    Odd.__doc__ = "Nothing is described."
    with pytest.raises(TypeError, match="does not describe content"):
        parameters(Odd)


def test_descriptions_are_plain_text():
    told = descriptions(
        "Do.\n\nArgs:\n    a: See :class:`~b.C` and ``d``,\n        twice.\n    e: F: g.\n\n"
        "Returns:\n    h: i.\n"
    )
    assert told == {"a": "See b.C and d, twice.", "e": "F: g."}


def test_how_data_is_read_reaches_the_data_and_the_record(source, tmp_path, capsys):
    arguments = ["distill", source, "--method", "random", "--ipc", "1", "--out", str(tmp_path), "--json"]
    how = [
        "--no-horizontal-flip",
        "--class-names",
        "x,y,z",
        "--size",
        "4x4",
        "--name",
        "mine",
        "--split-seed",
        "3",
    ]
    assert main([*arguments, *how]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["provenance"]["data"] == "mine"
    recorded = json.loads((tmp_path / "data.json").read_text())
    assert recorded["horizontal_flip"] is False
    assert recorded["class_names"] == ["x", "y", "z"]
    assert (recorded["size"], recorded["seed"]) == ([4, 4], 3)
    short = [
        "--network",
        "mlp:width=4",
        "--repeats",
        "1",
        "--epochs",
        "2",
        "--random-draws",
        "2",
        "--no-whole",
    ]
    assert main(["evaluate", str(tmp_path), *short, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["protocol"]["random_draws"], report["protocol"]["whole"]) == (2, False)
    assert {run["source"] for run in report["runs"]} == {"distilled", "random"}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["distil", "digits"], "did you mean 'distill'?"),
        (["evaluate", "x", "--epoch", "3"], "--epoch 3 (did you mean '--epochs'?)"),
        (["experts", "digits", "--out", "x", "--networks=mlp"], "did you mean '--network'?"),
        (["evaluate", "x", "--split", "tset"], "did you mean 'test'?"),
        (
            ["distill", "d", "--method", "dm", "--ipc", "1", "--out", "x", "--batch-rael", "3"],
            "'--batch-real'?",
        ),
    ],
)
def test_near_names_of_commands_options_and_choices(arguments, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert hint in said
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--method", "dmm", "--iterations", "3"], "unknown method 'dmm' (did you mean 'dm'?)"),
        (["--method", "dm", "--preset", "quik"], "no preset 'quik' (did you mean 'quick'?)"),
        (["--method", "dm", "--network", "convnett"], "did you mean 'convnet'?"),
        (["--method", "kip", "--kernel-name", "rfb"], "did you mean 'rbf'?"),
    ],
)
def test_near_names_of_methods_presets_networks_and_kernels(arguments, hint, source, tmp_path, capsys):
    assert main(["distill", source, "--ipc", "1", "--out", str(tmp_path / "x"), *arguments]) == 2
    assert hint in capsys.readouterr().err


def test_near_names_of_protocols_and_their_settings(tiny):
    made = distill(tiny, "random", ipc=1)
    with pytest.raises(ValueError, match=r"unknown protocol 'quik' \(did you mean 'quick'\?\)"):
        evaluate(made, tiny, "quik")
    with pytest.raises(ValueError, match=r"no setting 'epoch' \(did you mean 'epochs'\?\)"):
        evaluate(made, tiny, epoch=3)


def test_a_wrong_path_is_answered_in_short_lines(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = ["--method", "random", "--ipc", "1", "--out", str(tmp_path / "out")]
    assert main(["distill", str(tmp_path / "empty"), *arguments]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 100 + len(str(tmp_path)) + len("pydistill: ")


def test_a_missing_path_gets_the_near_one_and_a_list_line_by_line(tmp_path, capsys):
    (tmp_path / "digits.npz").touch()
    arguments = ["--method", "random", "--ipc", "1", "--out", str(tmp_path / "out")]
    assert main(["distill", str(tmp_path / "digts.npz"), *arguments]) == 3
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith(
        "digts.npz' (did you mean 'digits.npz'?); understood are: 'digits' (part of the package)"
    )
    assert max(map(len, others)) <= 200
    assert len(others) >= 5


def test_a_damaged_record_of_the_data_is_passed_over_where_the_data_is_named(source, tmp_path, capsys):
    arguments = ["--method", "random", "--ipc", "1", "--out", str(tmp_path)]
    assert main(["distill", source, *arguments]) == 0
    (tmp_path / "data.json").write_text("{}")
    short = [
        "--network",
        "mlp:width=4",
        "--repeats",
        "1",
        "--epochs",
        "1",
        "--random-draws",
        "0",
        "--no-whole",
    ]
    assert main(["evaluate", str(tmp_path), *short]) == 4
    assert "name the data with --data" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), *short, "--data", source]) == 0


def test_long_messages_are_broken_between_their_parts_but_paths_are_not():
    path = "/" + "long/" * 40
    assert short_lines("short; as it is") == "short; as it is"
    text = f"this is (a; b) {'quite ' * 13}long; and names {path}; then ends"
    assert short_lines(text).splitlines()[1:] == [
        f"  and names\n    {path}".split("\n")[0],
        f"    {path}",
        "  then ends",
    ]


def test_methods_are_listed_whole_where_it_is_no_terminal():
    done = subprocess.run(
        [sys.executable, "-m", "pydistill", "methods"],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "40"}, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(methods())
    assert all(
        kind.citation in line and kind.summary in line
        for kind, line in zip(methods().values(), lines, strict=True)
    )


def test_paths_outside_are_taken_relative_to_where_the_command_ran(source, monkeypatch, tmp_path):
    monkeypatch.chdir(Path(source).parent)
    arguments = ["--method", "random", "--ipc", "1", "--out", str(tmp_path / "run")]
    assert main(["distill", "./tiny.npz", *arguments]) == 0
    assert json.loads((tmp_path / "run" / "data.json").read_text())["source"] == source
