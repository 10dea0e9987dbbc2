"""Images with masks: tables, folders of pairs and arrays are read as they are meant, or refused by name."""

import io
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
from pydistill.tasks import Segmentation

Shape = tuple[int, int]
pytestmark = pytest.mark.usefixtures("offline")


def photo(seed: int, size: Shape = (6, 8)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def values(seed: int, size: Shape = (6, 8), among: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """A mask that holds each of ``among``."""
    drawn = np.random.default_rng(1000 + seed).choice(among, size)
    drawn.flat[: len(among)] = among
    return drawn.astype(np.uint8)


def png(array: np.ndarray, palette: bool = False) -> Image.Image:
    made = Image.fromarray(array)
    if palette:
        made = made.convert("P")
        made.putdata(array.ravel().tolist())
        made.putpalette([channel for at in range(256) for channel in (at, 255 - at, 7)])
    return made


def table(
    count: int = 12,
    first: int = 0,
    mask: str = "annotation",
    among: tuple[int, ...] = (0, 1, 2),
    **more: Any,
) -> datasets.Dataset:
    """Pictures and masks as the hub has them; ``more`` are columns with their types."""
    columns: dict[str, Any] = {
        "image": [photo(first + at) for at in range(count)],
        mask: [png(values(first + at, among=among)) for at in range(count)],
    }
    features: dict[str, Any] = {"image": datasets.Image(), mask: datasets.Image()}
    for name, (column, kind) in more.items():
        columns[name], features[name] = column, kind
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., None]:
    """Write images and masks of the same names into two folders."""

    def make(
        images: str, masks: str, count: int = 5, first: int = 0, *, ending: str = "", palette: bool = False,
        among: tuple[int, ...] = (0, 1, 2), size: Shape = (6, 8),
    ) -> None:  # fmt: skip
        for folder in (images, masks):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for at in range(first, first + count):
            photo(at, size).save(tmp_path / images / f"{at}.jpg", quality=95)
            png(values(at, size, among), palette).save(tmp_path / masks / f"{at}{ending}.png")

    return make


def parts(data: RealData) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def told(data: RealData, *pieces: str) -> bool:
    """Whether one note holds all of these."""
    return any(all(piece in note for piece in pieces) for note in data.notes)


def test_a_table_with_a_column_of_masks(tmp_path: Path) -> None:
    folder = tmp_path / "street"
    folder.mkdir()
    table().to_parquet(folder / "train.parquet")
    table(4, 100).to_parquet(folder / "val.parquet")
    table(6, 200).to_parquet(folder / "test.parquet")
    data = load_data(folder)
    assert isinstance(data.task, Segmentation)
    assert parts(data) == (12, 4, 6)
    assert data.task.class_names == ("class 0", "class 1", "class 2")
    assert data.train.targets.dtype == torch.uint8
    assert np.array_equal(data.test.targets[1].numpy(), values(201))
    assert np.array_equal(data.test.images[1].numpy(), np.asarray(photo(201)).transpose(2, 0, 1))
    assert told(data, "task: segmentation", "'annotation'", "'image'")
    assert told(data, "all mask values, [0, 1, 2], are classes and none is void")
    assert data.horizontal_flip
    assert told(data, "mirrored images have mirrored masks")
    assert data.augment == "color_crop_flip_scale_rotate"


def test_shares_of_pixels_and_of_void_are_told() -> None:
    train = table(4, among=(0, 1, 255))
    data = load_data({"train": train, "val": table(2, 50), "test": table(2, 60)})
    masks = data.train.targets
    labelled = masks[masks != 255]
    share = 100 * float((labelled == 1).float().mean())
    assert told(data, "shares of the training pixels that have a class", f"'class 1' {share:.1f} % (4)")
    assert told(data, f"{100 * float((masks == 255).float().mean()):.1f} % of all training pixels are void")
    assert told(data, "1 of 3 classes have no pixel in the training images", "'class 2'")
    assert told(data, "mask value 255 (as most masks have it)")
    assert not told(data, "training images each")


def test_splits_without_masks_are_left_out() -> None:
    blank = table(3, 90).remove_columns("annotation")
    none = datasets.Dataset.from_dict(
        {"image": [photo(at) for at in range(3)], "annotation": [None] * 3}, features=table(1).features
    )
    for test in (blank, none):
        data = load_data({"train": table(), "test": test})
        assert sum(parts(data)) == 12
        assert told(data, "the test split of the source has no masks: it is left out")
    with pytest.raises(DataError, match="train: no image has a mask"):
        load_data({"train": none})


@pytest.mark.parametrize("name", ["mask", "label", "labels", "segmentation_mask", "semantic_segmentation"])
def test_columns_that_are_called_as_masks_are(name: str) -> None:
    data = load_data(table(mask=name))
    assert isinstance(data.task, Segmentation)


def test_other_columns_of_masks_are_named_by_the_caller() -> None:
    with pytest.raises(DataError, match="give image_column"):
        load_data(table(mask="second"))
    data = load_data(table(mask="second"), target_column="second")
    assert torch.equal(data.test.targets, load_data(table()).test.targets)
    assert load_data(table(mask="image2"), image_column="image", target_column="image2").task.outputs == 3


def test_a_grid_of_integers_is_a_mask_and_may_name_its_classes() -> None:
    grids = [values(at).tolist() for at in range(12)]
    kinds = (
        datasets.Array2D((6, 8), "uint8"),
        datasets.List(datasets.List(datasets.Value("int32"))),
        datasets.List(datasets.List(datasets.ClassLabel(names=["sky", "road", "void"]))),
    )
    found = []
    for kind in kinds:
        plain = table(label_map=(grids, kind)).remove_columns("annotation")
        found.append(load_data(plain))
    assert torch.equal(found[0].train.targets, found[1].train.targets)
    assert found[2].task.class_names == ("sky", "road")
    assert told(found[2], "mask value 2 (called 'void')")
    assert torch.equal(found[2].train.targets == 255, found[0].train.targets == 2)


def labelled(**more: Any) -> datasets.Dataset:
    return table(12, **more, label=([at % 2 for at in range(12)], datasets.ClassLabel(names=["a", "b"])))


def test_the_task_is_chosen_and_told_where_a_table_serves_several() -> None:
    data = load_data(labelled())
    assert data.task.name == "classification"
    assert told(data, "read for classification", "task='segmentation' (column 'annotation')")
    asked = load_data(labelled(), task="segmentation")
    assert asked.task.name == "segmentation"
    assert not told(asked, "would be read otherwise")
    assert load_data(labelled(), target_column="annotation").task.name == "segmentation"
    scene = table(12, scene=([0, 1] * 6, datasets.ClassLabel(names=["in", "out"])))
    data = load_data(scene)
    assert data.task.name == "segmentation"
    assert told(data, "read for segmentation", "task='classification' (column 'scene')")
    assert load_data(scene, task="classification").task.class_names == ("in", "out")
    with pytest.raises(DataError, match="'annotation' is for segmentation, but task='classification'"):
        load_data(scene, task="classification", target_column="annotation")
    with pytest.raises(
        DataError, match=r"cannot be read for task='detection': it has no column of objects"
    ):
        load_data(scene, task="detection")


def test_tasks_that_a_source_cannot_serve_are_refused(pairs: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"(?s)'digits' cannot be read for task='segmentation'.*images and masks"
    ):
        load_data("digits", task="segmentation")
    with pytest.raises(ValueError, match=r"unknown task 'segmentatoin'; expected .* \(did you mean"):
        load_data("digits", task="segmentatoin")
    with pytest.raises(ValueError, match="void means nothing to"):
        load_data("digits", void=3)
    with pytest.raises(ValueError, match="void means nothing to classification"):
        load_data(labelled(), void=3)
    pairs("images", "masks")
    with pytest.raises(DataError, match="cannot be read for task='detection', only for segmentation"):
        load_data(tmp_path, task="detection")


@pytest.mark.parametrize(
    ("options", "names", "void"),
    [
        ({}, ("class 0", "class 1", "class 2", "class 3"), set()),
        ({"void": 3}, ("class 0", "class 1", "class 2"), {3}),
        ({"void": ["0", 3]}, ("class 1", "class 2"), {0, 3}),
        ({"void": "3", "class_names": ("a", "b", "c")}, ("a", "b", "c"), {3}),
        ({"void": 0, "class_names": ("a", "b", "c")}, ("a", "b", "c"), {0}),
        ({"class_names": ("a", "b", "c", "void")}, ("a", "b", "c"), {3}),
        ({"class_names": ("Un-labeled", "b", "c", "d")}, ("b", "c", "d"), {0}),
        ({"class_names": ("background", "b", "c", "d")}, ("background", "b", "c", "d"), set()),
        ({"class_names": ("a", "b", "c", "d"), "void": "b"}, ("a", "c", "d"), {1}),
        ({"class_names": ("a", "b", "c", "d", "e")}, ("a", "b", "c", "d", "e"), set()),
    ],
)
def test_what_is_void_and_what_classes_are_called(
    options: dict[str, Any], names: tuple[str, ...], void: set[int]
) -> None:
    among = (0, 1, 2, 3)
    source = {"train": table(4, among=among), "val": table(2, 40), "test": table(2, 50)}
    data = load_data(source, **options)
    assert data.task.class_names == names
    before = np.stack([values(at, among=among) for at in range(4)])
    after = data.train.targets.numpy()
    assert {int(value) for value in np.unique(before[after == 255])} == void
    kept = [value for value in among if value not in void]
    for at, value in enumerate(kept):
        assert np.array_equal(before == value, after == at)


def test_void_may_be_nothing_at_all() -> None:
    source = table(among=(0, 1, 255))
    assert load_data(source).task.class_names == ("class 0", "class 1")
    data = load_data(source, void="none")
    assert data.task.class_names == ("class 0", "class 1", "class 255")
    assert told(data, "no mask value is void, as asked for")
    with pytest.raises(ValueError, match="expected void as values of masks"):
        load_data(source, void=[1.5])  # type: ignore[list-item]
    with pytest.raises(DataError, match="void='sky' is no number, nor the name of a class"):
        load_data(source, void="sky")


def test_two_values_0_and_255_are_two_classes() -> None:
    data = load_data(table(among=(0, 255)))
    assert data.task.class_names == ("class 0", "class 255")
    assert int(data.train.targets.max()) == 1
    assert told(data, "masks hold 0 and 255 alone")
    assert load_data(table(among=(0, 255)), class_names=("no", "yes")).task.class_names == ("no", "yes")
    with pytest.raises(DataError, match="masks hold 1 classes beside void"):
        load_data(table(among=(7, 255)))


def test_values_with_gaps_are_classes_in_their_order() -> None:
    data = load_data(table(among=(0, 7, 200)))
    assert data.task.class_names == ("class 0", "class 7", "class 200")
    assert sorted(data.train.targets.unique().tolist()) == [0, 1, 2]
    assert told(data, "mask values [0, 7, 200] are classes 0 to 2 in that order")


def in_folder(folder: Path, among: tuple[int, ...]) -> Path:
    folder.mkdir(parents=True)
    for at, split in enumerate(("train", "val", "test")):
        table(4, 10 * at, among=among).to_parquet(folder / f"{split}.parquet")
    return folder


def test_camvid_by_name_has_names_and_void_and_says_that_they_are_guessed(tmp_path: Path) -> None:
    folder = in_folder(tmp_path / "CamVid-small", (0, 3, 11))
    data = load_data(folder)
    assert data.task.class_names[:4] == ("Sky", "Building", "Pole", "Road")
    assert len(data.task.class_names) == 11
    assert data.train.targets.unique().tolist() == [0, 3, 255]
    assert told(data, "mask value 11 (a guess, by the source's name: CamVid", "void= decides otherwise")
    assert told(data, "class names are a guess, by the source's name: CamVid")
    assert told(data, "9 of 11 classes have no pixel in the training images")
    whole = load_data(folder, void="none")
    assert whole.task.class_names == ("class 0", "class 3", "class 11")
    own = tuple(f"k{at}" for at in range(11))
    named = load_data(folder, class_names=own)
    assert named.task.class_names == own
    assert torch.equal(named.train.targets, data.train.targets)
    other = load_data(in_folder(tmp_path / "camvid32", (0, 20, 31)))
    assert other.task.class_names == ("class 0", "class 20", "class 31")


def test_names_that_lie_beside_masks(tmp_path: Path, pairs: Callable[..., None]) -> None:
    pairs("images", "masks", 12)
    (tmp_path / "classes.txt").write_text("sky\nroad\nignore\n")
    data = load_data(tmp_path)
    assert data.task.class_names == ("sky", "road")
    assert told(data, "class names are those of 'classes.txt'")
    (tmp_path / "classes.txt").write_text("1: sky\n2: road\n0: tree\n")
    assert load_data(tmp_path).task.class_names == ("tree", "sky", "road")
    folder = in_folder(tmp_path / "table", (0, 1, 2))
    (folder / "id2label.json").write_text('{"0": "unlabeled", "1": "sky", "2": "road", "3": "car"}')
    data = load_data(folder)
    assert data.task.class_names == ("sky", "road", "car")
    (folder / "id2label.json").write_text('{"0": "sky", "1": "road"}')
    with pytest.raises(DataError, match=r"table, train, row 0.*: mask value 2 has no class.*--void 2"):
        load_data(folder)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("{split}/images", "{split}/masks"),
        ("images/{split}", "annotations/{split}"),
        ("img/{split}", "labels/{split}"),
        ("{split}", "{split}annot"),
        ("{split}_images", "{split}_masks"),
        ("archive/data/{split}/image", "archive/data/{split}/label"),
        ("images/{split}/town", "masks/{split}/town"),
    ],
)
def test_folders_of_pairs_with_splits(
    tmp_path: Path, pairs: Callable[..., None], images: str, masks: str
) -> None:
    for at, split in enumerate(("train", "val", "test")):
        pairs(images.format(split=split), masks.format(split=split), 3 + at, 10 * at)
    data = load_data(tmp_path)
    assert parts(data) == (3, 4, 5)
    assert np.array_equal(data.test.targets[2].numpy(), values(22))
    assert told(data, "task: segmentation, by pairs of an image and a mask such as")
    assert not told(data, "what else is there is not read")


