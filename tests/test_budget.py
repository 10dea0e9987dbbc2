"""Four ways to say how large a distilled set may be, one of them at a time."""

import json

import pytest
import torch

from pydistill.budget import Budget
from pydistill.cli import main
from pydistill.data import DistilledData
from pydistill.engine.run import distill
from pydistill.errors import CheckpointError
from pydistill.evaluation import evaluate

SIZES, IMAGE = [20, 30, 50], 264
"""Training images of three groups, and bytes of an image with its target."""


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"ipc": 4}, [4, 4, 4]),
        ({"images": 12}, [4, 4, 4]),
        ({"images": 11}, [4, 4, 3]),
        ({"fraction": 0.1}, [4, 3, 3]),
        ({"fraction": "10%"}, [4, 3, 3]),
        ({"fraction": " 10 % "}, [4, 3, 3]),
        ({"fraction": "0.03"}, [1, 1, 1]),
        ({"fraction": 1.0}, [34, 33, 33]),
        ({"nbytes": 3 * IMAGE}, [1, 1, 1]),
        ({"nbytes": 4 * IMAGE - 1}, [1, 1, 1]),
        ({"nbytes": "1kB"}, [1, 1, 1]),
        ({"nbytes": "2 KiB"}, [3, 2, 2]),
        ({"nbytes": "0.002 MB"}, [3, 2, 2]),
        ({"nbytes": "2112"}, [3, 3, 2]),
    ],
)
def test_stored_images_of_each_group(given, counts):
    assert Budget.of(**given).by_group(SIZES, IMAGE) == counts


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"images": 2},
            "a budget of 2 images comes to 2 images, fewer than the 3 classes: ask for at least 3",
        ),
        ({"fraction": "1%"}, "a fraction of 1 % comes to 1 images, fewer than the 3 classes"),
        ({"fraction": 0.001}, "a fraction of 0.1 % comes to no image: one image needs 1 %"),
        ({"nbytes": 263}, "a budget of 263 bytes comes to no image: one image needs 264 bytes"),
    ],
)
def test_a_budget_that_rounds_to_nothing_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Budget.of(**given).by_group(SIZES, IMAGE)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, TypeError, "a budget is needed, one of ipc, images, fraction, nbytes"),
        ({"ipc": 1, "fraction": 0.1}, ValueError, "one budget is needed, found ipc = 1 and fraction = 0.1"),
        ({"ipc": 0}, ValueError, "ipc must be at least 1, got 0"),
        ({"ipc": 1.5}, TypeError, "ipc must be an integer, got 1.5"),
        ({"ipc": True}, TypeError, "ipc must be an integer, got True"),
        ({"images": -3}, ValueError, "images must be at least 1, got -3"),
        ({"fraction": 0.0}, ValueError, "fraction must be above 0, got 0.0"),
        ({"fraction": float("nan")}, ValueError, "fraction must be above 0, got nan"),
        ({"fraction": 1.5}, ValueError, r"fraction must be at most 1 \(100 %\), got 1.5"),
        ({"fraction": "150%"}, ValueError, "fraction must be at most 1"),
        ({"fraction": "a lot"}, ValueError, "fraction must be a share such as 1% or 0.01, got 'a lot'"),
        ({"nbytes": "many"}, ValueError, "bytes must be a size such as 300kB or 2MiB, got 'many'"),
        ({"nbytes": "1.2.3kB"}, ValueError, "bytes must be a size"),
        ({"nbytes": 0}, ValueError, "nbytes must be at least 1, got 0"),
    ],
)
def test_what_is_no_budget_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        Budget.of(**given)


@pytest.mark.parametrize("given", [{"images": 7}, {"fraction": "10%"}, {"nbytes": "2000"}])
@pytest.mark.parametrize("method", ["random", "dm", "dc", "mtt", "frepo"])
def test_every_method_distils_uneven_budgets(method, given, tiny):
    options = {"network": "convnet:width=4,depth=2", "iterations": 2} if method != "random" else {}
    if method == "mtt":
        options |= {"inner_steps": 2, "own_experts": "epochs=1,snapshots=1", "init": "right"}
        options |= {"expert_epochs": 1, "last_start": 1}
    sizes = [len(member) for member in tiny.task.groups(tiny.train.targets).members]
    expected = Budget.of(**given).by_group(sizes, 4 * 64 + 8)
    assert len(set(expected)) == 2
    preset = "quick" if options else None
    made = distill(tiny, method, preset=preset, seed=1, **given, **options)
    assert torch.bincount(made.classes, minlength=3).tolist() == expected
    assert dict(made.provenance.budget) == Budget.of(**given).record()
    assert made.provenance.ipc == max(expected)


def test_equal_counts_are_the_same_set_however_they_were_asked_for(tiny):
    ways = ({"ipc": 2}, {"images": 6}, {"nbytes": 6 * 264})
    sets = [distill(tiny, "dm", preset="quick", iterations=2, network="mlp:width=4", **way) for way in ways]
    assert all(torch.equal(made.images, sets[0].images) for made in sets)


def test_a_report_states_all_four(tiny):
    made = distill(tiny, "random", images=7)
    report = evaluate(made, tiny, architectures=("mlp:width=4",), epochs=2, repeats=1, random_draws=1)
    assert report.size == {
        "images_a_class": [2, 3],
        "by_class": True,
        "images": 7,
        "fraction": 7 / len(tiny.train),
        "nbytes": made.nbytes["total"],
    }
    line = f"2 to 3 images a class, 7 in all, {100 * 7 / len(tiny.train):.3g} % of the training images"
    assert line in report.text()
    assert report.facts("random").images == 7


def test_a_budget_is_part_of_a_runs_identity(tiny, tmp_path):
    run = {"preset": "quick", "iterations": 2, "network": "mlp:width=4", "folder": tmp_path}
    made = distill(tiny, "dm", images=6, **run)
    assert distill(tiny, "dm", images=6, resume=True, **run) == made
    with pytest.raises(CheckpointError, match="budget"):
        distill(tiny, "dm", ipc=2, resume=True, **run)
    assert DistilledData.load(tmp_path) == made


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--fraction", "2%"], 0, None),
        (["--images", "30"], 0, None),
        (["--bytes", "9kB"], 0, None),
        ([], 2, "one budget is needed, of --ipc N"),
        (["--ipc", "1", "--fraction", "1%"], 2, "--ipc N (images a class) and --fraction 1%"),
        (["--fraction", "0.1%"], 2, "fewer than the 10 classes"),
        (["--bytes", "100"], 2, "comes to no image"),
        (["--bytes", "lots"], 2, "bytes must be a size"),
    ],
)
def test_the_command_line_takes_one_of_four(given, code, words, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["distill", "digits", "--method", "random", "--out", str(out), "--json", *given]) == code
    said = capsys.readouterr()
    if words is None:
        assert json.loads(said.out)["images"] in (25, 26, 30, 34)
    else:
        assert words in " ".join(said.err.split())
        assert not out.exists()
