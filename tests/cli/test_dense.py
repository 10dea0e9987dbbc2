"""Masks and boxes on the command line: the same commands as for classes, and what is refused."""

import json

import pytest

from pydistill.cli import main
from pydistill.engine.run import distill
from tests.evaluation.test_dense import NETWORKS, SIZE, real

NAMES = {"segmentation": "ground,bright,dark", "detection": "bright,dark"}


@pytest.fixture(params=["segmentation", "detection"], scope="module")
def task(request):
    return request.param


@pytest.fixture(scope="module")
def source(task, tmp_path_factory):
    """A folder of pictures with masks, or with COCO's JSON, as an export writes them."""
    out = tmp_path_factory.mktemp(task) / "scenes"
    distill(real(task), "random", images=16).export_folder(out)
    for path in out.iterdir():
        if path.name not in ("images", "masks", "annotations.json"):
            path.unlink()
    return out


@pytest.fixture
def options(task):
    return ["--class-names", NAMES[task]] if task == "segmentation" else []


def distilled(source, out, *more):
    return main(["distill", str(source), "--method", "random", "--out", str(out), *more])


def test_the_same_commands_as_for_classes(task, source, options, tmp_path, capsys):
    run = tmp_path / "run"
    assert distilled(source, run, "--fraction", "40%", "--json", *options) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["images"] == round(0.4 * 12)  # of 16 images, 3 are test and 1 validation images
    assert (run / "preview.png").read_bytes().startswith(b"\x89PNG")
    short = ["--network", NETWORKS[task], "--repeats", "1", "--epochs", "2", "--random-draws", "1"]
    assert main(["evaluate", str(run), *short, "--baselines", "none"]) == 0
    said = capsys.readouterr().out
    assert {"segmentation": "mIoU", "detection": "AP50"}[task] in said
    assert "images hold each class" in said
    page = (run / "report.html").read_text()
    assert "class by class" in page
    assert main(["info", str(run)]) == 0
    assert f"3x{SIZE[0]}x{SIZE[1]}" in capsys.readouterr().out.replace(", ", "x").replace("[", "").replace(
        "]", ""
    )
    assert main(["export", str(run), str(tmp_path / "pictures")]) == 0
    assert main(["evaluate", str(run), *short, "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--fraction", "1%"], 2, "comes to no image: one image needs"),
        (["--ipc", "2"], 2, "has no images a class, since an image may hold several"),
        (["--images", "2", "--fraction", "5%"], 2, "one budget is needed"),
        ([], 2, "one budget is needed"),
        (["--images", "2", "--factor", "2"], 2, "factor"),
        (["--images", "500"], 2, "only"),
        (["--images", "2", "--task", "classification"], 3, "class"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_exit_code(
    source, options, tmp_path, capsys, more, code, words
):
    assert distilled(source, tmp_path / "run", *more, *options) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["dm", "kip", "mtt"])
def test_a_method_that_does_not_bear_the_task_is_refused(task, source, options, tmp_path, capsys, method):
    command = ["distill", str(source), "--method", method, "--images", "2", "--out", str(tmp_path / "run")]
    assert main([*command, *options]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{method} is for classification" in said
    assert f"for {task}: use balanced, " in said
    assert "random" in said.rpartition("use ")[2]


def test_a_kernel_machine_and_a_classifier_are_refused(source, options, tmp_path, capsys):
    run = tmp_path / "run"
    assert distilled(source, run, "--images", "2", *options) == 0
    for given, words in (
        (["--kernel", "ntk"], "kernel ridge regression needs images of one class each"),
        (["--network", "convnet"], "the network convnet is for classification"),
        (["--protocol", "dc"], "the protocol dc is not for"),
    ):
        assert main(["evaluate", str(run), *given]) == 2
        assert words in " ".join(capsys.readouterr().err.split())
