"""Two checkouts of the library asked the same: whether their results are equal to the bit."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

PROBE = Path(__file__).with_name("probe.py")
COMPILED = ("csrc", "setup.py")
"""What the compiled extension is made of."""


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A worktree of a commit in a temporary folder, its extension in place; gone afterwards.

    The extension is built, or copied from the present tree where its sources are the same.

    Raises:
        ValueError: There is no such commit.
        RuntimeError: The extension cannot be built.
    """
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        done = _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        if done.returncode:
            raise ValueError(f"no worktree of {commit!r}: {done.stderr.strip()}")
        try:
            _extension(tree, commit)
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _extension(tree: Path, commit: str) -> None:
    made = list((ROOT / "pydistill").glob("_C*.so"))
    if made and not _git("diff", "--quiet", commit, "--", *COMPILED).returncode:
        for path in (*made, ROOT / "pydistill" / "_build.json"):
            if path.exists():
                shutil.copy(path, tree / "pydistill" / path.name)
        return
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the extension of {commit} cannot be built:\n{done.stdout}{done.stderr}")


def _git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


def ask(
    trees: Sequence[Path],
    data: str,
    jobs: Sequence[Mapping[str, Any]],
    environment: Mapping[str, str] | None = None,
) -> list[dict[str, dict[str, str]]]:
    """What :mod:`benchmarks.probe` answers in each checkout, by row; the checkouts work side by side.

    Args:
        trees: The checkouts.
        data: As ``load_data`` takes it.
        jobs: What is asked.
        environment: Variables set for all of them.

    Raises:
        RuntimeError: A checkout's process fails.
    """
    running = [
        subprocess.Popen(
            [sys.executable, str(PROBE)],
            env=os.environ | dict(environment or {}) | {"PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tree,
        )
        for tree in trees
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"data": data, "jobs": list(jobs)}))
        process.stdin.close()
    found = []
    for tree, process in zip(trees, running, strict=True):
        assert process.stdout is not None
        printed = process.stdout.read()
        if process.wait():
            raise RuntimeError(f"the code of {tree} failed; what it said is above")
        found.append(json.loads(printed.splitlines()[-1]))
    return found
