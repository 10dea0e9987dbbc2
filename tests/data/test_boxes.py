"""Images with boxes: tables and COCO's JSON are read; what is wrong is refused by split, image and box."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from pydistill.cli import main
from pydistill.data import RealData, load_data
from pydistill.data.sources.letterbox import Letterbox
from pydistill.errors import DataError
from pydistill.tasks import Detection

Box = list[float]
pytestmark = pytest.mark.usefixtures("offline")
NAN = float("nan")


def photo(seed: int, size: tuple[int, int] = (12, 16)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def objects(seed: int, count: int | None = None) -> tuple[list[Box], list[int]]:
    """Boxes within 16 x 12 pixels, on quarters of a pixel, and their classes."""
    drawn = np.random.default_rng(500 + seed)
    count = 1 + seed % 3 if count is None else count
    corners = drawn.integers(0, 20, (count, 2)) / 4
    sides = drawn.integers(8, 24, (count, 2)) / 4
    boxes = np.concatenate([corners, sides], 1).tolist()
    return boxes, [int(at) % 2 for at in drawn.integers(0, 9, count)]


CATEGORY = datasets.List(datasets.ClassLabel(names=["red", "white"]))
BOXES = datasets.List(datasets.List(datasets.Value("float32"), 4))


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [dict(zip(("bbox", "category"), objects(first + at), strict=True)) for at in range(count)]


def table(
    found: list[Any], first: int = 0, category: Any = CATEGORY, sizes: list[tuple[int, int]] | None = None
) -> datasets.Dataset:
    """A table as the hub has it, of these objects."""
    sizes = sizes or [(12, 16)] * len(found)
    return datasets.Dataset.from_dict(
        {"image": [photo(first + at, size) for at, size in enumerate(sizes)], "objects": found},
        features=datasets.Features(
            {"image": datasets.Image(), "objects": {"bbox": BOXES, "category": category}}
        ),
    )


def whole(train: list[Any], **more: Any) -> dict[str, datasets.Dataset]:
    """The given training objects beside plain validation and test splits."""
    return {"train": table(train, **more), "val": table(rows(3, 50), 50), "test": table(rows(4, 60), 60)}


def told(data: RealData, *pieces: str) -> bool:
    return any(all(piece in note for piece in pieces) for note in data.notes)


def real(targets: torch.Tensor) -> list[list[float]]:
    """The rows of one image that are no padding."""
    return targets[targets[:, 0] >= 0].tolist()


def test_a_table_with_a_column_of_objects(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    for split, found in whole(rows(8)).items():
        found.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    data = load_data(folder)
    assert isinstance(data.task, Detection)
    assert data.task.class_names == ("red", "white")
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 3, 4)
    assert data.train.targets.dtype == torch.float32
    assert data.train.targets.shape == (8, 3, 5)
    assert data.test.targets.shape == (4, 3, 5)
    boxes, classes = objects(61)
    expected = [[kind, *box] for kind, box in zip(classes, boxes, strict=True)]
    assert real(data.test.targets[1]) == expected
    assert bool((data.test.targets[1][len(expected) :, 0] == -1).all())
    assert told(data, "task: detection, by the boxes in column 'objects' of the images in column 'image'")
    every = [each for at in range(8) for each in objects(at)[1]]
    holding = sum(0 in objects(at)[1] for at in range(8))
    assert told(
        data, f"training objects (training images that hold them): 'red' {every.count(0)} ({holding})"
    )
    assert told(data, f"1 to 3 objects a training image, {len(every) / 8:.1f} on average")
    assert told(data, "mirrored images have mirrored boxes")
    assert not told(data, "training images each")


def test_objects_in_other_forms_are_the_same() -> None:
    plain = load_data(whole(rows(8)))
    listed = [
        [{"box": box, "label": kind} for box, kind in zip(*objects(at), strict=True)] for at in range(8)
    ]
    kind = datasets.List({"box": BOXES.feature, "label": CATEGORY.feature})
    features = datasets.Features({"image": datasets.Image(), "things": kind})
    images = [photo(at) for at in range(8)]
    apart = datasets.Features({"image": datasets.Image(), "bboxes": BOXES, "labels": CATEGORY})
    boxes, labels = zip(*(objects(at) for at in range(8)), strict=True)
    for train in (
        datasets.Dataset.from_dict({"image": images, "things": listed}, features=features),
        datasets.Dataset.from_dict(
            {"image": images, "bboxes": list(boxes), "labels": list(labels)}, features=apart
        ),
    ):
        data = load_data(train, test=0.4)
        assert isinstance(data.task, Detection)
        found = {
            each.numpy().tobytes()
            for part in (data.train, data.validation, data.test)
            for each in part.targets
        }
        assert found == {each.numpy().tobytes() for each in plain.train.targets}


@pytest.mark.parametrize(
    ("kind", "labels", "options", "names", "classes"),
    [
        ("int64", [3, 9], {}, ("class 3", "class 9"), [0, 1]),
        ("string", ["wbc", "rbc"], {}, ("rbc", "wbc"), [1, 0]),
        (
            "string",
            ["wbc", "rbc"],
            {"class_names": ("wbc", "rbc", "other")},
            ("wbc", "rbc", "other"),
            [0, 1],
        ),
        ("int64", [1, 2], {"class_names": ("a", "b")}, ("a", "b"), [0, 1]),
        ("int64", [0, 2], {"class_names": ("a", "b", "c")}, ("a", "b", "c"), [0, 2]),
    ],
)
def test_categories_of_any_kind(
    kind: str, labels: list[Any], options: dict[str, Any], names: tuple[str, ...], classes: list[int]
) -> None:
    one = {"bbox": [[1, 2, 3, 4], [5, 6, 2, 2]], "category": labels}
    found = table([one] * 6, category=datasets.List(datasets.Value(kind)))
    data = load_data(found, **options)
    assert data.task.class_names == names
    assert data.train.targets[0, :, 0].tolist() == classes


def test_splits_that_number_their_classes_differently_agree_by_name() -> None:
    other = datasets.List(datasets.ClassLabel(names=["white", "red"]))
    test = table([{"bbox": [[1, 1, 2, 2]], "category": [0]}] * 2, 90, category=other)
    data = load_data({"train": table(rows(6)), "test": test})
    assert data.test.targets[:, 0, 0].tolist() == [1, 1]


def test_boxes_without_area_are_left_out_and_counted() -> None:
    train = rows(6)
    train[2] = {"bbox": [[3, 3, 0, 4], [1, 1, 2, 2], [5, 5, 0, 0]], "category": [0, 1, 0]}
    data = load_data(whole(train))
    assert real(data.train.targets[2]) == [[1, 1, 1, 2, 2]]
    assert told(data, "2 boxes have no area and are left out, the first datasets, train, row 2, box 0")
    train[2] = {"bbox": [[3, 3, 0, 4]], "category": [0]}
    data = load_data(whole(train))
    assert real(data.train.targets[2]) == []
    assert told(data, "1 box has no area and is left out, the first datasets, train, row 2, box 0")


def test_an_image_without_objects_is_allowed() -> None:
    train = rows(6)
    train[1], train[4] = {"bbox": [], "category": []}, None
    data = load_data(whole(train))
    assert len(data.train) == 6
    assert real(data.train.targets[1]) == real(data.train.targets[4]) == []
    assert told(data, "0 to 3 objects a training image", "2 training images hold none")


def test_a_split_without_objects_is_left_out_or_refused() -> None:
    empty = table([{"bbox": [], "category": []}] * 3, 70)
    data = load_data({"train": table(rows(10)), "test": empty})
    assert told(data, "the test split of the source has no objects: it is left out")
    data = load_data({"train": table(rows(10)), "test": empty.remove_columns("objects")})
    assert told(data, "the test split of the source has no objects: it is left out")
    with pytest.raises(
        DataError, match=r"datasets, train, row 0 and all others of the train split are without"
    ):
        load_data({"train": empty})


def test_a_class_without_objects_is_told() -> None:
    named = datasets.List(datasets.ClassLabel(names=["red", "white", "blue"]))
    data = load_data({split: table(rows(5, at), at, named) for at, split in ((0, "train"), (50, "test"))})
    assert data.task.outputs == Detection(("red", "white", "blue")).outputs
    assert told(data, "1 of 3 classes have no object in the training images", "'blue'")


WRONG = {
    "NaN": ([NAN, 1, 2, 2], 0, "is not finite: x, y, width and height are nan, 1, 2, 2"),
    "outside": ([14, 1, 4, 2], 0, r"leaves its image of 16 x 12 pixels \(width x height\): .* 14, 1, 4, 2"),
    "below": ([1, 9, 4, 5], 0, "leaves its image"),
    "before": ([-2, 1, 4, 5], 0, "leaves its image"),
    "corners": ([9, 8, 4, -2], 0, "has a negative side"),
    "category": ([1, 1, 2, 2], 7, "is of an unknown category 7"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("split", ["train", "test"])
def test_wrong_boxes_are_refused_by_split_image_and_box(name: str, split: str) -> None:
    box, kind, message = WRONG[name]
    found = rows(5)
    found[3] = {"bbox": [[1, 1, 2, 2], box], "category": [1, kind]}
    category = datasets.List(datasets.Value("int64"))
    sets = {"train": table(rows(5), category=category), "test": table(rows(5), 90, category)}
    sets[split] = table(found, category=category)
    options = {} if name != "category" else {"class_names": ("red", "white")}
    with pytest.raises(DataError, match=rf"{split}, row 3, box 1 {message}"):
        load_data(sets, **options)


def test_numbers_of_boxes_that_are_no_boxes_are_refused() -> None:
    loose = datasets.List(datasets.List(datasets.Value("float32")))
    made = datasets.Dataset.from_dict(
        {"image": [photo(0)], "bbox": [[[1, 2, 3]]], "category": [[0]]},
        features=datasets.Features({"image": datasets.Image(), "bbox": loose, "category": CATEGORY}),
    )
    with pytest.raises(
        DataError, match=r"train, row 0, box 0: expected x, y, width and height in pixels, found"
    ):
        load_data(made)
    made = datasets.Dataset.from_dict(
        {"image": [photo(0)], "bbox": [[[1, 2, 3, 4]]], "category": [[0, 1]]}, features=made.features
    )
    with pytest.raises(DataError, match="train, row 0: 1 boxes but 2 categories"):
        load_data(made)
    shares = [{"bbox": [[0.1, 0.2, 0.5, 0.5]], "category": [0]}] * 6
    with pytest.raises(DataError, match=r"lie within \[0, 1\], as shares of their images' sides"):
        load_data(table(shares))


def test_boxes_that_leave_by_rounding_are_cut_and_told() -> None:
    train = rows(6)
    train[0] = {"bbox": [[-0.5, 0, 4, 4], [12, 8, 5, 4], [1, 1, 2, 2]], "category": [0, 1, 1]}
    data = load_data(whole(train))
    assert real(data.train.targets[0]) == [[0, 0, 0, 3.5, 4], [1, 12, 8, 4, 4], [1, 1, 1, 2, 2]]
    assert told(data, "2 boxes leave their images by a pixel or less: they are cut")


def test_images_and_boxes_are_letter_boxed_alike() -> None:
    sizes = [(12, 16), (16, 12), (8, 8), (24, 32), (12, 16), (12, 16)]
    found = [{"bbox": [[2, 4, 4, 2]], "category": [0]}] * 6
    source = whole(found, sizes=sizes)
    with pytest.raises(DataError, match=r"row 1 is 16x12x3|row 1 is 16x12"):
        load_data(source)
    data = load_data(source, size=(16, 16))
    assert data.shape == (3, 16, 16)
    assert data.train.targets[:, 0, 1:].tolist()[:4] == [
        [2, 6, 4, 2], [4, 4, 4, 2], [4, 8, 8, 4], [1, 4, 2, 1]
    ]  # fmt: skip
    assert not bool(data.train.images[0, :, :2].any())
    assert not bool(data.train.images[1, :, :, :2].any())


def test_a_box_moves_as_the_pixels_it_holds() -> None:
    box = Letterbox((40, 30), (64, 64))
    image = torch.zeros(1, 1, 40, 30)
    image[..., 10:30, 5:25] = 1
    x, y, wide, high = box.boxes(np.array([[5.0, 10.0, 20.0, 20.0]]))[0]
    moved = box.images(image)[0, 0]
    inner = moved[round(y) + 1 : round(y + high) - 1, round(x) + 1 : round(x + wide) - 1]
    assert float(inner.min()) > 0.9
    assert float(moved.sum()) == pytest.approx(wide * high, rel=0.02)


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write images and, beside them or elsewhere, a file that describes their objects."""

    def make(
        file: str, images: str, first: int = 0, count: int = 4, change: Callable[[Any], None] | None = None
    ) -> dict[str, Any]:
        (tmp_path / images).mkdir(parents=True, exist_ok=True)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        made: dict[str, Any] = {
            "info": {"description": "blood"},
            "images": [],
            "annotations": [],
            "categories": [{"id": 7, "name": "white"}, {"id": 3, "name": "red"}],
        }
        for at in range(first, first + count):
            photo(at).save(tmp_path / images / f"{at}.png")
            made["images"].append({"id": at, "file_name": f"{at}.png", "width": 16, "height": 12})
            for box, kind in zip(*objects(at), strict=True):
                made["annotations"].append(
                    {
                        "id": len(made["annotations"]),
                        "image_id": at,
                        "category_id": (3, 7)[kind],
                        "bbox": box,
                    }
                )
        if change is not None:
            change(made)
        (tmp_path / file).write_text(json.dumps(made))
        return made

    return make


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("annotations/instances_{split}2017.json", "{split}2017"),
        ("{split}/_annotations.coco.json", "{split}"),
        ("{split}.json", "images"),
        ("annotations/{split}.json", "images/{split}"),
        ("data/{split}/labels.json", "data/{split}/data"),
        ("archive/{split}.json", "archive/{split}"),
    ],
)
def test_json_as_coco_has_it(tmp_path: Path, coco: Callable[..., Any], file: str, images: str) -> None:
    for at, split in enumerate(("train", "val", "test")):
        coco(file.format(split=split), images.format(split=split), 10 * at, 4 + at)
    data = load_data(tmp_path)
    assert isinstance(data.task, Detection)
    assert data.task.class_names == ("red", "white")
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 5, 6)
    boxes, classes = objects(21)
    assert real(data.test.targets[1]) == [[kind, *box] for kind, box in zip(classes, boxes, strict=True)]
    assert np.array_equal(data.test.images[1].numpy(), np.asarray(photo(21)).transpose(2, 0, 1))
    assert told(data, "task: detection, by boxes in JSON as COCO has them")
    name = file.format(split="train").removeprefix("data/").removeprefix("archive/")
    assert told(data, f"train 4 (file '{name}')") or told(data, f"train 4 (file 'data/{name}')")


