"""Images in no class folders, with a table of their labels beside them."""

from pathlib import Path

import numpy as np
import pytest

from pydistill.data import load_data
from pydistill.errors import DataError
from tests.data.conftest import Fill, counts


def test_tiny_imagenet_as_unzipped(tmp_path: Path, unlike: Fill) -> None:
    unlike("train/n01443537/images", "train/n01629819/images", ending=".JPEG")
    unlike("val/images", "test/images", each=4, ending=".JPEG")
    (tmp_path / "wnids.txt").write_text("n01629819\nn01443537\n")
    (tmp_path / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\n")
    for name in ("n01443537", "n01629819"):
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("0.JPEG\t0\t10\t63\t58\n")
    names = ("n01629819", "n01443537", "n01443537", "n01629819")
    rows = [f"{at}.JPEG\t{name}\t0\t32\t44\t62" for at, name in enumerate(names)]
    (tmp_path / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    data = load_data(tmp_path)
    assert data.task.class_names == ("n01443537", "n01629819")
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 2, 4)
    assert data.test.targets.tolist() == [1, 0, 0, 1]
    notes = " ".join(data.notes)
    assert "has no labels: it is left out" in notes
    assert "it serves as the test split" in notes


def test_traffic_signs_with_a_table_of_the_test_images(tmp_path: Path, unlike: Fill) -> None:
    unlike("Train/0", "Train/1", "Train/10", "Test", "Meta")
    (tmp_path / "Test.csv").write_text(
        "Width,Height,ClassId,Path\n" + "".join(f"4,4,{at % 2 * 10},Test/{at}.png\n" for at in range(6))
    )
    (tmp_path / "Train.csv").write_text("Width,Height,ClassId,Path\n4,4,0,Train/0/0.png\n")
    (tmp_path / "Meta.csv").write_text("Path,ClassId,ShapeId\nMeta/0.png,0,1\n")
    data = load_data(tmp_path)
    assert data.task.class_names == ("0", "1", "10")
    assert counts(data) == (18, 6)
    assert data.test.targets.tolist() == [0, 2] * 3
    assert any("beside the splits are left out: ['Meta']" in note for note in data.notes)


@pytest.mark.parametrize(
    ("images", "table", "text"),
    [
        ("train", "train/metadata.csv", "file_name,label\n{}.png,{}\n"),
        ("images", "metadata.csv", "file_name,label\nimages/{}.png,{}\n"),
        ("images", "metadata.csv", "file_name,label\n{}.png,{}\n"),
        (".", "labels.csv", "id,breed\n{},{}\n"),
        (".", "labels.tsv", "filename\tclass\n{}.png\t{}\n"),
        ("train", "trainLabels.csv", "id,label\n{},{}\n"),
        ("images", "list.txt", "{}.png {}\n"),
        ("images", "metadata.jsonl", '{{"file_name": "{}.png", "label": "{}"}}\n'),
        ("My Images", "my labels.csv", "Image Name;Label\n{}.png;{}\n"),
        ("data/pics", "data/index.csv", "Unnamed,image_path,species,age\n7,pics/{}.png,{},3\n"),
    ],
)
def test_flat_images_with_a_table_of_labels(
    tmp_path: Path, unlike: Fill, images: str, table: str, text: str
) -> None:
    unlike(images, each=12)
    head, *row = text.splitlines(keepends=True)
    line = row[0] if row else head
    names = ("cat", "dog")
    content = (head if row else "") + "".join(line.format(at, names[at % 2]) for at in range(12))
    (tmp_path / table).write_text(content)
    data = load_data(tmp_path)
    assert data.task.class_names == names
    assert sum(counts(data)) == 12
    assert any("labels column" in note for note in data.notes)


def test_a_table_with_splits(tmp_path: Path, unlike: Fill) -> None:
    unlike("images", each=12)
    parts = ["train"] * 8 + ["test"] * 4
    rows = [f"{at}.png,{'ab'[at % 2]},{part}\n" for at, part in enumerate(parts)]
    (tmp_path / "metadata.csv").write_text("file_name,label,split\n" + "".join(rows))
    data = load_data(tmp_path)
    assert counts(data) == (8, 4)
    assert data.test.targets.tolist() == [0, 1, 0, 1]


def test_a_table_whose_files_are_missing_is_refused(tmp_path: Path, unlike: Fill) -> None:
    unlike("images", each=4)
    (tmp_path / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n9.png,a\n")
    with pytest.raises(DataError, match=r"1 of 3 files are missing, the first '9\.png'"):
        load_data(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\n0.png,a\n1.png,b\n2.png,b\n3.png,\n")
    with pytest.raises(DataError, match="row 3 has no label"):
        load_data(tmp_path)
    (tmp_path / "labels.csv").write_text("file,colour,shape\n0.png,a,b\n1.png,b,b\n")
    with pytest.raises(DataError, match=r"give target_column.*'colour', 'shape'"):
        load_data(tmp_path)


def test_one_heap_of_images_with_a_table_a_split(tmp_path: Path, unlike: Fill) -> None:
    unlike("images", each=18)
    for name, rows in (("train", range(10)), ("valid", range(10, 14)), ("test", range(14, 18))):
        text = "".join(f"{at},{'ab'[at % 2]}\n" for at in rows)
        (tmp_path / f"{name}.csv").write_text("id,label\n" + text)
    data = load_data(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 4, 4)


def test_test_images_whose_table_has_no_labels_are_left_out(tmp_path: Path, unlike: Fill) -> None:
    unlike("train", "test", each=10)
    (tmp_path / "train.csv").write_text(
        "id,label\n" + "".join(f"{at},{'ab'[at % 2]}\n" for at in range(10))
    )
    (tmp_path / "test.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(10)))
    data = load_data(tmp_path)
    assert sum(counts(data)) == 10
    assert any("the test split of the source has no labels" in note for note in data.notes)


def test_tables_beside_class_folders_are_told(tmp_path: Path, unlike: Fill) -> None:
    unlike("x", "y")
    (tmp_path / "sizes.csv").write_text("a,b\n1,2\n")
    assert any("tables that are not read: 'sizes.csv'" in note for note in load_data(tmp_path).notes)


def test_folders_around_sets_of_other_kinds(tmp_path: Path) -> None:
    arrays = {"images": np.arange(20 * 16, dtype=np.uint8).reshape(20, 4, 4), "labels": np.arange(20) % 2}
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    np.savez(tmp_path / "MNIST" / "raw" / "set.npz", **arrays)
    data = load_data(tmp_path / "MNIST")
    assert data.name == "MNIST"
    assert not data.horizontal_flip
    assert any("read from 'raw/set.npz' in it" in note for note in data.notes)
    np.savez(tmp_path / "MNIST" / "raw" / "other.npz", **arrays)
    with pytest.raises(DataError, match=r"raw holds several data sets, \['other\.npz', 'set\.npz'\]: give"):
        load_data(tmp_path / "MNIST")


def test_a_table_of_the_training_images_does_not_label_test_images_of_equal_names(
    tmp_path: Path, unlike: Fill
) -> None:
    unlike("train", each=12)
    unlike("test", each=4)
    (tmp_path / "labels.csv").write_text(
        "id,breed\n" + "".join(f"{at},{'ab'[at % 2]}\n" for at in range(12))
    )
    data = load_data(tmp_path)
    assert sum(counts(data)) == 12
    assert any("the test split, folder 'test', has no labels" in note for note in data.notes)


def test_a_table_of_several_splits_by_paths(tmp_path: Path, unlike: Fill) -> None:
    unlike("train", each=12)
    unlike("test", each=4)
    rows = [
        f"{split}/{at}.png,{'ab'[at % 2]}\n"
        for split, count in (("train", 12), ("test", 4))
        for at in range(count)
    ]
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(rows))
    assert counts(load_data(tmp_path)) == (12, 4)


def test_a_table_that_contradicts_the_folders_is_refused_unless_asked_for(
    tmp_path: Path, unlike: Fill
) -> None:
    unlike("HAM_part_1", "HAM_part_2")
    table = tmp_path / "HAM_metadata.csv"
    rows = [f"HAM_part_{part}/{at},{('nv', 'mel')[at % 2]},50\n" for part in (1, 2) for at in range(6)]
    table.write_text("image_id,dx,age\n" + "".join(rows))
    with pytest.raises(DataError, match=r"gives labels \(column 'dx'\) that are not those of the folders"):
        load_data(tmp_path)
    data = load_data(tmp_path, target_column="dx")
    assert data.task.class_names == ("mel", "nv")
    assert sum(counts(data)) == 12
    rows = [f"HAM_part_{part}/{at},{part},50\n" for part in (1, 2) for at in range(6)]
    table.write_text("image_id,dx,age\n" + "".join(rows))
    assert load_data(tmp_path).task.class_names == ("HAM_part_1", "HAM_part_2")


@pytest.mark.parametrize("prefix", ["", "images/"])
def test_tables_beside_a_folder_of_images_in_each_split(tmp_path: Path, unlike: Fill, prefix: str) -> None:
    for split, count in (("train", 12), ("test", 4)):
        unlike(f"{split}/images", each=count)
        rows = [f"{prefix}{at}.png,{'ab'[at % 2]}\n" for at in range(count)]
        (tmp_path / split / "metadata.csv").write_text("file_name,label\n" + "".join(rows))
    assert counts(load_data(tmp_path)) == (12, 4)
