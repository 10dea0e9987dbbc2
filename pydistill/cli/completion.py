"""``pydistill completion``: a script for a shell, made from the parsers themselves."""

import argparse
import importlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from pydistill.cli.parser import Parser
from pydistill.engine.catalogue import summaries

SHELLS = ("bash", "zsh", "fish")
_HOW = {
    "bash": 'eval "$(pydistill completion bash)"',
    "zsh": 'eval "$(pydistill completion zsh)"',
    "fish": "pydistill completion fish | source",
}


def add(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Its options."""
    parser.set_defaults(run=_completion)
    parser.add_argument(
        "shell", choices=SHELLS, help="put into its start-up file: " + "; ".join(_HOW.values())
    )


def _completion(options: argparse.Namespace, screen: Console) -> dict[str, str]:
    text = script(options.shell)
    if not options.json:
        print(text, end="")
    return {"shell": options.shell, "script": text}


@dataclass(frozen=True)
class _Option:
    """An option: what it is for, whether a value follows, the values there are where they are few."""

    about: str
    takes: bool
    values: tuple[str, ...]


_Options = Mapping[str, _Option]


def script(shell: str) -> str:
    """What makes ``shell`` complete commands, options, methods and choices."""
    from pydistill.cli import COMMANDS

    commands = {name: _options(name, ()) for name in COMMANDS}
    methods = {
        name: {
            flag: option
            for flag, option in _options("distill", ("--method", name)).items()
            if flag not in commands["distill"]
        }
        for name in _methods()
    }
    if shell == "fish":
        return _fish(COMMANDS, commands, methods)
    begin = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
    return (begin if shell == "zsh" else "") + _bash(commands, methods)


def _methods() -> tuple[str, ...]:
    return tuple(each.name for each in summaries())


def _options(command: str, given: Sequence[str]) -> dict[str, _Option]:
    parser = Parser(prog=command)
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    importlib.import_module(f"pydistill.cli.{command}").add(parser, given)
    found = {}
    for action in parser._actions:
        values = _methods() if action.dest == "method" else tuple(map(str, action.choices or ()))
        for flag in action.option_strings:
            if flag.startswith("--"):
                about = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
                found[flag] = _Option(about, action.nargs != 0, values)
    return found


def _bash(commands: Mapping[str, _Options], methods: Mapping[str, _Options]) -> str:
    of_commands, of_methods = (
        [
            _case(f"{name} {flag}", "values=", option.values)
            for name, options in owners.items()
            for flag, option in options.items()
            if option.values
        ]
        for owners in (commands, methods)
    )
    flags = [_case(name, "flags=", options) for name, options in commands.items()]
    more = [_case(name, "flags+=", ("", *options)) for name, options in methods.items()]
    first = shlex.quote(" ".join([*commands, "--help", "--version"]))
    lines = [
        "_pydistill() {",
        "    local now before command method='' values='' flags='' at",
        "    now=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}",
        "    COMPREPLY=()",
        "    if (( COMP_CWORD == 1 )); then",
        f'        COMPREPLY=( $(compgen -W {first} -- "$now") )',
        "        return",
        "    fi",
        "    for (( at = 2; at < COMP_CWORD; at++ )); do",
        "        if [[ ${COMP_WORDS[at]} == --method ]]; then method=${COMP_WORDS[at+1]}; fi",
        "    done",
        '    case "$command $before" in',
        *of_commands,
        "    esac",
        '    case "$method $before" in',
        *of_methods,
        "    esac",
        "    if [[ -n $values ]]; then",
        '        COMPREPLY=( $(compgen -W "$values" -- "$now") )',
        "        return",
        "    fi",
        "    if [[ $now == -* ]]; then",
        '        case "$command" in',
        *flags,
        "        esac",
        '        case "$method" in',
        *more,
        "        esac",
        '        COMPREPLY=( $(compgen -W "$flags" -- "$now") )',
        "        return",
        "    fi",
        '    COMPREPLY=( $(compgen -f -- "$now") )',
        "}",
        "complete -o filenames -F _pydistill pydistill",
    ]
    return "\n".join(lines) + "\n"


def _case(label: str, begin: str, words: Iterable[str]) -> str:
    """A branch of a ``case`` that sets a variable to words."""
    return f"            {shlex.quote(label)}) {begin}{shlex.quote(' '.join(words))} ;;"


def _fish(
    about: Mapping[str, str], commands: Mapping[str, _Options], methods: Mapping[str, _Options]
) -> str:
    lines = [
        f"complete -c pydistill -f -n __fish_use_subcommand -a {name} -d {_quoted(text)}"
        for name, text in about.items()
    ]
    for name, options in commands.items():
        lines += _fish_options(f"__fish_seen_subcommand_from {name}", options)
    for name, options in methods.items():
        named = f"string match -qr -- '--method[ =]{name}( |$)' (commandline -cp)"
        lines += _fish_options(f"__fish_seen_subcommand_from distill; and {named}", options)
    return "\n".join(lines) + "\n"


def _fish_options(where: str, options: _Options) -> list[str]:
    made = []
    for flag, option in options.items():
        words: list[Any] = ["complete -c pydistill -n", _quoted(where), "-l", flag.removeprefix("--")]
        if option.values:
            words += ["-x -a", _quoted(" ".join(option.values))]
        elif option.takes:
            words.append("-r")
        made.append(" ".join([*words, "-d", _quoted(option.about)]))
    return made


def _quoted(text: str) -> str:
    """As fish reads a text between single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") + "'"
