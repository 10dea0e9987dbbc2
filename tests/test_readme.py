"""Every code block of the README and of the documentation runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.xdist_group("documents")  # one folder, blocks in order

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
CODE = ("bash", "python")
NOT_CODE = ("bibtex", "{include}", "{toctree}", "{eval-rst}")
HOME = "https://github.com/pydistill/pydistill/blob/main/"
RAW = "https://raw.githubusercontent.com/pydistill/pydistill/main/"
# an absent extension is no error here
WARNINGS = ["-W", "error", "-W", "ignore:pydistill:RuntimeWarning"]


def blocks(page, *languages):
    found = re.findall(r"^```(\S+)[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(kind, text) for kind, text in found if not languages or kind in languages]


def runnable(kind, text):
    return kind == "python" or text.startswith("pydistill ")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_run(page):
    assert {kind for kind, _ in blocks(page)} <= {*CODE, *NOT_CODE}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(runnable(*each) for each in blocks(page))], ids=lambda p: p.name
)
def test_blocks_run_in_order(page, desk):
    for kind, block in blocks(page, *CODE):
        if not runnable(kind, block):
            continue
        python = [sys.executable, *WARNINGS, "-c", block]
        said = run(python if kind == "python" else ["bash", "-euo", "pipefail", "-c", block], desk)
        assert "pydistill evaluate" not in block or "report: " in said


def test_the_ten_lines_leave_a_page_and_a_picture(desk):
    (block,) = (text for _, text in blocks(README, "python"))
    run([sys.executable, *WARNINGS, "-c", block], desk)
    assert (desk / "runs/digits/report.html").exists()
    assert (desk / "runs/digits/preview.png").exists()


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200


def test_links_lead_somewhere_from_any_page_that_shows_the_readme():
    """A package index shows it without the repository: links are absolute, and what they name exists."""
    text = README.read_text()
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    assert any(target.startswith(HOME) for target in targets)
    for target in targets:
        assert target.startswith("https://")
        for home in (HOME, RAW):
            assert not target.startswith(home) or (ROOT / target.removeprefix(home)).exists(), target
    named = set(re.findall(r"\[((?:docs/)?[\w.]+\.md)\]", text))
    assert named == set(re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE))


def test_install_block_resolves():
    """torch from the environment satisfies it, the package builds its metadata; nothing is installed."""
    (block,) = (block for _, block in blocks(README, "bash") if "pip install" in block)
    run(["bash", "-euo", "pipefail", "-c", block], ROOT)


def test_make_blocks_name_targets_that_exist():
    """What `make test` and `make check` do is what runs this; `make demo` is run by the next test."""
    make = shutil.which("make")
    assert make
    named = re.findall(r"^make (\w+)", "\n".join(text for _, text in blocks(README, "bash")), re.MULTILINE)
    assert {"demo", "test", "check"} <= set(named)
    for target in named:
        run([make, "--dry-run", target], ROOT)


def test_make_demo_writes_a_report():
    said = run([shutil.which("make"), "demo", "DEMO=runs/demo-tested"], ROOT)
    page = re.search(r"report: (.+)", said)
    assert page
    assert (ROOT / page.group(1).strip()).exists()
    shutil.rmtree(ROOT / "runs/demo-tested")