def test_one_file_of_coco_is_split(tmp_path: Path, coco: Callable[..., Any]) -> None:
    coco("annotations/all.json", "images", count=12)
    (tmp_path / "annotations" / "captions_all.json").write_text(
        json.dumps({"images": [], "annotations": [], "categories": []})
    )
    for source in (tmp_path, tmp_path / "annotations" / "all.json"):
        if source.is_file():
            (tmp_path / "annotations" / "images").symlink_to(tmp_path / "images")
            with pytest.raises(DataError, match=r"leads out of|images are missing"):
                load_data(source)
            continue
        data = load_data(source)
        assert len(data.train) + len(data.validation) + len(data.test) == 12
        assert told(data, "files of other annotations are not read: ['annotations/captions_all.json']")


def test_crowds_are_left_out_and_told(tmp_path: Path, coco: Callable[..., Any]) -> None:
    def spoil(made: Any) -> None:
        made["annotations"][0]["iscrowd"] = 1
        made["annotations"].append({"image_id": 2, "category_id": 3, "bbox": [0, 0, 0, 3]})

    coco("train.json", "images", 0, 6, spoil)
    coco("val.json", "images", 10)
    coco("test.json", "images", 20)
    data = load_data(tmp_path)
    assert len(real(data.train.targets[0])) == len(objects(0)[0]) - 1
    assert told(data, "1 boxes of crowds (iscrowd) are left out")
    assert told(data, "1 box has no area and is left out", "image '2.png', box 3")