def test_folders_of_pairs_without_splits(tmp_path: Path, pairs: Callable[..., None]) -> None:
    pairs("images", "masks", 12, ending="_mask")
    photo(50).save(tmp_path / "images" / "alone.png")
    (tmp_path / "masks" / "notes.txt").write_text("about")
    data = load_data(tmp_path)
    assert sum(parts(data)) == 12
    assert told(data, "1 images of the train split have no mask and are left out, such as 'alone.png'")
    assert data.name == tmp_path.name


def test_a_wrapping_folder_of_pairs_is_taken_off(tmp_path: Path, pairs: Callable[..., None]) -> None:
    pairs("archive/set/images", "archive/set/masks", 12)
    (tmp_path / "docs").mkdir()
    data = load_data(tmp_path)
    assert sum(parts(data)) == 12
    assert told(data, "'archive/set/images/0.jpg' and 'archive/set/masks/0.png'")


def test_splits_called_differently_agree(tmp_path: Path, pairs: Callable[..., None]) -> None:
    pairs("images/training", "annotations/train", 4)
    pairs("images/val", "annotations/validation", 3, 10)
    pairs("images/test", "elsewhere", 2, 20)
    data = load_data(tmp_path)
    assert len(data.test) == 3
    assert told(data, "the test split of the source has no masks: it is left out")


