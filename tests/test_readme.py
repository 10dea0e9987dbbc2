"""Every code block of the README runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
NOT_CODE = {"bibtex"}
# an absent extension is no error here
WARNINGS = ["-W", "error", "-W", "ignore:pydistill:RuntimeWarning"]


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder to run in, shared by the blocks as a reader's would be.

    Python that starts with it on its path finds no package of an extra: the README installs none.
    """
    folder = tmp_path_factory.mktemp("reader")
    hidden = ("datasets", "pandas", "pyarrow", "scipy", "sklearn")
    (folder / "sitecustomize.py").write_text(
        f"import sys\nfor name in {hidden}:\n    sys.modules[name] = None\n"
    )
    return folder


def run(command, where):
    environment = os.environ | {
        "PYTHONPATH": f"{where}{os.pathsep}{ROOT}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_DRY_RUN": "1",  # pip resolves and prepares, and leaves this environment alone
    }
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_block_is_of_a_kind_that_is_run():
    assert {kind for kind, _ in BLOCKS} - NOT_CODE == {"bash", "python"}


def test_python_blocks_run_in_order(desk):
    assert len(blocks("python")) >= 2
    for block in blocks("python"):
        run([sys.executable, *WARNINGS, "-c", block], desk)
    assert (desk / "runs/digits/report.html").exists()
    assert (desk / "runs/digits/preview.png").exists()


def test_command_line_blocks_run(desk):
    commands = [block for block in blocks("bash") if block.startswith("pydistill ")]
    assert commands
    for block in commands:
        said = run(["bash", "-euo", "pipefail", "-c", block], desk)
        assert "report: " in said


def test_links_lead_somewhere_from_any_page_that_shows_the_readme():
    """A package index shows it without the repository: links are absolute, and what they name exists."""
    text = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    home = "https://github.com/pydistill/pydistill/blob/main/"
    assert any(target.startswith(home) for target in targets)
    for target in targets:
        assert target.startswith("https://")
        assert not target.startswith(home) or (ROOT / target.removeprefix(home)).exists(), target
    named = set(re.findall(r"\[((?:docs/)?[\w.]+\.md)\]", text))
    assert named == set(re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE))


def test_install_block_resolves():
    """torch from the environment satisfies it, the package builds its metadata; nothing is installed."""
    (block,) = (block for block in blocks("bash") if "pip install" in block)
    run(["bash", "-euo", "pipefail", "-c", block], ROOT)


def test_make_blocks_name_targets_that_exist():
    """What `make test` and `make check` do is what runs this; `make demo` is run by the next test."""
    make = shutil.which("make")
    assert make
    named = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), re.MULTILINE)
    assert {"demo", "test", "check"} <= set(named)
    for target in named:
        run([make, "--dry-run", target], ROOT)


def test_make_demo_writes_a_report():
    said = run([shutil.which("make"), "demo", "DEMO=runs/demo-tested"], ROOT)
    page = re.search(r"report: (.+)", said)
    assert page
    assert (ROOT / page.group(1).strip()).exists()
    shutil.rmtree(ROOT / "runs/demo-tested")