def put(part: str, at: int, key: str, value: Any) -> Callable[[Any], None]:
    return lambda made: made[part][at].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("annotations", 0, "category_id", 5),
            r"\(train split\), image '0\.png', box 0 is of an unknown",
        ),
        (
            put("annotations", 0, "bbox", [0, 0, 40, 4]),
            r"image '0\.png', box 0 leaves its image of 16 x 12",
        ),
        (put("annotations", 0, "bbox", [0, NAN, 4, 4]), r"image '0\.png', box 0 is not finite"),
        (put("annotations", 0, "bbox", None), r"image '0\.png', box 0: expected x, y, width and height"),
        (put("annotations", 0, "image_id", 99), r"annotations\[0\] is of image 99, which is not among"),
        (put("annotations", 0, "image_id", []), r"annotations\[0\] has no image_id"),
        (put("images", 1, "file_name", "gone.png"), r"1 of 4 images are missing, the first 'gone\.png'"),
        (
            put("images", 1, "width", 20),
            r"image '1\.png': the image is 12 x 16 .* but the file says 12 x 20",
        ),
        (put("images", 1, "id", 0), "two images have the same id"),
        (put("categories", 1, "name", "white"), "two categories have the same name"),
        (put("categories", 1, "id", 7), "expected different whole numbers as ids of categories"),
    ],
)
def test_what_is_wrong_in_coco_json_is_named(
    tmp_path: Path, coco: Callable[..., Any], change: Callable[[Any], None], message: str
) -> None:
    coco("train.json", "images", change=change)
    coco("test.json", "images", 10)
    with pytest.raises(DataError, match=message):
        load_data(tmp_path)