def test_palettes_give_their_indices_and_lists_their_splits(
    tmp_path: Path, pairs: Callable[..., None]
) -> None:
    pairs("VOC2012/JPEGImages", "VOC2012/SegmentationClass", 8, palette=True, among=(0, 5, 20, 255))
    for at in range(20, 24):
        photo(at).save(tmp_path / "VOC2012" / "JPEGImages" / f"{at}.jpg")
    lists = tmp_path / "VOC2012" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for word, names in (("train", "0 1 2 3 4"), ("val", "5 6 7 21"), ("trainval", "0 1 2 3 4 5 6 7")):
        (lists / f"{word}.txt").write_text("\n".join(names.split()))
    data = load_data(tmp_path / "VOC2012")
    assert sum(parts(data)) == 8
    assert len(data.test) == 3
    assert data.task.class_names[:6] == ("background", "aeroplane", "bicycle", "bird", "boat", "bottle")
    assert len(data.task.class_names) == 21
    before = values(6, among=(0, 5, 20, 255))
    assert np.array_equal(data.test.targets[1].numpy(), before)
    assert told(data, "1 listed images have no mask: they are left out")


def test_class_folders_stay_what_they_are(tmp_path: Path) -> None:
    for name in ("mask", "no mask"):
        for split in ("train", "test"):
            (tmp_path / split / name).mkdir(parents=True)
            for at in range(4):
                photo(at).save(tmp_path / split / name / f"{at}.png")
    assert load_data(tmp_path).task.class_names == ("mask", "no mask")


