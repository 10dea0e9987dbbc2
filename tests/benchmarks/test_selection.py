"""What selection and analysis are measured with: faults are where they are said to be, figures right."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from benchmarks.selection.known_faults import held, planted_in
from benchmarks.selection.plant import plant, with_noise
from benchmarks.selection.planted import auc, found
from benchmarks.selection.side_by_side import parsed, table
from pydistill import load_data


@pytest.fixture(scope="module")
def data():
    """Three classes of noise, so that nothing is a copy by chance."""
    source = np.random.default_rng(0)
    images = source.integers(60, 256, (900, 12, 12), dtype=np.uint8)
    labels = np.arange(900) % 3
    arrays = {"x_train": images[:700], "y_train": labels[:700], "x_test": images[700:]}
    return load_data({**arrays, "y_test": labels[700:]}, validation=0.1, name="noise")


def test_faults_are_where_they_are_said_to_be_one_an_image(data):
    made = plant(data, labels=0.1, near=0.05, leaked=0.1, broken=6, rare=2, similar={0: 1})
    train, test = made.data.train, made.data.test
    places = torch.cat([made.flipped, made.copies[:, 0], made.leaks[:, 0], made.broken])
    assert len(torch.unique(places)) == len(places)
    assert set(made.similar.tolist()) <= set(made.flipped.tolist())
    assert len(made.flipped) == pytest.approx(0.1 * len(train), abs=1)
    assert torch.equal(train.images[made.leaks[:, 0]], test.images[made.leaks[:, 1]])
    assert int(train.images[made.broken].max()) <= 25
    copies, sources = (train.images[made.copies[:, side]].float() for side in (0, 1))
    apart = (copies - sources).abs().mean((1, 2, 3))
    assert float(apart.min()) > 0
    jpeg = apart[1::2]
    assert float(jpeg.max()) < 30
    moved = copies[0, :, 1:] - sources[0, :, :-1]  # the first one a row down
    assert int(moved.abs().max()) == 0
    assert int((train.targets == 2).sum()) < 0.1 * len(train)
    assert made.data.fingerprint != data.fingerprint


def test_noise_changes_that_share_of_the_labels_and_no_image(data):
    noisy = with_noise(data, 0.2)
    changed = noisy.train.targets != data.train.targets
    assert int(changed.sum()) == round(0.2 * len(data.train))
    assert torch.equal(noisy.train.images, data.train.images)
    assert torch.equal(noisy.validation.targets, data.validation.targets)


def test_the_area_under_the_curve_is_the_chance_to_rank_right():
    score = torch.tensor([3.0, 1.0, 2.0, 2.0, 5.0, 0.0])
    planted = torch.tensor([0, 2])
    rest = [1, 3, 4, 5]
    pairs = [(float(score[at]), float(score[other])) for at in planted.tolist() for other in rest]
    wanted = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert auc(score, planted) == pytest.approx(wanted)


def test_precision_recall_and_false_alarms():
    told = found([1, 2, 3], [2, 3, 4, 5], 14)
    assert told["precision"] == pytest.approx(2 / 3)
    assert told["recall"] == 0.5
    assert told["false alarms"] == pytest.approx(1 / 10)


def test_images_of_stretches_count_once():
    stretches = [
        {"split": "test", "first": 0, "last": 4},
        {"split": "test", "first": 3, "last": 6},
        {"split": "train", "first": 0, "last": 50},
    ]
    assert held(stretches, "test") == 7


def test_boxes_without_area_are_added_to_the_training_table_alone(tmp_path):
    rows = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [1]} for _ in range(3)]
    for split in ("train", "test"):
        table_ = pa.table({"image": [b"", b"", b""], "objects": rows})
        parquet.write_table(table_, tmp_path / f"{split}-0.parquet")
    (tmp_path / "out").mkdir()
    planted_in(tmp_path, tmp_path / "out")
    made = {
        split: parquet.read_table(tmp_path / "out" / f"{split}-0.parquet").column("objects").to_pylist()
        for split in ("train", "test")
    }
    assert made["test"] == rows
    assert [len(row["bbox"]) for row in made["train"]] == [2, 2, 1]
    assert made["train"][0] == {"bbox": [[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 0.0, 0.0]], "category": [1, 1]}


def test_a_row_names_a_method_and_its_options():
    assert parsed("el2n keep=window start_at=0.25") == ("el2n", {"keep": "window", "start_at": 0.25})
    assert parsed("dm preset=quick factor=1") == ("dm", {"preset": "quick", "factor": 1})


def test_only_what_is_above_random_for_sure_is_bold():
    def row(name, values):
        sets = [{"accuracies": [value], "seconds": 1.0, "images": 10, "steps": 5} for value in values]
        return {"row": name, "sets": sets}

    shown = table(
        "ipc=1", [row("random", [0.5, 0.51, 0.49]), row("good", [0.7, 0.71, 0.69]), row("bad", [0.3] * 3)]
    )
    lines = shown.splitlines()
    assert [line.split("`")[1] for line in lines if "`" in line] == ["good", "random", "bad"]
    assert [line.count("**") for line in lines if "`" in line] == [2, 0, 0]