def test_damaged_json_is_named(tmp_path: Path, coco: Callable[..., Any]) -> None:
    coco("train.json", "images")
    text = (tmp_path / "train.json").read_text()
    (tmp_path / "train.json").write_text(text[:-2])
    with pytest.raises(DataError, match=r"train\.json cannot be read as JSON"):
        load_data(tmp_path)
    for files in (("train.json", "training.json"), ("one.json", "two.json")):
        for path in tmp_path.glob("*.json"):
            path.unlink()
        for file in files:
            (tmp_path / file).write_text(text)
        with pytest.raises(
            DataError, match=r"both stand for the train split|named after the training split"
        ):
            load_data(tmp_path)


@pytest.mark.parametrize(
    ("images", "others", "name", "text", "kind"),
    [
        ("images/train", "labels/train", "0.txt", "0 0.5 0.5 0.25 0.125\n", "YOLO"),
        ("train/images", "train/labels", "0.txt", "3 0.5 0.5 0.25 1\n", "YOLO"),
        ("JPEGImages", "Annotations", "0.xml", "<annotation><object/></annotation>", "Pascal VOC"),
    ],
)
def test_boxes_in_a_file_an_image_are_refused_with_what_to_do(
    tmp_path: Path, images: str, others: str, name: str, text: str, kind: str
) -> None:
    for folder in (images, others):
        (tmp_path / folder).mkdir(parents=True)
    photo(0).save(tmp_path / images / "0.jpg")
    (tmp_path / others / name).write_text(text)
    with pytest.raises(DataError, match=rf"as {kind} has them .*convert them to COCO's JSON"):
        load_data(tmp_path)