def test_masks_of_several_kinds_of_picture(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    made = {
        "grey": lambda mask: Image.fromarray(mask),
        "colour": lambda mask: Image.fromarray(np.repeat(mask[..., None], 3, 2)),
        "opaque": lambda mask: Image.fromarray(np.dstack([mask, mask, mask, np.full_like(mask, 255)])),
        "deep": lambda mask: Image.fromarray(mask.astype(np.uint16)),
        "index": lambda mask: png(mask, palette=True),
        "wide": lambda mask: Image.fromarray(mask.astype(np.int32)),
    }
    for at, (name, make) in enumerate(made.items()):
        photo(at).save(tmp_path / "images" / f"{name}.png")
        make(values(at)).save(tmp_path / "masks" / f"{name}.{'tif' if name == 'wide' else 'png'}")
    data = load_data(tmp_path)
    found = {
        mask.numpy().tobytes()
        for split in (data.train, data.validation, data.test)
        for mask in split.targets
    }
    assert found == {values(at).tobytes() for at in range(len(made))}


def write(image: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            write(png(values(0, (5, 8))), "PNG"),
            r"the mask is 5 x 8 \(height x width\), but its image 6 x 8",
        ),
        (write(photo(3), "PNG"), r"codes classes by colours, such as \(.*with a palette, whose indices"),
        (
            write(png(values(0)), "JPEG"),
            "a mask stored as JPEG has lost its exact values: save masks as PNG",
        ),
        (b"nothing", "cannot be decoded"),
        (
            write(Image.fromarray(np.arange(48, dtype=np.float32).reshape(6, 8)), "TIFF"),
            "mode F is no mask: expected one class index a pixel",
        ),
    ],
)
def test_masks_that_are_refused_by_name(
    tmp_path: Path, pairs: Callable[..., None], content: bytes, message: str
) -> None:
    pairs("images", "masks")
    (tmp_path / "masks" / "3.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"masks/3\.png \(train split\).*{message}"):
        load_data(tmp_path)


def test_a_value_without_a_class_is_named(tmp_path: Path, pairs: Callable[..., None]) -> None:
    pairs("images", "masks")
    png(values(3, among=(0, 1, 2, 9))).save(tmp_path / "masks" / "3.png")
    with pytest.raises(DataError, match=r"3\.png \(train split\): mask value 9 has no class: the 3 names"):
        load_data(tmp_path, class_names=("a", "b", "c"))
    assert load_data(tmp_path, class_names=("a", "b", "c"), void=9).task.outputs == 3
    png(np.arange(48, dtype=np.uint16).reshape(6, 8) * 50).save(tmp_path / "masks" / "3.png")
    assert load_data(tmp_path).task.outputs == 50
    for at in range(5):
        deep = (np.arange(400, dtype=np.uint16) * 50 + at).reshape(20, 20)
        png(deep).save(tmp_path / "masks" / f"{at}.png")
        photo(at, (20, 20)).save(tmp_path / "images" / f"{at}.jpg")
    with pytest.raises(DataError, match="masks hold more than 255 different values"):
        load_data(tmp_path)


def test_images_and_masks_are_letter_boxed_alike(tmp_path: Path, pairs: Callable[..., None]) -> None:
    pairs("images", "masks", 4, size=(4, 8))
    pairs("images", "masks", 4, 10, size=(8, 4))
    with pytest.raises(
        DataError, match=r"is 8x4, but .* is 4x8: .*--size HEIGHTxWIDTH, to letter-box them"
    ):
        load_data(tmp_path)
    data = load_data(tmp_path, size=(16, 16))
    assert data.shape == (3, 16, 16)
    wide, tall = 0, 0
    for split in (data.train, data.validation, data.test):
        for image, mask in zip(split.images, split.targets, strict=True):
            void = mask == 255
            assert bool((image[:, void] == 0).all())
            assert int((~void).sum()) == 8 * 16
            wide += bool(void[:4].all()) and bool(void[12:].all())
            tall += bool(void[:, :4].all()) and bool(void[:, 12:].all())
    assert (wide, tall) == (4, 4)
    assert told(data, "50.0 % of all training pixels are void")
    assert told(data, "images of 4 x 8 to 8 x 4 are letter-boxed to 16 x 16: scaled in proportion")


def test_every_pixel_of_a_letter_boxed_mask_is_the_nearest_one() -> None:
    box = Letterbox((3, 5), (12, 10))
    assert (box.inner, box.corner) == ((6, 10), (3, 0))
    mask = np.arange(15).reshape(3, 5)
    assert np.array_equal(box.mask(mask), mask.repeat(2, 0).repeat(2, 1))
    image = torch.arange(15.0).reshape(1, 1, 3, 5)
    made = box.images(image)
    assert made.shape == (1, 1, 12, 10)
    assert float(made[..., :3, :].abs().max()) == float(made[..., 9:, :].abs().max()) == 0
    assert made[0, 0, 3, 0] == image[0, 0, 0, 0]
    small = Letterbox((100, 7), (5, 5))
    assert small.inner == (5, 1)
    assert small.mask(np.zeros((100, 7), np.int64)).shape == (5, 1)


def test_a_given_size_of_equal_images_is_letter_boxed_too() -> None:
    data = load_data(table(), size=(12, 12))
    assert data.shape == (3, 12, 12)
    assert bool((data.train.targets[:, [0, 11]] == 255).all())
    assert not bool((data.train.targets[:, 2:10] == 255).any())


def test_frames_of_a_block_stay_on_one_side() -> None:
    drive = [at // 4 for at in range(24)]
    source = table(24, drive=(drive, datasets.Value("int64")))
    data = load_data(source, block_column="drive", validation=0.2, test=0.3)
    place = {photo(at).tobytes(): drive[at] for at in range(24)}
    seen = [
        {place[image.permute(1, 2, 0).contiguous().numpy().tobytes()] for image in split.images}
        for split in (data.train, data.validation, data.test)
    ]
    assert all(seen)
    assert sum(map(len, seen)) == len(set(drive))
    whole = {"train": source, "val": table(2, 40), "test": table(2, 60)}
    assert told(load_data(whole, block_column="drive"), "block_column='drive' decides nothing")
    with pytest.raises(DataError, match="block_column='ride' is not among its columns"):
        load_data(source, block_column="ride")
    with pytest.raises(ValueError, match="expected at least two blocks"):
        load_data(table(6, drive=([1] * 6, datasets.Value("int64"))), block_column="drive")


def test_names_that_tell_sides_are_not_mirrored(tmp_path: Path) -> None:
    data = load_data(table(), class_names=("background", "left lung", "right lung"))
    assert not data.horizontal_flip
    assert told(data, "images are not mirrored: class names tell left from right, as")
    assert load_data(table(), class_names=("a", "leftover", "bright")).horizontal_flip


def test_images_of_no_class_are_held_out_too() -> None:
    data = load_data(table(20, among=(255, 0, 1)), void=["0"], class_names=("a", "b", "c"))
    assert parts(data) == (14, 2, 4)
    with pytest.raises(DataError, match="1 training image is too few to hold some out"):
        load_data(table(1))


def test_the_real_street_scenes(real_data_folder: Path, tmp_path: Path) -> None:
    folder = real_data_folder / "camvid"
    if not folder.is_dir():
        pytest.skip("the data set is not here")
    data = load_data(folder, cache=tmp_path)
    assert parts(data) == (367, 101, 233)
    assert data.shape == (3, 96, 128)
    assert data.task.class_names[3] == "Road"
    assert data.train.targets.unique().tolist() == [*range(11), 255]
    assert told(data, "mask value 11 (a guess")
    assert told(data, "'Road' 33.0 % (367)", "'Bicyclist' 0.303 % (199)")
    assert told(data, "3.96 % of all training pixels are void")


def run(source: Path, out: Path, *more: str) -> int:
    return main(
        [
            "distill",
            str(source),
            "--method",
            "random",
            "--images",
            "2",
            "--out",
            str(out),
            "--dry-run",
            *more,
        ]
    )


@pytest.mark.parametrize(
    ("spoil", "options", "code", "said"),
    [
        ((5, 8), (), 3, "the mask is 5 x 8 (height x width), but its image 6 x 8"),
        (None, ("--class-names", "a,b"), 3, "mask value 2 has no class"),
        (None, ("--task", "detection"), 3, "cannot be read for task='detection'"),
        (None, ("--void", "sky"), 3, "void='sky' is no number"),
        (None, ("--task", "detect"), 2, "invalid choice: 'detect'"),
    ],
)
def test_exit_codes_of_the_command_line(
    tmp_path: Path, pairs: Callable[..., None], capsys: pytest.CaptureFixture[str], spoil: Shape | None,
    options: tuple[str, ...], code: int, said: str,
) -> None:  # fmt: skip
    pairs("set/images", "set/masks")
    if spoil is not None:
        png(values(2, spoil)).save(tmp_path / "set" / "masks" / "2.png")
    try:
        found = run(tmp_path / "set", tmp_path / "out", *options)
    except SystemExit as stop:
        found = int(str(stop.code))
    assert found == code
    assert said in capsys.readouterr().err
