"""Shells complete what the parsers know."""

import shutil
import subprocess

import pytest

from pydistill import methods
from pydistill.cli import COMMANDS, main
from pydistill.cli.completion import SHELLS, script

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def bash():
    return script("bash")


def completed(bash, *words):
    """What bash offers for the last of ``words``."""
    quoted = " ".join(f"'{word}'" for word in ("pydistill", *words))
    words_of_bash = f"COMP_WORDS=({quoted})\nCOMP_CWORD={len(words)}"
    ask = f'{bash}\n{words_of_bash}\n_pydistill\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run([BASH, "-u", "-c", ask], capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_completes_commands_options_methods_and_choices(bash):
    assert completed(bash, "")[: len(COMMANDS)] == list(COMMANDS)
    assert completed(bash, "ev") == ["evaluate"]
    assert completed(bash, "distill", "--method", "") == list(methods())
    assert completed(bash, "evaluate", "x", "--prec") == ["--precision"]
    assert completed(bash, "evaluate", "x", "--split", "v") == ["validation"]
    assert "--class-names" in completed(bash, "distill", "digits", "--cl")
    assert completed(bash, "distill", "digits", "--method", "dm", "--real-p") == ["--real-precision"]
    assert completed(bash, "distill", "--method", "dm", "--real-precision", "a") == ["auto"]
    assert completed(bash, "distill", "digits", "--real-p") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_every_command_and_method(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*COMMANDS, *methods(), "batch-real"))


def test_fish_lines_are_quoted():
    for line in script("fish").splitlines():
        assert line.startswith("complete -c pydistill ")
        assert line.replace("\\\\", "").replace("\\'", "").count("'") % 2 == 0


def test_an_unknown_shell_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["completion", "bsh"])
    assert stop.value.code == 2
    assert "did you mean 'bash'?" in capsys.readouterr().err
