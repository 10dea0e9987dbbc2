"""Names of classes, data and folders reach the screen as text: no markup, nothing a terminal obeys."""

import io
import re

import numpy as np
import pytest

from pydistill.cli import main
from pydistill.cli.common import Listener, console, say
from pydistill.events import Progress, Step
from tests.conftest import blobs

NAMES = np.array(["\x1b[31mred\x1b[0m", "[bold]b[/bold]\n:smile:", "\u202egpj\x9b2J" + "x" * 300])
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    arrays = blobs()
    arrays |= {name: NAMES[arrays[name]] for name in ("y_train", "y_test")}
    path = tmp_path_factory.mktemp("source") / "tiny.npz"
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("folder", ["a[/b]", "[red]", ":smile:"])
def test_hostile_names_go_through_every_command_as_text(source, folder, tmp_path, capsys):
    out = tmp_path / folder
    assert main(["distill", source, "--method", "random", "--ipc", "1", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert str(out) in said.err.replace("\n", "")
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr()
    assert r"\x1b[31mred\x1b[0m" in told.out
    assert main(["evaluate", str(out), "--network", "mlp:width=4", "--repeats", "1", "--epochs", "1"]) == 0
    scored = capsys.readouterr()
    for text in (said.out, said.err, told.out, told.err, scored.out, scored.err):
        assert not OBEYED.search(text)


def test_errors_show_names_escaped(tmp_path, capsys):
    arrays = blobs()
    arrays["y_train"] = NAMES[np.minimum(arrays["y_train"], 1)]
    arrays["y_test"] = NAMES[arrays["y_test"]]
    np.savez(tmp_path / "odd.npz", **arrays)
    answer = main(
        [
            "distill",
            str(tmp_path / "odd.npz"),
            "--method",
            "random",
            "--ipc",
            "1",
            "--out",
            str(tmp_path / "r"),
        ]
    )
    said = capsys.readouterr().err
    assert answer == 3
    assert r"gpj" in said
    assert not OBEYED.search(said)


def test_bars_and_lines_take_text_as_text():
    out = io.StringIO()
    screen = console(file=out, width=200)
    listener = Listener(screen)
    with listener.bar:
        listener(Progress("[/b]stage\x1b[2J", 1, 2, "[/c] :smile: \x1b]0;title\x07"))
        listener(Step(1, 2, {"[/loss]\x1b[1m": 1.0}, 0.1))
    say(screen, "wrote a[/b] \x1b[2J")
    said = out.getvalue()
    assert not OBEYED.search(said)
    for text in (r"[/b]stage\x1b[2J", "[/c] :smile:", r"[/loss]\x1b[1m", r"wrote a[/b] \x1b[2J"):
        assert text in said