def test_the_real_blood_cells(real_data_folder: Path, tmp_path: Path) -> None:
    folder = real_data_folder / "bccd"
    if not folder.is_dir():
        pytest.skip("the data set is not here")
    data = load_data(folder, cache=tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (205, 87, 72)
    assert data.shape == (3, 120, 160)
    assert data.task.class_names == ("RBC", "WBC", "Platelets")
    assert told(data, "'RBC' 2,381 (197), 'WBC' 214 (204), 'Platelets' 209 (117)")
    assert told(data, "1 to 28 objects a training image, 13.7 on average")
    assert data.horizontal_flip


@pytest.mark.parametrize(
    ("box", "kind", "code", "said"),
    [
        ([3, 3, 0, 4], 0, 0, "1 box has no area and is left out"),
        (None, 0, 0, "1 training images hold none"),
        ([14, 1, 4, 2], 0, 3, r"train, row 2, box 0 leaves its image of 16 x 12 pixels"),
        ([1, NAN, 4, 2], 0, 3, r"train, row 2, box 0 is not finite"),
        ([1, 1, 4, 2], 5, 3, r"train, row 2, box 0 is of an unknown category 5"),
    ],
)
def test_exit_codes_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], box: Box | None, kind: int, code: int, said: str
) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    train = rows(6)
    train[2] = {"bbox": [] if box is None else [box], "category": [] if box is None else [kind]}
    plain = datasets.List(datasets.Value("int64"))
    for split, first, found in (("train", 0, train), ("val", 50, rows(3, 50)), ("test", 60, rows(3, 60))):
        table(found, first, plain).to_parquet(folder / f"{split}.parquet")
    options = ["--method", "random", "--images", "2", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(["distill", str(folder), "--class-names", "red,white", *options]) == code
    assert re.search(said, capsys.readouterr().err) is not None
